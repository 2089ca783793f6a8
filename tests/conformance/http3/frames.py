"""Frames, streams and field sections as bytes: also those that no library would write."""

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 0xD
CONTROL, PUSH, ENCODER, DECODER = range(4)

NO_ERROR, PROTOCOL, INTERNAL, STREAM_CREATION, CLOSED_CRITICAL, FRAME_UNEXPECTED, FRAME_ERROR = range(0x100, 0x107)
EXCESSIVE_LOAD, ID_ERROR, SETTINGS_ERROR, MISSING_SETTINGS, REJECTED, CANCELLED, INCOMPLETE = range(0x107, 0x10E)
MESSAGE_ERROR, CONNECT_ERROR, VERSION_FALLBACK = range(0x10E, 0x111)
DECOMPRESSION_FAILED, ENCODER_STREAM, DECODER_STREAM = range(0x200, 0x203)

NAMES = {value: name for name, value in list(globals().items()) if isinstance(value, int) and value >= 0x100}


def var(value):
    """A variable-length integer (RFC 9000 section 16)."""
    for bits, mark in ((6, 0), (14, 1), (30, 2), (62, 3)):
        if value < 1 << bits:
            return (value | mark << bits).to_bytes((bits + 2) // 8, "big")
    raise ValueError(value)


def frame(kind, payload=b"", length=None):
    """Any frame; `length` is what it says of itself."""
    return var(kind) + var(len(payload) if length is None else length) + payload


def settings(*pairs):
    """SETTINGS with identifiers and values, in order."""
    return frame(SETTINGS, b"".join(var(name) + var(value) for name, value in pairs))


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


def literal(name, value):
    """A field with a literal name and no Huffman code (RFC 9204 section 4.5.6)."""
    name, value = (text.encode("latin-1") if isinstance(text, str) else text for text in (name, value))
    return number(0x20, 3, len(name)) + name + number(0, 7, len(value)) + value


def section(fields):
    """A field section without a dynamic table."""
    return b"\0\0" + b"".join(literal(*field) for field in fields)


def headers(fields):
    """HEADERS."""
    return frame(HEADERS, section(fields))


def data(content):
    """DATA."""
    return frame(DATA, content)


def asked(path="/", method="GET", *more, authority="localhost", scheme="https"):
    """The fields of a request."""
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more]


def request(path="/", method="GET", *more):
    """A request in one frame."""
    return headers(asked(path, method, *more))
