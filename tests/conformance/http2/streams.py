"""What a stream is, and which frames it may have in which state (RFC 9113 sections 5.1, 5.3 and 6.1 to 6.6)."""

from ledger import Suite, require

from . import frames as f

case = Suite()


def held(dial, count=1):
    """Requests whose answers wait for a window: streams that are half closed."""
    line = dial((f.WINDOW, 0))
    line.send(*(f.request(2 * at + 1) for at in range(count)))
    line.until(lambda: line.stream(2 * count - 1).heads, "a head")
    return line


def answered(dial):
    """A stream that both sides have ended."""
    line = dial()
    line.send(f.request(1))
    line.answered(1)
    return line


IDLE = {
    "DATA": (f.data(1, b"a"), f.PROTOCOL),
    "RST_STREAM": (f.reset(1), f.PROTOCOL),
    "WINDOW_UPDATE": (f.window(1, 1), f.PROTOCOL),
    "CONTINUATION": (f.continuation(1, f.block(f.asked())), f.PROTOCOL),
}
for name, (wrong, code) in IDLE.items():

    @case("5.1", f"idle: {name}")
    def _(dial, wrong=wrong, code=code):
        line = dial()
        line.send(wrong)
        line.connection_error(code)


@case("5.1", "idle: an even stream, of which nothing is known")
def _(dial):
    for wrong in (f.data(2, b"a"), f.reset(2), f.window(2, 1)):
        line = dial()
        line.send(wrong)
        line.connection_error(f.PROTOCOL)


@case("5.1", "idle: PRIORITY is allowed")
def _(dial):
    line = dial()
    line.send(f.priority(1), f.priority(5), f.request(1))
    line.answered(1)


@case("5.1", "half closed: DATA")
def _(dial):
    line = held(dial)
    line.send(f.data(1, b"a"))
    line.either_error(1, f.STREAM_CLOSED)


@case("5.1", "half closed: HEADERS")
def _(dial):
    line = held(dial)
    line.send(f.request(1))
    line.either_error(1, f.STREAM_CLOSED)


@case("5.1", "half closed: CONTINUATION")
def _(dial):
    line = held(dial)
    line.send(f.continuation(1, f.block(f.asked())))
    line.connection_error(f.PROTOCOL)


@case("5.1", "half closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed")
def _(dial):
    line = held(dial)
    line.send(f.priority(1), f.window(1, 1), f.reset(1))
    line.alive()
    require(line.stream(1).code is None, line.seen())


CLOSED = {"DATA": f.data(1, b"a"), "HEADERS": f.request(1)}
for name, wrong in CLOSED.items():

    @case("5.1", f"closed by both: {name}")
    def _(dial, wrong=wrong):
        line = answered(dial)
        line.send(wrong)
        line.either_error(1, f.STREAM_CLOSED)

    @case("5.1", f"closed by the client's RST_STREAM: {name}")
    def _(dial, wrong=wrong):
        line = held(dial)
        line.send(f.reset(1), wrong)
        line.either_error(1, f.STREAM_CLOSED)


@case("5.1", "closed: CONTINUATION")
def _(dial):
    line = answered(dial)
    line.send(f.continuation(1, f.block(f.asked())))
    line.connection_error(f.PROTOCOL, f.STREAM_CLOSED)


@case("5.1", "closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are ignored")
def _(dial):
    line = answered(dial)
    line.send(f.window(1, 1), f.priority(1), f.reset(1))
    line.unharmed(1)


@case("5.1", "closed by the server's RST_STREAM: what was under way is ignored")
def _(dial):
    line = dial()
    line.send(f.headers(1, f.block([(":method", "GET")]), f.END_HEADERS))
    line.until(lambda: line.stream(1).code is not None, "an error")
    line.send(f.data(1, b"a", 0), f.data(1, b"b"), f.window(1, 1), f.priority(1), f.reset(1))
    line.send(f.request(3))
    line.answered(3)


@case("5.1", "closed by the server's RST_STREAM: DATA counts for the connection's window")
def _(dial):
    line = dial()
    line.send(f.headers(1, f.block([(":method", "POST")]), f.END_HEADERS))
    line.until(lambda: line.stream(1).code is not None, "an error")
    for _ in range(8):
        line.send(f.data(1, bytes(16_000), 0))
        line.alive()
    require(line.windows.get(0, 0) >= 8 * 16_000 - 65_535, "the connection's window stays closed:", line.windows)


@case("5.1.1", "an even stream")
def _(dial):
    line = dial()
    line.send(f.request(2))
    line.connection_error(f.PROTOCOL)


@case("5.1.1", "a stream below the last one")
def _(dial):
    line = dial()
    line.send(f.request(5), f.request(3))
    line.connection_error(f.PROTOCOL, f.STREAM_CLOSED)


@case("5.1.1", "a stream twice")
def _(dial):
    line = answered(dial)
    line.send(f.request(1))
    line.connection_error(f.STREAM_CLOSED, f.PROTOCOL)


@case("5.1.1", "the largest stream")
def _(dial):
    line = dial()
    line.send(f.request(f.MOST))
    line.answered(f.MOST)


@case("5.1.2", "as many at once as the server allows")
def _(dial):
    line = dial((f.WINDOW, 0))
    most = min(line.settings[f.CONCURRENT], 1000)
    numbers = range(1, 2 * most, 2)
    line.send(*(f.request(number) for number in numbers))
    line.alive()
    line.send(f.settings([(f.WINDOW, 1000)]), f.window(0, 1 << 20))
    for number in numbers:
        line.answered(number)


@case("5.1.2", "one more is refused")
def _(dial):
    line = dial((f.WINDOW, 0))
    most = min(line.settings[f.CONCURRENT], 1000)
    line.send(*(f.request(number) for number in range(1, 2 * most, 2)))
    line.alive()
    line.send(f.request(2 * most + 1))
    line.either_error(2 * most + 1, f.REFUSED, f.PROTOCOL)


@case("5.1.2", "streams that ended make room")
def _(dial):
    line = dial()
    for start in range(0, 400, 50):
        numbers = range(2 * start + 1, 2 * start + 101, 2)
        line.send(*(f.request(number, "/nada", "HEAD") for number in numbers))
        for number in numbers:
            line.answered(number, 404)


@case("5.1.2", "streams that the client reset make room")
def _(dial):
    line = dial((f.WINDOW, 0))
    most = min(line.settings[f.CONCURRENT], 1000)
    line.send(*(f.request(number) for number in range(1, 2 * most, 2)))
    line.send(f.reset(1), f.request(2 * most + 1))
    line.until(lambda: line.stream(2 * most + 1).heads, "a head")
    line.alive()


@case("5.3", "a tree of priorities is ignored")
def _(dial):
    line = dial()
    tree = [f.priority(number, number - 2) for number in (3, 5, 7, 9, 11)]
    line.send(*tree, f.headers(13, f.dependency(11 | 1 << 31, 255) + f.block(f.asked()), 0x25))
    line.answered(13)


@case("5.3.1 of RFC 7540", "a stream that depends on itself: an error of the stream, or nothing")
def _(dial):
    line = held(dial)
    line.send(f.priority(1, 1), f.window(1, 1000))
    stream = line.stream(1)
    line.until(lambda: stream.ended or stream.code == f.PROTOCOL, "an answer, or PROTOCOL")
    line.alive()


@case("6.1", "DATA on stream 0")
def _(dial):
    line = dial()
    line.send(f.data(0, b"a"))
    line.connection_error(f.PROTOCOL)


@case("6.1", "padding")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", ("content-length", "4"), flags=f.END_HEADERS))
    line.send(f.frame(f.DATA, f.PADDED, 1, f.padded(b"ab", bytes(255))))
    line.send(f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, f.padded(b"cd", b"")), f.window(1, 10_000))
    line.answered(1, 405)


@case("6.1", "padding as long as the payload, and longer")
def _(dial):
    for claimed in (6, 255):
        line = held_open(dial)
        line.send(f.frame(f.DATA, f.PADDED, 1, f.padded(b"abcde", b"", claimed)))
        line.connection_error(f.PROTOCOL)


@case("6.1", "padding without its length")
def _(dial):
    line = held_open(dial)
    line.send(f.frame(f.DATA, f.PADDED, 1))
    line.connection_error(f.PROTOCOL, f.FRAME_SIZE)


def held_open(dial):
    """A request whose content is to come, and whose answer waits."""
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=f.END_HEADERS))
    line.until(lambda: line.stream(1).heads, "a head")
    return line


@case("6.2", "HEADERS on stream 0")
def _(dial):
    line = dial()
    line.send(f.request(0))
    line.connection_error(f.PROTOCOL)


@case("6.2", "padding and a priority")
def _(dial):
    line = dial()
    block = f.block(f.asked())
    flags = f.END_STREAM | f.END_HEADERS
    line.send(f.headers(1, f.padded(block, bytes(100)), flags | f.PADDED))
    line.send(f.headers(3, f.dependency() + block, flags | f.WITH_PRIORITY))
    line.send(f.headers(5, f.padded(f.dependency() + block, b"x"), flags | f.PADDED | f.WITH_PRIORITY))
    for number in (1, 3, 5):
        line.answered(number)


@case("6.2", "padding longer than the payload")
def _(dial):
    line = dial()
    block = f.block(f.asked())
    line.send(f.headers(1, f.padded(block, b"", 255), f.END_STREAM | f.END_HEADERS | f.PADDED))
    line.connection_error(f.PROTOCOL)


@case("6.2", "padding and priority without their bytes")
def _(dial):
    for flag, payload in ((f.PADDED, b""), (f.WITH_PRIORITY, b"\0\0\0\0"), (f.PADDED | f.WITH_PRIORITY, b"\0\0\0")):
        line = dial()
        line.send(f.headers(1, payload, f.END_STREAM | f.END_HEADERS | flag))
        line.connection_error(f.PROTOCOL, f.FRAME_SIZE)


@case("6.3", "PRIORITY on stream 0")
def _(dial):
    line = dial()
    line.send(f.priority(0))
    line.connection_error(f.PROTOCOL)


@case("6.3", "PRIORITY of another length")
def _(dial):
    for length in (4, 6):
        line = held(dial)
        line.send(f.frame(f.PRIORITY, 0, 1, bytes(length)))
        line.either_error(1, f.FRAME_SIZE)


@case("6.4", "RST_STREAM on stream 0")
def _(dial):
    line = dial()
    line.send(f.reset(0))
    line.connection_error(f.PROTOCOL)


@case("6.4", "RST_STREAM of another length")
def _(dial):
    for length in (3, 5):
        line = held(dial)
        line.send(f.frame(f.RST_STREAM, 0, 1, bytes(length)))
        line.connection_error(f.FRAME_SIZE)


@case("6.4", "nothing is sent behind RST_STREAM")
def _(dial):
    line = held(dial, 2)
    line.send(f.reset(1))
    line.alive()
    line.send(f.settings([(f.WINDOW, 1000)]))
    line.answered(3)
    require(not line.stream(1).body, line.seen())


@case("6.6", "PUSH_PROMISE from a client")
def _(dial):
    line = held(dial)
    line.send(f.frame(f.PUSH_PROMISE, f.END_HEADERS, 1, b"\0\0\0\2" + f.block(f.asked())))
    line.connection_error(f.PROTOCOL)
