"""Frames as bytes (RFC 9113 sections 4 and 6): also those that no library would write."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
UNKNOWN = 0xEE

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED = range(8)
CANCEL, COMPRESSION, CONNECT, CALM = range(8, 12)

TABLE_SIZE, ENABLE_PUSH, CONCURRENT, WINDOW, FRAME, HEADER_LIST = range(1, 7)

MOST = 0x7FFFFFFF
"""The largest window, and the largest stream."""

PAYLOAD = 16_384
"""The largest payload that everyone reads."""


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """Any frame; `length` is what it says of itself."""
    length = len(payload) if length is None else length
    return struct.pack(">IBBI", length, kind, flags, stream)[1:] + payload


def settings(pairs=(), flags=0, stream=0):
    """SETTINGS with identifiers and values, in order."""
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def headers(stream, block, flags=END_STREAM | END_HEADERS):
    """HEADERS with a field block."""
    return frame(HEADERS, flags, stream, block)


def continuation(stream, block, flags=END_HEADERS):
    """CONTINUATION."""
    return frame(CONTINUATION, flags, stream, block)


def data(stream, content=b"", flags=END_STREAM):
    """DATA."""
    return frame(DATA, flags, stream, content)


def padded(content, padding, claimed=None):
    """A payload with padding, and the length that it says that has."""
    return bytes([len(padding) if claimed is None else claimed]) + content + padding


def dependency(on=0, weight=15):
    """The five bytes of a priority of RFC 7540."""
    return struct.pack(">IB", on, weight)


def priority(stream, on=0):
    """PRIORITY."""
    return frame(PRIORITY, 0, stream, dependency(on))


def reset(stream, code=CANCEL):
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(carried=b"12345678", flags=0):
    """PING."""
    return frame(PING, flags, 0, carried)


def goaway(last=0, code=NO_ERROR, debug=b"", stream=0):
    """GOAWAY."""
    return frame(GOAWAY, 0, stream, struct.pack(">II", last, code) + debug)


def window(stream, by):
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def literal(name, value):
    """A field that is not indexed and has no Huffman code (RFC 7541 section 6.2.2); both are bytes or latin-1."""

    def string(text):
        text = text.encode("latin-1") if isinstance(text, str) else text
        return number(0, 7, len(text)) + text

    return b"\0" + string(name) + string(value)


def number(first, bits, value):
    """A number behind a prefix (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(fields):
    """A field block of literals: it means the same whatever was sent before."""
    return b"".join(literal(*field) for field in fields)


def asked(path="/", method="GET", *more, authority="localhost", scheme="https"):
    """The fields of a request."""
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more]


def request(stream, path="/", method="GET", *more, flags=END_STREAM | END_HEADERS):
    """A request in one frame."""
    return headers(stream, block(asked(path, method, *more)), flags)
