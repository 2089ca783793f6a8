"""What a client that does everything right gets, with aioquic's own HTTP/3."""

import hashlib
import json
import time

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived

from ledger import Suite, require
from package import DIGITS, EMPTY, FILES, LABEL, NOISE, PAGE, address

from . import frames as f

case = Suite()
DIGIT, NOISY = address(DIGITS), address(NOISE)


class Http3(H3Connection):
    """aioquic's own, which does not know that answers to HEAD announce content that does not come."""

    def __init__(self, quic):
        super().__init__(quic)
        self.heads = set()

    def _check_content_length(self, stream):
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)


class Session:
    """aioquic's HTTP/3 on a connection."""

    def __init__(self, line):
        self.line = line
        self.http = Http3(line.quic)
        line.session = self
        self.heads = {}
        self.bodies = {}
        self.ended = set()

    def take(self, event):
        """What QUIC says."""
        for said in self.http.handle_event(event):
            if isinstance(said, HeadersReceived):
                self.heads[said.stream_id] = {name.decode(): value.decode("latin-1") for name, value in said.headers}
            elif isinstance(said, DataReceived):
                self.bodies.setdefault(said.stream_id, bytearray()).extend(said.data)
            if getattr(said, "stream_ended", False):
                self.ended.add(said.stream_id)

    def ask(self, path, method="GET", **fields):
        """A request; gives its stream."""
        number = self.line.quic.get_next_available_stream_id()
        more = [(name.replace("_", "-"), value) for name, value in fields.items()]
        encoded = [(name.encode(), value.encode()) for name, value in f.asked(path, method, *more)]
        if method == "HEAD":
            self.http.heads.add(number)
        self.http.send_headers(number, encoded, end_stream=True)
        return number

    def answer(self, number):
        """Status, fields and body."""
        self.line.until(lambda: number in self.ended, f"the answer on stream {number}")
        fields = self.heads[number]
        return int(fields[":status"]), fields, bytes(self.bodies.get(number, b""))

    def get(self, path, method="GET", **fields):
        """A request and its answer."""
        return self.answer(self.ask(path, method, **fields))


def session(dial):
    """A connection with aioquic's HTTP/3."""
    return Session(dial(greet=False))


@case("4.1", "GET, and the fields of an answer")
def _(dial):
    status, fields, body = session(dial).get("/")
    require(status == 200 and body == FILES["index.html"], status, len(body))
    for name in ("date", "etag", "last-modified", "content-type", "content-length", "cache-control"):
        require(fields.get(name), "no", name)
    require(not {"connection", "keep-alive", "transfer-encoding", "upgrade"} & set(fields), fields)


@case("4.1", "every file, at once")
def _(dial):
    client = session(dial)
    asked = {name: client.ask(address(name)) for name in FILES}
    for name, number in asked.items():
        status, _, body = client.answer(number)
        require(status == 200 and body == FILES[name], name, status, len(body))


@case("4.1", "the same bytes as the cut says")
def _(dial):
    client = session(dial)
    status, _, body = client.get("/.well-known/difusor/cut.json")
    cut = json.loads(body)
    require(status == 200 and cut["label"] == LABEL, status, cut["label"])
    for file in cut["files"]:
        require(hashlib.sha256(FILES[file["path"]]).hexdigest() == file["sha256"], file["path"])


@case("4.1", "HEAD has a head and no body")
def _(dial):
    client = session(dial)
    for path, length in ((DIGIT, "1000"), (NOISY, "3000000"), (address(EMPTY), "0")):
        status, fields, body = client.get(path, "HEAD")
        require((status, fields["content-length"], body) == (200, length, b""), status, fields, len(body))


@case("4.1", "conditions")
def _(dial):
    client = session(dial)
    _, fields, _ = client.get(DIGIT)
    tag, modified = fields["etag"], fields["last-modified"]
    for said, expected in (
        ({"if_none_match": tag}, 304),
        ({"if_none_match": f"W/{tag}"}, 304),
        ({"if_none_match": '"otra"'}, 200),
        ({"if_modified_since": modified}, 304),
        ({"if_match": tag}, 200),
        ({"if_match": '"otra"'}, 412),
    ):
        status, fields, body = client.get(DIGIT, **said)
        require(status == expected, said, status)
        require(status != 304 or (not body and fields["etag"] == tag), said, fields)


@case("4.1", "ranges")
def _(dial):
    client = session(dial)
    for path, asked, place, first, last in (
        (DIGIT, "bytes=0-99", "bytes 0-99/1000", 0, 99),
        (DIGIT, "bytes=-10", "bytes 990-999/1000", 990, 999),
        (NOISY, "bytes=1000000-2500000", "bytes 1000000-2500000/3000000", 1_000_000, 2_500_000),
    ):
        status, fields, body = client.get(path, range=asked)
        require((status, fields["content-range"]) == (206, place), asked, status, fields)
        content = FILES[NOISE] if path == NOISY else FILES[DIGITS]
        require(body == content[first : last + 1], "other bytes", asked)
    status, fields, _ = client.get(DIGIT, range="bytes=1000-")
    require((status, fields["content-range"]) == (416, "bytes */1000"), status, fields)
    status, fields, body = client.get(DIGIT, range="bytes=0-9,20-29")
    require(status == 206 and fields["content-type"].startswith("multipart/byteranges"), status, fields)
    require(FILES[DIGITS][20:30] in body and int(fields["content-length"]) == len(body), len(body))


@case("4.1", "other statuses")
def _(dial):
    client = session(dial)
    for path, method, expected in (
        ("/nada", "GET", 404),
        ("/nada", "HEAD", 404),
        (address(PAGE).removesuffix("/index.html"), "GET", 308),
        ("/", "POST", 405),
        ("/", "DELETE", 405),
        ("/", "OPTIONS", 200),
        ("*", "OPTIONS", 200),
        ("/" + "a" * 12_000, "GET", 414),
    ):
        status, _, body = client.get(path, method)
        require(status == expected and (method != "HEAD" or not body), path[:20], method, status)


@case("4.1", "a thousand requests, a hundred at once")
def _(dial):
    client = session(dial)
    waiting = []
    for at in range(1000):
        waiting.append(client.ask(DIGIT if at % 2 else "/nada"))
        if len(waiting) == 100:
            # The odd ones are of the file.
            for number in waiting:
                status, _, body = client.answer(number)
                require((status, body == FILES[DIGITS]) in ((200, True), (404, False)), status)
            waiting = []


@case("4.1", "large files side by side")
def _(dial):
    client = session(dial)
    asked = [client.ask(NOISY) for _ in range(4)] + [client.ask(DIGIT)]
    for number in asked:
        status, _, body = client.answer(number)
        require(status == 200 and body == FILES[NOISE if number != asked[-1] else DIGITS], status, len(body))


@case("4.1", "what is urgent comes first (RFC 9218)")
def _(dial):
    client = session(dial)
    late = client.ask(NOISY, priority="u=7")
    soon = client.ask(NOISY, priority="u=0")
    client.answer(soon)
    require(len(client.bodies.get(late, b"")) < len(FILES[NOISE]), "the other one did not wait")
    require(client.answer(late)[2] == FILES[NOISE], "other bytes")


@case("7.1 of RFC 9218", "what becomes urgent comes first, and what is urgent no more comes last")
def _(dial):
    line = dial()
    first, second = (line.ask(f.request(address(NOISE))) for _ in range(2))
    line.until(lambda: line.stream(first).data, "a part")
    line.send(line.control, f.frame(0xF0700, f.var(first) + b"u=7") + f.frame(0xF0700, f.var(second) + b"u=0"))
    line.answered(second, 200, FILES[NOISE])
    require(not line.stream(first).ended, "the other one did not wait")
    line.answered(first, 200, FILES[NOISE])


@case("7 of RFC 9218", "how soon something is wanted that is not asked for yet")
def _(dial):
    line = dial()
    soon = line.quic.get_next_available_stream_id() + 4
    line.send(line.control, f.frame(0xF0700, f.var(soon) + b"u=0"))
    late = line.ask(f.request(address(NOISE), "GET", ("priority", "u=7")))
    require(line.ask(f.request(address(NOISE), "GET", ("priority", "u=7"))) == soon, "another number")
    line.answered(soon, 200, FILES[NOISE])
    require(not line.stream(late).ended, "the other one did not wait")
    line.answered(late, 200, FILES[NOISE])


@case("6 of RFC 9001", "keys are changed within an answer")
def _(dial):
    client = session(dial)
    number = client.ask(NOISY)
    client.line.until(lambda: client.bodies.get(number), "a part")
    client.line.quic.request_key_update()
    require(client.answer(number)[2] == FILES[NOISE], "other bytes")
    require(client.get("/")[0] == 200, "nothing behind it")


@case("5.1.1 of RFC 9000", "another connection id")
def _(dial):
    client = session(dial)
    require(client.get("/")[0] == 200, "no answer")
    client.line.quic.change_connection_id()
    require(client.get(NOISY)[2] == FILES[NOISE], "other bytes")


@case("9 of RFC 9000", "a client that moves to another port within an answer")
def _(dial):
    import socket

    client = session(dial)
    number = client.ask(NOISY)
    client.line.until(lambda: client.bodies.get(number), "a part")
    old, client.line.socket = client.line.socket, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    old.close()
    client.line.quic.change_connection_id()
    client.line.quic.send_ping(1)
    require(client.answer(number)[2] == FILES[NOISE], "other bytes")


@case("10.2 of RFC 9000", "a client that goes, and one that comes back")
def _(dial):
    for _ in range(10):
        client = session(dial)
        require(client.get("/")[0] == 200, "no answer")
        client.line.quic.close(f.NO_ERROR)


@case("3.2", "settings of the server: on its control stream, first, and none of HTTP/2")
def _(dial):
    line = dial()
    line.unharmed()
    own = [stream.data for number, stream in line.streams.items() if number % 4 == 3]
    controls = [data for data in own if data[:1] == f.var(f.CONTROL)]
    require(len(controls) == 1, "control streams:", len(controls))
    require(controls[0][1] == f.SETTINGS, "the first frame is not SETTINGS:", controls[0][:8])
    for kind in (f.ENCODER, f.DECODER):
        require(sum(data[:1] == f.var(kind) for data in own) <= 1, "two streams of QPACK")
    require(not any(data[:1] == f.var(f.PUSH) for data in own), "a push")


@case("4.1", "an answer before all of the content: the client is told to stop")
def _(dial):
    line = dial()
    number = line.ask(f.request("/", "POST") + f.data(b"a" * 1000), end=False)
    status, _, _ = line.answered(number, 405)
    require(status == 405, status)
    line.until(lambda: line.stream(number).stopped is not None, "STOP_SENDING with NO_ERROR (RFC 9114 section 4.1)")
    require(line.stream(number).stopped == f.NO_ERROR, line.seen())
    line.unharmed()


@case("4.1.1", "a client that does not want an answer any more")
def _(dial):
    line = dial()
    number = line.ask(f.request(NOISY), end=True)
    line.until(lambda: line.stream(number).data, "a part")
    line.quic.stop_stream(number, f.CANCELLED)
    line.unharmed()
    began = time.monotonic()
    line.until(lambda: line.stream(number).reset is not None, "RESET_STREAM (RFC 9000 section 3.5)")
    require(time.monotonic() - began < 5, "it takes too long")
