"""Requests that are malformed (RFC 9114 section 4), and frames where they must not be (section 7)."""

from ledger import Suite, require
from package import DIGITS, FILES, address

from . import frames as f

case = Suite()


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
        line.malformed(line.ask(f.headers(fields)))


def fine(title, section, fields, status=200):
    """A case: these fields are one."""

    @case(section, title)
    def _(dial):
        line = dial()
        line.answered(line.ask(f.headers(fields)), status)
        line.unharmed()


def on_request(title, section, data, *codes, end=True):
    """A case: these bytes on a request are an error of the connection."""

    @case(section, title)
    def _(dial):
        line = dial()
        line.ask(data, end)
        line.connection_error(*codes)


malformed("a name in upper case", "4.2", f.asked("/", "GET", ("X-Nada", "1")))
malformed("a name with a space", "4.2", f.asked("/", "GET", ("x nada", "1")))
malformed("a name with a NUL", "10.3", f.asked("/", "GET", ("x\0nada", "1")))
malformed("a name beyond ASCII", "10.3", f.asked("/", "GET", ("x\xf1", "1")))
malformed("an empty name", "10.3", f.asked("/", "GET", ("", "1")))
malformed("a value with a NUL", "10.3", f.asked("/", "GET", ("x-nada", "a\0b")))
malformed("a value with a carriage return", "10.3", f.asked("/", "GET", ("x-nada", "a\rb")))
malformed("a value with a line feed", "10.3", f.asked("/", "GET", ("x-nada", "a\nhost: otro")))
for name in ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"):
    value = {"connection": "close", "transfer-encoding": "chunked"}.get(name, "1")
    malformed(f"a field of the connection: {name}", "4.2", f.asked("/", "GET", (name, value)))
malformed("te that is not trailers", "4.2", f.asked("/", "GET", ("te", "gzip")))
fine("te: trailers", "4.2", f.asked("/", "GET", ("te", "trailers")))
fine("cookies in crumbs", "4.2.1", f.asked("/", "GET", ("cookie", "a=b"), ("cookie", "c=d")))
malformed("an unknown pseudo-header field", "4.3", f.asked() + [(":nada", "1")])
malformed("one of answers", "4.3", f.asked() + [(":status", "200")])
malformed("one of extended CONNECT", "4.3", f.asked() + [(":protocol", "websocket")])
malformed("one behind other fields", "4.3", without(":path") + [("x-nada", "1"), (":path", "/")])
for name in (":method", ":scheme", ":path"):
    malformed(f"no {name}", "4.3.1", without(name))
malformed("no authority and no host", "4.3.1", without(":authority"))
for name, value in f.asked():
    malformed(f"two of {name}", "4.3.1", f.asked() + [(name, value)])
malformed("two paths that differ", "4.3.1", f.asked() + [(":path", "/nada")])
malformed("no fields at all", "4.3.1", [])
malformed("an empty path", "4.3.1", instead(":path", ""))
malformed("a path without a slash", "4.3.1", instead(":path", "nada"))
malformed("a path with a space", "4.3.1", instead(":path", "/a b"))
malformed("an asterisk without OPTIONS", "4.3.1", instead(":path", "*"))
malformed("an empty authority", "4.3.1", instead(":authority", ""))
malformed("a user in the authority", "4.3.1", instead(":authority", "yo@localhost"))
malformed("an authority that is none", "4.3.1", instead(":authority", "local/host"))
malformed("a host that is not the authority", "4.3.1", f.asked() + [("host", "otro")])
malformed("an empty method", "4.3.1", instead(":method", ""))
malformed("a method that is no token", "4.3.1", instead(":method", "GE T"))
malformed("an empty scheme", "4.3.1", instead(":scheme", ""))
fine("host without an authority", "4.3.1", without(":authority") + [("host", "localhost")])
fine("host and authority that are the same", "4.3.1", f.asked() + [("host", "localhost")])
fine("OPTIONS of the server", "4.3.1", f.asked("*", "OPTIONS"))
fine("pseudo-header fields in any order", "4.3.1", list(reversed(f.asked())))
fine("a method that nobody knows", "4.3.1", f.asked("/", "ADIVINA"), 405)
malformed("CONNECT with a path and a scheme", "4.4", f.asked("/", "CONNECT"))
malformed("CONNECT without an authority", "4.4", [(":method", "CONNECT")])
fine("CONNECT", "4.4", [(":method", "CONNECT"), (":authority", "localhost:443")], 405)
fine("an expectation that cannot be met", "10.1.1 of RFC 9110", f.asked("/", "GET", ("expect", "milagros")), 417)
malformed("content that is announced and does not come", "4.1.2", f.asked("/", "GET", ("content-length", "5")))
malformed("a length that is none", "4.1.2", f.asked("/", "GET", ("content-length", "nada")))
malformed("two lengths", "4.1.2", f.asked("/", "POST", ("content-length", "0"), ("content-length", "1")))


@case("4.2.2", "a head beyond the limit is refused, and the connection goes on")
def _(dial):
    line = dial()
    for more in ([("x-nada", "a" * 8000)] * 5, [("x-nada", "a" * 40_000)]):
        number = line.ask(f.headers(f.asked() + more))
        stream = line.stream(number)
        line.until(lambda stream=stream: stream.ended or stream.reset is not None, "431, or an error of the stream")
        fine_codes = (f.REJECTED, f.EXCESSIVE_LOAD, f.MESSAGE_ERROR)
        require(stream.reset in fine_codes or stream.answer()[0] == 431, line.seen())
    line.unharmed()


@case("4.1", "a request of nothing")
def _(dial):
    line = dial()
    number = line.ask(b"")
    line.stream_error(number, f.INCOMPLETE)


@case("4.1", "a request that the client resets before its head")
def _(dial):
    line = dial()
    number = line.ask(f.request()[:5], end=False)
    line.unharmed()
    line.quic.reset_stream(number, f.CANCELLED)
    line.unharmed()


@case("4.1", "trailers, and content, of a request that is answered at once")
def _(dial):
    line = dial()
    number = line.ask(f.request("/", "POST") + f.data(b"abc") + f.headers([("x-suma", "1")]))
    line.answered(number, 405)
    line.unharmed()


@case("4.1", "a request that comes byte by byte")
def _(dial):
    line = dial()
    data = f.request(address(DIGITS))
    number = line.ask(data[:1], end=False)
    for at in range(1, len(data)):
        line.send(number, data[at : at + 1], at + 1 == len(data))
    line.answered(number, 200, FILES[DIGITS])


on_request("DATA before HEADERS", "4.1", f.data(b"abc") + f.request(), f.FRAME_UNEXPECTED)
on_request("DATA of nothing before HEADERS", "4.1", f.data(b"") + f.request(), f.FRAME_UNEXPECTED)
on_request("a frame that is cut off", "7.1", f.request()[:-3], f.FRAME_ERROR)
on_request("a frame without its length", "7.1", f.var(f.HEADERS), f.FRAME_ERROR)
on_request("CANCEL_PUSH on a request", "7.2.3", f.frame(f.CANCEL_PUSH, b"\0") + f.request(), f.FRAME_UNEXPECTED)
on_request("SETTINGS on a request", "7.2.4", f.settings() + f.request(), f.FRAME_UNEXPECTED)
on_request("PUSH_PROMISE on a request", "7.2.5", f.frame(f.PUSH_PROMISE, b"\0" + f.section(f.asked())), f.FRAME_UNEXPECTED)
on_request("GOAWAY on a request", "7.2.6", f.frame(f.GOAWAY, b"\0") + f.request(), f.FRAME_UNEXPECTED)
on_request("MAX_PUSH_ID on a request", "7.2.7", f.frame(f.MAX_PUSH_ID, b"\0") + f.request(), f.FRAME_UNEXPECTED)
for kind, name in ((2, "PRIORITY"), (6, "PING"), (8, "WINDOW_UPDATE"), (9, "CONTINUATION")):
    on_request(f"{name} of HTTP/2 on a request", "7.2.8", f.frame(kind, bytes(4)) + f.request(), f.FRAME_UNEXPECTED)

UNKNOWN = {"reserved": 0x21, "reserved, with a large number": 0x1F * 1_000_000 + 0x21, "unknown": 0x2F, "0x41": 0x41}
for name, kind in UNKNOWN.items():

    @case("9", f"kinds of frames that nobody knows are ignored before HEADERS: {name}")
    def _(dial, kind=kind):
        line = dial()
        number = line.ask(f.frame(kind, b"whatever") + f.frame(kind) + f.request(address(DIGITS)))
        line.answered(number, 200, FILES[DIGITS])
        line.unharmed()


on_request("a section without its prefix", "2.2 of RFC 9204", f.frame(f.HEADERS), f.DECOMPRESSION_FAILED)
on_request(
    "an index behind the static table", "3.1 of RFC 9204", f.frame(f.HEADERS, b"\0\0\xff\x24"), f.DECOMPRESSION_FAILED
)
on_request("an index into no dynamic table", "3.2 of RFC 9204", f.frame(f.HEADERS, b"\0\0\x80"), f.DECOMPRESSION_FAILED)
on_request(
    "an index behind the base, into no dynamic table",
    "3.2 of RFC 9204",
    f.frame(f.HEADERS, b"\0\0\x10"),
    f.DECOMPRESSION_FAILED,
)
on_request(
    "a section that needs entries that cannot be", "4.5.1 of RFC 9204", f.frame(f.HEADERS, b"\2\0\xd1"), f.DECOMPRESSION_FAILED
)
on_request(
    "a number beyond 62 bits",
    "4.1.1 of RFC 9204",
    f.frame(f.HEADERS, b"\0\0\xff" + b"\xff" * 12),
    f.DECOMPRESSION_FAILED,
)
on_request(
    "a string longer than its section",
    "4.1.2 of RFC 9204",
    f.frame(f.HEADERS, f.section(f.asked()) + b"\x23abc\x7fd"),
    f.DECOMPRESSION_FAILED,
)
on_request(
    "a Huffman code with wrong padding",
    "4.1.2 of RFC 9204",
    f.frame(f.HEADERS, f.section(f.asked()) + b"\x23abc\x81\x18"),
    f.DECOMPRESSION_FAILED,
)


@case("3.1 of RFC 9204", "the static table")
def _(dial):
    line = dial()
    # GET is 17, https is 23, `/` is 1, and `:authority` is the name 0.
    section = b"\0\0\xd1\xd7\xc1\x50\x09localhost"
    line.answered(line.ask(f.frame(f.HEADERS, section)), 200)


@case("4.1.2 of RFC 9204", "strings in Huffman code")
def _(dial):
    import pylsqpack

    line = dial()
    fields = [(name.encode(), value.encode()) for name, value in f.asked(address(DIGITS), "GET", ("x-nada", "aaaa"))]
    _, section = pylsqpack.Encoder().encode(0, fields)
    line.answered(line.ask(f.frame(f.HEADERS, section)), 200, FILES[DIGITS])
