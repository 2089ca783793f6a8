"""Flow control in both directions (RFC 9113 sections 5.2 and 6.9)."""

from ledger import Suite, require
from package import DIGITS, EMPTY, FILES, NOISE, address

from . import frames as f

case = Suite()
DIGIT, NOISY = address(DIGITS), address(NOISE)


def body(line, number):
    """How many bytes came on a stream, once everything that was sent is read."""
    line.alive()
    return len(line.stream(number).body)


@case("6.9", "WINDOW_UPDATE of nothing, on the connection")
def _(dial):
    line = dial()
    line.send(f.window(0, 0))
    line.connection_error(f.PROTOCOL)


@case("6.9", "WINDOW_UPDATE of nothing, on a stream")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.window(1, 0))
    line.either_error(1, f.PROTOCOL)


@case("6.9", "WINDOW_UPDATE of another length")
def _(dial):
    for length in (3, 5):
        line = dial()
        line.send(f.frame(f.WINDOW_UPDATE, 0, 0, bytes(length)))
        line.connection_error(f.FRAME_SIZE)


@case("6.9", "the reserved bit of an increment is ignored")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1), f.window(1, 1 << 31 | 1000))
    line.answered(1)


@case("6.9.1", "not a byte beyond the stream's window")
def _(dial):
    line = dial((f.WINDOW, 1), generous=False)
    line.send(f.request(1, DIGIT))
    line.until(lambda: line.stream(1).body, "a byte")
    require(body(line, 1) == 1, line.seen())
    line.send(f.window(1, 10))
    line.until(lambda: len(line.stream(1).body) > 1, "more")
    require(body(line, 1) == 11, line.seen())
    line.send(f.window(1, 2000))
    line.answered(1, 200, FILES[DIGITS])


@case("6.9.1", "not a byte beyond the connection's window")
def _(dial):
    line = dial((f.WINDOW, f.MOST), generous=False)
    line.send(f.request(1, NOISY))
    line.until(lambda: len(line.stream(1).body) >= 65_535, "a window of bytes")
    require(body(line, 1) == 65_535, line.seen())
    line.send(f.request(3, DIGIT))
    line.until(lambda: line.stream(3).heads, "heads need no window")
    require(body(line, 3) == 0, line.seen())
    line.send(f.window(0, 4_000_000))
    line.answered(1, 200, FILES[NOISE])
    line.answered(3, 200, FILES[DIGITS])


@case("6.9.1", "what has no bytes needs no window")
def _(dial):
    line = dial((f.WINDOW, 0), generous=False)
    line.send(f.request(1, address(EMPTY)), f.request(3, "/", "HEAD"), f.request(5, "/", "GET", ("if-none-match", "*")))
    line.answered(1)
    line.answered(3)
    line.answered(5, 304)


@case("6.9.1", "the connection's window beyond the largest")
def _(dial):
    line = dial()
    line.send(f.window(0, f.MOST))
    line.connection_error(f.FLOW_CONTROL)


@case("6.9.1", "a stream's window beyond the largest")
def _(dial):
    line = dial((f.WINDOW, 1))
    line.send(f.request(1, NOISY), f.window(1, f.MOST))
    line.either_error(1, f.FLOW_CONTROL)


@case("6.9.1", "windows at their largest")
def _(dial):
    line = dial((f.WINDOW, 0), generous=False)
    line.send(f.window(0, f.MOST - 65_535), f.request(1, NOISY), f.window(1, f.MOST))
    line.answered(1, 200, FILES[NOISE])


@case("6.9.2", "settings change the windows of streams that are open")
def _(dial):
    line = dial((f.WINDOW, 0), generous=False)
    line.send(f.request(1, DIGIT))
    require(body(line, 1) == 0, line.seen())
    line.send(f.settings([(f.WINDOW, 7)]))
    line.until(lambda: line.stream(1).body, "a byte")
    require(body(line, 1) == 7, line.seen())
    line.send(f.settings([(f.WINDOW, 5000)]))
    line.answered(1, 200, FILES[DIGITS])


@case("6.9.2", "a window becomes negative, and is made good")
def _(dial):
    line = dial((f.WINDOW, 100), generous=False)
    line.send(f.request(1, DIGIT))
    line.until(lambda: len(line.stream(1).body) == 100, "a hundred bytes")
    line.send(f.settings([(f.WINDOW, 40)]), f.window(1, 60))
    require(body(line, 1) == 100, line.seen())
    line.send(f.window(1, 1))
    line.until(lambda: len(line.stream(1).body) > 100, "a byte")
    require(body(line, 1) == 101, line.seen())


@case("6.9.2", "settings make a window larger than the largest")
def _(dial):
    line = dial((f.WINDOW, 1), generous=False)
    line.send(f.request(1, NOISY), f.window(1, f.MOST - 100), f.settings([(f.WINDOW, 70_000)]))
    line.connection_error(f.FLOW_CONTROL)


@case("6.9.2", "settings do not change the connection's window")
def _(dial):
    line = dial((f.WINDOW, f.MOST), generous=False)
    line.send(f.request(1, NOISY))
    line.until(lambda: len(line.stream(1).body) >= 65_535, "a window of bytes")
    line.send(f.settings([(f.WINDOW, 1 << 20)]))
    require(body(line, 1) == 65_535, line.seen())


@case("5.2.1", "padding counts")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=f.END_HEADERS))
    for _ in range(20):
        line.send(f.frame(f.DATA, f.PADDED, 1, f.padded(b"a", bytes(255))) * 20)
        line.alive()
    # 20 x 20 x 257 bytes: more than the window that there was at first.
    opened = 65_535 + line.windows.get(0, 0)
    require(opened >= 20 * 20 * 257, f"padding is not given back: {opened}")


@case("5.2.2", "a client sends more than its window")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=f.END_HEADERS))
    line.until(lambda: line.stream(1).heads, "a head")
    for _ in range(40):
        line.send(f.data(1, bytes(f.PAYLOAD), 0))
    stream = line.stream(1)
    line.until(lambda: line.closed or stream.code is not None, "FLOW_CONTROL")
    code = stream.code if stream.code is not None else line.goaways[-1][1]
    require(code == f.FLOW_CONTROL, line.seen())


@case("5.2", "large answers side by side, within small windows")
def _(dial):
    line = dial((f.WINDOW, 20_000))
    numbers = range(1, 16, 2)
    line.send(*(f.request(number, NOISY) for number in numbers))
    for number in numbers:
        line.answered(number, 200, FILES[NOISE])


@case("5.2.2", "a stream that is not read does not hold up others")
def _(dial):
    line = dial((f.WINDOW, 0), generous=False)
    line.send(f.request(1, NOISY), f.request(3, DIGIT), f.window(3, 1000))
    line.answered(3, 200, FILES[DIGITS])
    require(not line.stream(1).body, line.seen())
