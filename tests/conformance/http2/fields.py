"""Field blocks as frames carry them (RFC 9113 sections 4.3, 6.2 and 6.10)."""

from ledger import Suite, require

from . import frames as f

case = Suite()
BLOCK = f.block(f.asked())
HALF = len(BLOCK) // 2
BEGUN = f.headers(1, BLOCK[:HALF], f.END_STREAM)
REST = f.continuation(1, BLOCK[HALF:])


@case("4.3", "a field block that is none")
def _(dial):
    line = dial()
    line.send(f.headers(1, b"\0\x8a\0\0\0\0"))
    line.connection_error(f.COMPRESSION)


@case("4.3", "a field block that is cut off")
def _(dial):
    line = dial()
    line.send(f.headers(1, BLOCK[:-2]))
    line.connection_error(f.COMPRESSION)


INSIDE = {
    "PRIORITY": f.priority(1),
    "PRIORITY on another stream": f.priority(3),
    "HEADERS on the same stream": f.headers(1, BLOCK[HALF:]),
    "HEADERS on another stream": f.request(3),
    "DATA": f.data(1, b"a"),
    "PING": f.ping(),
    "SETTINGS": f.settings(),
    "WINDOW_UPDATE": f.window(0, 1),
    "RST_STREAM": f.reset(1),
    "GOAWAY": f.goaway(),
    "CONTINUATION on another stream": f.continuation(3, BLOCK[HALF:]),
    "CONTINUATION on stream 0": f.continuation(0, BLOCK[HALF:]),
}
for name, frame in INSIDE.items():

    @case("4.3", f"inside a field block: {name}")
    def _(dial, frame=frame):
        line = dial()
        line.send(BEGUN, frame, REST)
        line.connection_error(f.PROTOCOL)


@case("6.2", "a block in HEADERS that ends the stream, and CONTINUATION")
def _(dial):
    line = dial()
    line.send(BEGUN, REST)
    line.answered(1)


@case("6.10", "a block in many pieces, some of them empty")
def _(dial):
    line = dial()
    pieces = [BLOCK[at : at + 8] for at in range(0, len(BLOCK), 8)]
    middle = [f.continuation(1, piece, 0) for piece in pieces[1:] + [b"", b""]]
    line.send(f.headers(1, pieces[0], f.END_STREAM), *middle, f.continuation(1, b""))
    line.answered(1)


@case("6.10", "HEADERS without a byte, and all in CONTINUATION")
def _(dial):
    line = dial()
    line.send(f.headers(1, b"", f.END_STREAM), f.continuation(1, BLOCK))
    line.answered(1)


@case("6.10", "padding and a priority in HEADERS, and CONTINUATION")
def _(dial):
    line = dial()
    payload = f.padded(f.dependency() + BLOCK[:HALF], bytes(9))
    line.send(f.headers(1, payload, f.END_STREAM | f.PADDED | f.WITH_PRIORITY), REST)
    line.answered(1)


@case("6.10", "flags of CONTINUATION that are not defined are ignored")
def _(dial):
    line = dial()
    line.send(BEGUN, f.continuation(1, BLOCK[HALF:], f.END_HEADERS | 0xFB & ~0x4))
    line.answered(1)


@case("6.10", "CONTINUATION behind a block that has ended")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.continuation(1, BLOCK))
    line.connection_error(f.PROTOCOL)


@case("6.10", "CONTINUATION behind DATA")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=f.END_HEADERS), f.data(1, b"a", 0), f.continuation(1, BLOCK))
    line.connection_error(f.PROTOCOL)


@case("6.10", "CONTINUATION before anything")
def _(dial):
    for number in (0, 1):
        line = dial()
        line.send(f.continuation(number, BLOCK))
        line.connection_error(f.PROTOCOL)


@case("4.3", "a block on a stream with an error counts for the table")
def _(dial):
    line = dial()
    # `x-nada: si` goes into the table with a request that has no path; the next one refers to it.
    wrong = f.block([(":method", "GET")]) + b"\x40\x06x-nada\x02si"
    line.send(f.headers(1, wrong), f.headers(3, BLOCK + b"\xbe"))
    line.stream_error(1, f.PROTOCOL)
    line.answered(3)


@case("4.3", "a block on a stream that was refused counts for the table")
def _(dial):
    line = dial((f.WINDOW, 0))
    most = min(line.settings[f.CONCURRENT], 1000)
    line.send(*(f.request(number) for number in range(1, 2 * most, 2)))
    line.alive()
    refused = 2 * most + 1
    line.send(f.headers(refused, BLOCK + b"\x40\x06x-nada\x02si"))
    line.until(lambda: line.stream(refused).code is not None, "REFUSED")
    line.send(f.settings([(f.WINDOW, 1000)]), f.window(0, 1 << 20))
    line.answered(2 * most - 1)
    line.send(f.headers(refused + 2, BLOCK + b"\xbe"))
    line.answered(refused + 2)


@case("4.3", "a block that comes too late counts for the table")
def _(dial):
    line = dial()
    line.send(f.headers(1, f.block([(":method", "POST")]), f.END_HEADERS))
    line.until(lambda: line.stream(1).code is not None, "an error")
    line.send(f.headers(1, b"\x40\x06x-nada\x02si"), f.headers(3, BLOCK + b"\xbe"))
    line.answered(3)


@case("6.5.2", "a head beyond the limit is refused, and the connection goes on")
def _(dial):
    line = dial()
    large = [("x-nada", "a" * 8000)] * 5
    block = BLOCK + f.block(large)
    pieces = [block[at : at + f.PAYLOAD] for at in range(0, len(block), f.PAYLOAD)]
    line.send(f.headers(1, pieces[0], f.END_STREAM), *(f.continuation(1, piece, 0) for piece in pieces[1:]))
    line.send(f.continuation(1, b""))
    stream = line.stream(1)
    line.until(lambda: stream.ended or stream.code is not None, "431, or an error of the stream")
    require(stream.status == 431 or stream.code in (f.PROTOCOL, f.REFUSED, f.CALM), line.seen())
    line.unharmed()
