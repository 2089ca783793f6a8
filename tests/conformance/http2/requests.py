"""Requests and answers (RFC 9113 section 8): what is one, and what is malformed."""

from ledger import Suite, require
from package import DIGITS, EMPTY, FILES, NOISE, address

from . import frames as f

case = Suite()
DIGIT = address(DIGITS)
OPEN = f.END_HEADERS


def without(name):
    """A request without one of its pseudo-header fields."""
    return [field for field in f.asked() if field[0] != name]


def instead(name, value):
    """A request with another value of one."""
    return [(key, value if key == name else old) for key, old in f.asked()]


def malformed(title, section, fields):
    """A case: these fields are no request."""

    @case(section, title)
    def _(dial):
        line = dial()
        line.send(f.headers(1, f.block(fields)))
        line.malformed(1)
        line.unharmed()


def fine(title, section, fields, status=200):
    """A case: these fields are one."""

    @case(section, title)
    def _(dial):
        line = dial()
        line.send(f.headers(1, f.block(fields)))
        line.answered(1, status)


@case("8.1", "HEAD has a head and no body")
def _(dial):
    line = dial()
    line.send(f.request(1, DIGIT, "HEAD"))
    stream = line.answered(1, 200, b"")
    require(dict(stream.heads[0])["content-length"] == "1000", stream.heads)


@case("8.1", "every file")
def _(dial):
    line = dial()
    for number, name in enumerate(FILES):
        line.send(f.request(2 * number + 1, address(name)))
    for number, name in enumerate(FILES):
        line.answered(2 * number + 1, 200, FILES[name])


@case("8.1", "conditions and ranges")
def _(dial):
    line = dial()
    line.send(f.request(1, DIGIT))
    tag = dict(line.answered(1).heads[0])["etag"]
    line.send(f.request(3, DIGIT, "GET", ("if-none-match", tag)), f.request(5, DIGIT, "GET", ("range", "bytes=5-9")))
    line.send(f.request(7, DIGIT, "GET", ("if-match", '"x"')), f.request(9, DIGIT, "GET", ("range", "bytes=2000-")))
    line.answered(3, 304, b"")
    line.answered(5, 206, FILES[DIGITS][5:10])
    line.answered(7, 412)
    line.answered(9, 416)


@case("8.2", "names of answers are in lower case, and none is of the connection")
def _(dial):
    line = dial()
    for number, path in ((1, "/"), (3, "/nada"), (5, address(EMPTY)), (7, "/publicacion/estados/nl")):
        line.send(f.request(number, path))
        stream = line.stream(number)
        line.until(lambda stream=stream: stream.ended, "an answer")
        for name, _ in stream.heads[0]:
            require(name == name.lower(), "upper case:", name)
            require(name not in ("connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"), name)
        require(stream.heads[0][0][0] == ":status", "the status is not first:", stream.heads[0][:2])


@case("8.1", "trailers")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=OPEN), f.data(1, b"a", 0))
    line.send(f.headers(1, f.block([("x-suma", "1")])), f.window(1, 10_000))
    line.answered(1, 405)


@case("8.1", "trailers that do not end the stream")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=OPEN), f.headers(1, f.block([("x-suma", "1")]), OPEN))
    line.stream_error(1, f.PROTOCOL)


@case("8.1", "trailers with a pseudo-header field")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", flags=OPEN), f.headers(1, f.block([(":method", "GET")])))
    line.stream_error(1, f.PROTOCOL)


@case("8.1", "an answer before all of the content: the client is told to stop")
def _(dial):
    line = dial()
    line.send(f.request(1, "/", "POST", flags=OPEN))
    line.answered(1, 405)
    line.until(lambda: line.stream(1).code is not None, "NO_ERROR (RFC 9113 section 8.1)")
    require(line.stream(1).code == f.NO_ERROR, line.seen())
    line.send(f.data(1, b"late"))
    line.unharmed()


for said, sent, title in (
    ("5", b"abc", "less content than announced"),
    ("2", b"abc", "more content than announced"),
    ("0", b"abc", "content where none was announced"),
):

    @case("8.1.1", title)
    def _(dial, said=said, sent=sent):
        line = dial((f.WINDOW, 0))
        line.send(f.request(1, "/", "POST", ("content-length", said), flags=OPEN), f.data(1, sent))
        line.stream_error(1, f.PROTOCOL)


@case("8.1.1", "more content than announced, in two frames")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", ("content-length", "4"), flags=OPEN), f.data(1, b"abc", 0), f.data(1, b"de"))
    line.stream_error(1, f.PROTOCOL)


@case("8.1.1", "as much content as announced, in two frames and trailers")
def _(dial):
    line = dial((f.WINDOW, 0))
    line.send(f.request(1, "/", "POST", ("content-length", "4"), flags=OPEN), f.data(1, b"ab", 0), f.data(1, b"cd", 0))
    line.send(f.headers(1, f.block([("x-suma", "1")])), f.window(1, 10_000))
    line.answered(1, 405)


malformed("content that is announced and does not come", "8.1.1", f.asked("/", "POST", ("content-length", "5")))
malformed("a length that is none", "8.1.1", f.asked("/", "GET", ("content-length", "nada")))
malformed("a length with a sign", "8.1.1", f.asked("/", "GET", ("content-length", "+0")))
malformed("two lengths", "8.1.1", f.asked("/", "POST", ("content-length", "0"), ("content-length", "1")))
malformed("a list of lengths", "8.1.1", f.asked("/", "POST", ("content-length", "0, 1")))
fine("a length of nothing", "8.1.1", f.asked("/", "GET", ("content-length", "0")))

malformed("a name in upper case", "8.2.1", f.asked("/", "GET", ("X-Nada", "1")))
malformed("a name with one letter in upper case", "8.2.1", f.asked("/", "GET", ("ranGe", "bytes=0-1")))
malformed("a name with a space", "8.2.1", f.asked("/", "GET", ("x nada", "1")))
malformed("a name with a colon in it", "8.2.1", f.asked("/", "GET", ("x:nada", "1")))
malformed("a name with a NUL", "8.2.1", f.asked("/", "GET", ("x\0nada", "1")))
malformed("a name with a line feed", "8.2.1", f.asked("/", "GET", ("x\nnada", "1")))
malformed("a name with DEL", "8.2.1", f.asked("/", "GET", ("x\x7fnada", "1")))
malformed("a name beyond ASCII", "8.2.1", f.asked("/", "GET", ("x\xf1", "1")))
malformed("an empty name", "8.2.1", f.asked("/", "GET", ("", "1")))
malformed("a value with a NUL", "8.2.1", f.asked("/", "GET", ("x-nada", "a\0b")))
malformed("a value with a carriage return", "8.2.1", f.asked("/", "GET", ("x-nada", "a\rb")))
malformed("a value with a line feed", "8.2.1", f.asked("/", "GET", ("x-nada", "a\nhost: otro")))
malformed("a value that begins with a space", "8.2.1", f.asked("/", "GET", ("x-nada", " a")))
malformed("a value that ends with a tab", "8.2.1", f.asked("/", "GET", ("x-nada", "a\t")))
fine("a value with a space inside, and beyond ASCII", "8.2.1", f.asked("/", "GET", ("x-nada", "a b \xf1")))
fine("an empty value", "8.2.1", f.asked("/", "GET", ("x-nada", "")))

for name in ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"):
    value = {"connection": "close", "transfer-encoding": "chunked"}.get(name, "1")
    malformed(f"a field of the connection: {name}", "8.2.2", f.asked("/", "GET", (name, value)))
malformed("te that is not trailers", "8.2.2", f.asked("/", "GET", ("te", "gzip")))
malformed("te that is not only trailers", "8.2.2", f.asked("/", "GET", ("te", "trailers, gzip")))
fine("te: trailers", "8.2.2", f.asked("/", "GET", ("te", "trailers")))
fine("cookies in crumbs", "8.2.3", f.asked("/", "GET", ("cookie", "a=b"), ("cookie", "c=d")))

malformed("an unknown pseudo-header field", "8.3", f.asked() + [(":nada", "1")])
malformed("one of answers", "8.3", f.asked() + [(":status", "200")])
malformed("one of extended CONNECT", "8.3", f.asked() + [(":protocol", "websocket")])
malformed("one behind other fields", "8.3", without(":path") + [("x-nada", "1"), (":path", "/")])
malformed("one without a name", "8.3", f.asked() + [(":", "1")])
for name in (":method", ":scheme", ":path"):
    malformed(f"no {name}", "8.3.1", without(name))
for name, value in f.asked():
    malformed(f"two of {name}", "8.3.1", f.asked() + [(name, value)])
malformed("no fields at all", "8.3.1", [])
malformed("an empty path", "8.3.1", instead(":path", ""))
malformed("a path without a slash", "8.3.1", instead(":path", "nada"))
malformed("an absolute path", "8.3.1", instead(":path", "https://localhost/"))
malformed("a path with a space", "8.3.1", instead(":path", "/a b"))
malformed("a path with a line feed", "8.3.1", instead(":path", "/\r\nx: y"))
malformed("a path with a fragment", "8.3.1", instead(":path", "/#a"))
malformed("an asterisk without OPTIONS", "8.3.1", instead(":path", "*"))
malformed("an empty method", "8.3.1", instead(":method", ""))
malformed("an empty scheme", "8.3.1", instead(":scheme", ""))
malformed("a user in the authority", "8.3.1", instead(":authority", "yo@localhost"))
malformed("an empty authority", "8.3.1", instead(":authority", ""))
malformed("an authority with a space", "8.3.1", instead(":authority", "local host"))
malformed("a host that is not the authority", "8.3.1", f.asked() + [("host", "otro")])
malformed("two hosts", "8.3.1", f.asked() + [("host", "localhost"), ("host", "localhost")])
malformed("a method that is no token", "8.3.1", instead(":method", "GE T"))
malformed("an authority that is none", "8.3.1", instead(":authority", "local/host"))
malformed("an authority whose port is none", "8.3.1", instead(":authority", "localhost:puerto"))
fine("host without an authority", "8.3.1", without(":authority") + [("host", "localhost")])
fine("host and authority that are the same", "8.3.1", f.asked() + [("host", "localhost")])
fine("OPTIONS of the server", "8.3.1", f.asked("*", "OPTIONS"))
fine("a method that nobody knows", "8.3.1", f.asked("/", "ADIVINA"), 405)
fine("pseudo-header fields in any order", "8.3.1", list(reversed(f.asked())))
malformed("CONNECT with a path", "8.5", f.asked("/", "CONNECT"))
malformed("CONNECT without an authority", "8.5", [(":method", "CONNECT")])
fine("CONNECT", "8.5", [(":method", "CONNECT"), (":authority", "localhost:443")], 405)
fine("an expectation that cannot be met", "10.1.1 of RFC 9110", f.asked("/", "GET", ("expect", "milagros")), 417)
fine("to go on", "10.1.1 of RFC 9110", f.asked("/", "GET", ("expect", "100-continue")))
fine("a target without end", "15.5.15 of RFC 9110", f.asked("/" + "a" * 12_000), 414)


@case("8.4", "nothing is pushed, whatever a page needs")
def _(dial):
    line = dial((f.ENABLE_PUSH, 1))
    line.send(f.request(1))
    line.answered(1)
    line.alive()


@case("8.7", "a large answer that is reset leaves the connection useful")
def _(dial):
    line = dial()
    line.send(f.request(1, address(NOISE)))
    line.until(lambda: line.stream(1).body, "a part")
    line.send(f.reset(1), f.request(3, DIGIT))
    line.answered(3, 200, FILES[DIGITS])
