"""Beginnings, frames, settings, PING, GOAWAY, and how errors end a connection (RFC 9113 sections 3, 4, 5.4, 5.5, 6, 7)."""

import os

from ledger import Suite, require

from . import frames as f

case = Suite()


@case("3.4", "the server begins with SETTINGS, and acknowledges those of the client")
def _(dial):
    line = dial()
    line.until(lambda: line.acknowledged == 1, "an acknowledgement")
    line.unharmed()


@case("3.4", "requests may follow the preface at once")
def _(dial):
    line = dial(first=f.PREFACE + f.settings() + f.request(1))
    line.answered(1)


@case("3.4", "a connection that ends, in one segment with the handshake")
def _(dial):
    line = dial(first=f.PREFACE + f.settings() + f.request(1) + f.goaway())
    line.answered(1)
    line.until(lambda: line.closed, "the end")


@case("3.4", "a preface that comes byte by byte")
def _(dial):
    line = dial(greet=False)
    for byte in f.PREFACE + f.settings() + f.request(1):
        line.send(bytes([byte]))
    line.answered(1)


@case("3.4", "a preface that is none")
def _(dial):
    line = dial(greet=False)
    line.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    line.until(lambda: line.closed, "the end")
    require(all(code == f.PROTOCOL for _, code in line.goaways), line.seen())


@case("3.4", "a request of HTTP/1.1")
def _(dial):
    line = dial(greet=False)
    line.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    line.until(lambda: line.closed, "the end")
    require(not line.streams, line.seen())


@case("3.4", "a request of HTTP/1.1, in one segment with the handshake")
def _(dial):
    line = dial(first=b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    line.connection_error(f.PROTOCOL)


@case("3.4", "PING where SETTINGS have to be")
def _(dial):
    line = dial(greet=False)
    line.send(f.PREFACE, f.ping())
    line.connection_error(f.PROTOCOL)


@case("3.4", "HEADERS where SETTINGS have to be")
def _(dial):
    line = dial(greet=False)
    line.send(f.PREFACE, f.request(1))
    line.connection_error(f.PROTOCOL)


@case("3.4", "an unknown frame where SETTINGS have to be")
def _(dial):
    line = dial(greet=False)
    line.send(f.PREFACE, f.frame(f.UNKNOWN))
    line.connection_error(f.PROTOCOL)


@case("4.1", "unknown kinds of frames are ignored")
def _(dial):
    line = dial()
    line.send(f.frame(f.UNKNOWN, 0xFF, 0, b"a"), f.frame(f.UNKNOWN, 0, 1, b"b"), f.frame(0xFF, 0, f.MOST))
    line.unharmed()


@case("4.1", "an unknown kind of the largest size is ignored")
def _(dial):
    line = dial()
    line.send(f.frame(f.UNKNOWN, 0, 0, bytes(f.PAYLOAD)))
    line.unharmed()


@case("4.1", "flags that are not defined are ignored: PING")
def _(dial):
    line = dial()
    line.send(f.ping(b"whatever", 0xFE))
    line.until(lambda: b"whatever" in line.pongs, "an answer")


@case("4.1", "flags that are not defined are ignored: HEADERS")
def _(dial):
    line = dial()
    line.send(f.request(1, flags=f.END_STREAM | f.END_HEADERS | 0xC2))
    line.answered(1)


@case("4.1", "flags that are not defined are ignored: SETTINGS, WINDOW_UPDATE, RST_STREAM")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.settings([(f.CONCURRENT, 5)], 0xFE), f.frame(f.WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1"))
    line.send(f.request(1), f.frame(f.RST_STREAM, 0xFF, 1, b"\0\0\0\x08"))
    line.alive()


@case("4.1", "the reserved bit of a stream is ignored")
def _(dial):
    line = dial()
    line.send(f.frame(f.PING, 0, 1 << 31, b"reserved"), f.request(1 << 31 | 1))
    line.until(lambda: b"reserved" in line.pongs, "an answer")
    line.answered(1)


@case("4.2", "DATA of the largest size")
def _(dial):
    line = dial()
    line.send(f.request(1, "/", "POST", flags=f.END_HEADERS), f.data(1, bytes(f.PAYLOAD)))
    line.answered(1, 405)
    line.unharmed()


for kind, name, stream in (
    (f.DATA, "DATA", 1),
    (f.HEADERS, "HEADERS", 1),
    (f.PRIORITY, "PRIORITY", 1),
    (f.SETTINGS, "SETTINGS", 0),
    (f.PING, "PING", 0),
    (f.GOAWAY, "GOAWAY", 0),
    (f.UNKNOWN, "an unknown kind", 0),
):

    @case("4.2", f"{name} beyond the largest size")
    def _(dial, kind=kind, stream=stream):
        line = dial((f.WINDOW, 0))
        line.send(f.request(1, "/", "POST", flags=f.END_HEADERS))
        line.send(f.frame(kind, 0, stream, bytes(f.PAYLOAD + 1)))
        line.either_error(1, f.FRAME_SIZE)


@case("4.2", "CONTINUATION beyond the largest size")
def _(dial):
    line = dial()
    line.send(f.headers(1, b"", f.END_STREAM), f.continuation(1, bytes(f.PAYLOAD + 1)))
    line.connection_error(f.FRAME_SIZE)


@case("4.2", "a frame that says it has sixteen megabytes is not waited for")
def _(dial):
    line = dial()
    line.send(f.frame(f.UNKNOWN, 0, 0, b"", 0xFFFFFF))
    line.connection_error(f.FRAME_SIZE)


@case("5.4.1", "GOAWAY names the last stream that was answered")
def _(dial):
    line = dial()
    line.send(f.request(1), f.request(7))
    line.answered(7)
    line.send(f.ping(b"short"[:4]))
    line.connection_error(f.FRAME_SIZE)
    require(line.goaways[-1][0] == 7, line.seen())


@case("5.4.1", "nothing is read behind an error")
def _(dial):
    line = dial()
    line.send(f.ping(b"1234567"), f.request(1), f.ping())
    line.connection_error(f.FRAME_SIZE)
    require(not line.streams and not line.pongs, line.seen())


@case("5.4.2", "other streams go on behind a stream error")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.headers(3, f.block([(":method", "GET")])), f.window(1, 1000))
    line.stream_error(3, f.PROTOCOL)
    line.answered(1)


@case("5.4.2", "RST_STREAM is not answered with RST_STREAM")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.reset(1))
    line.alive()
    require(line.stream(1).code is None, line.seen())


@case("5.5", "an unknown frame inside a field block")
def _(dial):
    line = dial()
    half = f.block(f.asked())
    line.send(f.headers(1, half[:5], f.END_STREAM), f.frame(f.UNKNOWN, 0, 1), f.continuation(1, half[5:]))
    line.connection_error(f.PROTOCOL)


@case("6.5", "SETTINGS are acknowledged, each")
def _(dial):
    line = dial()
    line.send(f.settings([(f.CONCURRENT, 1)]) * 3)
    line.until(lambda: line.acknowledged == 4, "four acknowledgements")
    line.unharmed()


@case("6.5", "an acknowledgement with a payload")
def _(dial):
    line = dial()
    line.send(f.settings([(f.CONCURRENT, 1)], f.ACK))
    line.connection_error(f.FRAME_SIZE)


@case("6.5", "SETTINGS on a stream")
def _(dial):
    line = dial()
    line.send(f.settings(stream=1))
    line.connection_error(f.PROTOCOL)


@case("6.5", "SETTINGS that are cut off")
def _(dial):
    for payload in (b"\0", b"\0\3\0\0\0\1\0"):
        line = dial()
        line.send(f.frame(f.SETTINGS, 0, 0, payload))
        line.connection_error(f.FRAME_SIZE)


@case("6.5", "an acknowledgement that nobody asked for")
def _(dial):
    line = dial()
    line.send(f.settings(flags=f.ACK) * 3)
    line.alive()


for pair, code, what in (
    ((f.ENABLE_PUSH, 2), f.PROTOCOL, "ENABLE_PUSH that is neither 0 nor 1"),
    ((f.WINDOW, 1 << 31), f.FLOW_CONTROL, "INITIAL_WINDOW_SIZE beyond the largest window"),
    ((f.WINDOW, 0xFFFFFFFF), f.FLOW_CONTROL, "INITIAL_WINDOW_SIZE of all bits"),
    ((f.FRAME, 16_383), f.PROTOCOL, "MAX_FRAME_SIZE below the least"),
    ((f.FRAME, 0), f.PROTOCOL, "MAX_FRAME_SIZE of nothing"),
    ((f.FRAME, 1 << 24), f.PROTOCOL, "MAX_FRAME_SIZE beyond the largest"),
):

    @case("6.5.2", what)
    def _(dial, pair=pair, code=code):
        line = dial()
        line.send(f.settings([pair]))
        line.connection_error(code)


@case("6.5.2", "values at their bounds")
def _(dial):
    line = dial()
    line.send(f.settings([(f.ENABLE_PUSH, 0), (f.ENABLE_PUSH, 1), (f.CONCURRENT, 0), (f.CONCURRENT, 0xFFFFFFFF)]))
    line.send(f.settings([(f.WINDOW, f.MOST), (f.FRAME, 16_384), (f.FRAME, 0xFFFFFF), (f.HEADER_LIST, 1 << 20)]))
    line.largest = 0xFFFFFF
    line.unharmed()


@case("6.5.2", "settings that nobody knows are ignored")
def _(dial):
    line = dial((0x0A0A, 1), (0xFFFF, 0xFFFFFFFF), (0, 0))
    line.send(f.settings([(0x1A1A, 5)]))
    line.unharmed()


@case("6.5.2", "those of the server are within their bounds")
def _(dial):
    line = dial()
    said = line.settings
    require(said.get(f.ENABLE_PUSH, 0) == 0, "a server says no ENABLE_PUSH but 0 (RFC 9113 section 6.5.2):", said)
    require(said.get(f.CONCURRENT, 1 << 31) >= 100, "fewer streams than recommended:", said)
    require(said.get(f.WINDOW, 0) <= f.MOST and 16_384 <= said.get(f.FRAME, 16_384) < 1 << 24, said)


@case("6.5.2", "frames stay within the client's MAX_FRAME_SIZE, however large it may be")
def _(dial):
    from package import FILES, NOISE, address

    line = dial((f.WINDOW, 1 << 20), (f.FRAME, 20_000))
    line.largest = 20_000
    line.send(f.window(0, 1 << 20), f.request(1, address(NOISE)))
    line.answered(1, 200, FILES[NOISE])


@case("6.5.3", "values of one frame count in their order")
def _(dial):
    line = dial((f.WINDOW, 100), (f.WINDOW, 1), generous=False)
    line.send(f.request(1))
    line.until(lambda: line.stream(1).body, "a byte")
    line.alive()
    require(len(line.stream(1).body) == 1, line.seen())


@case("6.7", "PING is answered with what it carried")
def _(dial):
    line = dial()
    carried = [os.urandom(8) for _ in range(20)]
    line.send(*(f.ping(bytes8) for bytes8 in carried))
    line.until(lambda: len(line.pongs) == 20, "twenty answers")
    require(line.pongs == carried, "other bytes, or another order")


@case("6.7", "an answer to PING is not answered")
def _(dial):
    line = dial()
    line.send(f.ping(b"unasked!", f.ACK))
    line.alive()
    require(b"unasked!" not in line.pongs, line.seen())


@case("6.7", "PING on a stream")
def _(dial):
    line = dial()
    line.send(f.frame(f.PING, 0, 1, bytes(8)))
    line.connection_error(f.PROTOCOL)


@case("6.7", "PING of another length")
def _(dial):
    for length in (0, 7, 9):
        line = dial()
        line.send(f.ping(bytes(length)))
        line.connection_error(f.FRAME_SIZE)


@case("6.8", "what is under way is answered behind the client's GOAWAY")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.goaway(0, f.NO_ERROR, b"why"), f.window(1, 1000))
    line.answered(1)
    line.until(lambda: line.closed, "the end")


@case("6.8", "GOAWAY on a stream")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.goaway(stream=1))
    line.connection_error(f.PROTOCOL)


@case("6.8", "GOAWAY that is cut off")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.frame(f.GOAWAY, 0, 0, bytes(7)))
    line.connection_error(f.FRAME_SIZE)


@case("7", "error codes that nobody knows mean nothing")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.reset(1, 0xFF), f.request(3), f.goaway(0, 0xFFFF), f.window(3, 1000))
    line.answered(3)


@case("RFC 9218 section 7.1", "PRIORITY_UPDATE")
def _(dial):
    line = dial((f.WINDOW, 0))
    update = f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1, i")
    line.send(update, f.request(1), update, f.window(1, 1000))
    line.answered(1)


@case("RFC 9218 section 7.1", "PRIORITY_UPDATE on a stream, or of no request")
def _(dial):
    for wrong in (f.frame(f.PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1"), f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1")):
        line = dial()
        line.send(wrong)
        line.connection_error(f.PROTOCOL)


@case("RFC 9218 section 7.1", "PRIORITY_UPDATE that is cut off")
def _(dial):
    line = dial()
    line.send(f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0"))
    line.connection_error(f.FRAME_SIZE)
