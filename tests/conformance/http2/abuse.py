"""What a client may not do without end (RFC 9113 section 10.5): each is sent away with ENHANCE_YOUR_CALM."""

from ledger import Suite, require
from package import NOISE, address

from . import frames as f

case = Suite()
BLOCK = f.block(f.asked())


def sent_away(line, pieces, *codes):
    """Sends on until the connection ends."""
    for piece in pieces:
        line.send(piece)
        line.until(lambda: True, "")
        line._read(0.001)  # pylint: disable=protected-access
        if line.closed:
            break
    line.connection_error(*(codes or (f.CALM,)))


@case("10.5", "requests that are reset at once (CVE-2023-44487)")
def _(dial):
    line = dial()
    asked = (f.request(n, address(NOISE)) + f.reset(n) for n in range(1, 20_001, 2))
    sent_away(line, asked)


@case("10.5", "requests that the server has to reset (CVE-2025-8671)")
def _(dial):
    line = dial((f.WINDOW, 0))
    sent_away(line, (f.request(n, address(NOISE)) + f.window(n, 0) for n in range(1, 20_001, 2)))


@case("10.5", "CONTINUATION without end (CVE-2024-27316)")
def _(dial):
    line = dial()
    line.send(f.headers(1, BLOCK, f.END_STREAM))
    sent_away(line, (f.continuation(1, f.literal("x-nada", "a" * 1000), 0) for _ in range(10_000)))


@case("10.5", "CONTINUATION without a byte (CVE-2019-9518)")
def _(dial):
    line = dial()
    line.send(f.headers(1, BLOCK, f.END_STREAM))
    sent_away(line, (f.continuation(1, b"", 0) * 100 for _ in range(1000)))


@case("10.5", "a head that is small until it is decoded (CVE-2016-6581)")
def _(dial):
    line = dial()
    line.send(f.headers(1, BLOCK + b"\x40\x06x-nada" + f.number(0, 7, 3900) + b"a" * 3900))
    line.answered(1)
    line.send(f.headers(3, BLOCK + b"\xbe" * 16_000))
    stream = line.stream(3)
    line.until(lambda: line.closed or stream.ended or stream.code is not None, "431 or the end")
    require(line.goaways[-1:] == [(3, f.CALM)] or stream.status == 431, line.seen())


@case("10.5", "DATA without a byte (CVE-2019-9518)")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=f.END_HEADERS))
    sent_away(line, (f.data(1, b"", 0) * 50 for _ in range(1000)))


@case("10.5", "PING without reading the answers (CVE-2019-9512)")
def _(dial):
    line = dial()
    sent_away(line, (f.ping() * 1800 for _ in range(100)))


@case("10.5", "SETTINGS without reading the answers (CVE-2019-9515)")
def _(dial):
    line = dial()
    sent_away(line, (f.settings([(f.CONCURRENT, 1)]) * 1000 for _ in range(100)))


@case("10.5", "priorities without end (CVE-2019-9513)")
def _(dial):
    line = dial()
    sent_away(line, (f.priority(2 * n + 1) * 100 for n in range(1000)))


@case("10.5", "windows that are opened bit by bit (CVE-2019-9511)")
def _(dial):
    line = dial()
    sent_away(line, (f.window(0, 1) * 500 for _ in range(1000)))


@case("10.5", "none of it, for who only asks")
def _(dial):
    line = dial()
    for start in range(0, 2000, 50):
        numbers = range(2 * start + 1, 2 * start + 101, 2)
        line.send(*(f.request(n, "/nada", "HEAD") + f.priority(n) + f.ping() for n in numbers))
        for number in numbers:
            line.answered(number, 404)
