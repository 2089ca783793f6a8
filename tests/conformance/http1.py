"""HTTP/1.1 that is wrong, strange, or cut to pieces: statuses and ends by RFC 9112.

Every request of the table is sent in three ways: at once, byte by byte, and in one segment with the end of the
handshake. What comes back must not depend on it. Behind most of them stands a request for SMUGGLED: whoever answers
that has read a part of one request as another one.
"""

import re
import sys
import threading
import time

import target
from ledger import Ledger, require
from package import DIGITS, EMPTY, FILES, NOISE, TABLE, address
from wire import Closed, Wire

DIGIT, NOISY, ROWS = address(DIGITS), address(NOISE), address(TABLE)
LATE = 20
"""Seconds that the node waits for a head (`limits.head`)."""

OK = [200]
REFUSED = {400}
"""The server MUST refuse."""
EITHER = {400, 200}
"""The server MAY refuse, or repair."""


def get(fields="", path="/", version="1.1", host="Host: localhost\r\n"):
    """A GET request."""
    return f"GET {path} HTTP/{version}\r\n{host}{fields}\r\n".encode("latin-1")


def line(text, fields="Host: localhost\r\n"):
    """A request with this first line."""
    return f"{text}\r\n{fields}\r\n".encode("latin-1")


SMUGGLED = get(path="/smuggled")

STAYS = [
    # Name, bytes, statuses of the answers in order. The connection stays, so SMUGGLED behind it is a request.
    ("3 a request", get(), OK),
    ("2.2 an empty line before it", b"\r\n" + get(), OK),
    ("2.2 two requests with an empty line between them", get() + b"\r\n" + get(), OK * 2),
    ("5.1 names have no case", get(host="hOsT: localhost\r\n"), OK),
    ("5.1 no space before a value", get(host="Host:localhost\r\n"), OK),
    ("5.1 much space around a value", get("X: \t  a \t \r\n"), OK),
    ("5 an empty value", get("X:\r\n"), OK),
    ("5.5 of RFC 9110: bytes beyond ASCII in a value", get("X: a\xf1o\r\n"), OK),
    ("5 a field of thirty thousand bytes", get(f"X: {'a' * 30_000}\r\n"), OK),
    ("5 ninety fields", get("".join(f"X-{at}: a\r\n" for at in range(90))), OK),
    ("3 a target of eight thousand bytes", get(path="/" + "a" * 7999), [404]),
    ("3.2 a host in another case", get(host="Host: LOCALHOST:443\r\n"), OK),
    ("3.2 a host as an address", get(host="Host: [::1]:443\r\n"), OK),
    ("3.2 an empty host", get(host="Host:\r\n"), OK),
    ("3.2.2 the absolute form goes before Host", line("GET https://localhost/ HTTP/1.1", "Host: otro\r\n"), OK),
    ("3.2.2 the absolute form without a path", line("GET https://localhost HTTP/1.1"), OK),
    ("3.2.2 the absolute form, in capitals", line("GET HTTPS://LOCALHOST/ HTTP/1.1"), OK),
    ("3.2.4 the asterisk form", line("OPTIONS * HTTP/1.1"), OK),
    ("6.3 a length of nothing", get("Content-Length: 0\r\n"), OK),
    ("6.3 a length of nothing, twice", get("Content-Length: 0\r\nContent-Length: 0\r\n"), OK),
    ("9.3 a connection that stays, in so many words", get("Connection: keep-alive\r\n"), OK),
    ("9.3 an option that nobody knows", get("Connection: X-Nada\r\nX-Nada: 1\r\n"), OK),
    ("7.8 of RFC 9110: an upgrade", get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), OK),
    ("10.1.1 of RFC 9110: to go on without content", get("Expect: 100-continue\r\n"), OK),
    ("9.1 of RFC 9110: a method that nobody knows", line("ADIVINA / HTTP/1.1"), [405]),
    ("9.3.8 of RFC 9110: TRACE", line("TRACE / HTTP/1.1", "Host: localhost\r\nCookie: secreto\r\n"), [405]),
    ("9.3.6 of RFC 9110: CONNECT", line("CONNECT localhost:443 HTTP/1.1"), [405]),
    ("9.3.2 two requests at once", get() * 2, OK * 2),
    ("9.3.2 statuses in their order", get(path="/nada") + get() + get('If-None-Match: *\r\n'), [404, 200, 304]),
    ("9.3.2 a hundred at once", get(path=DIGIT) * 100, OK * 100),
    ("9.3.2 small ones behind large ones", get(path=ROWS) + get() + get(path=ROWS) + get(), OK * 4),
]

ENDS = [
    # The connection ends behind the last answer, and SMUGGLED is never read.
    ("9.6 a connection that ends", get("Connection: close\r\n"), OK),
    ("9.6 the same among other options", get("Connection: keep-alive, Close\r\n"), OK),
    ("9.6 the same with a large file", get("Connection: close\r\n", path=NOISY), OK),
    ("9.6 behind others", get(path=ROWS) + get(path=DIGIT) + get("Connection: close\r\n"), OK * 3),
    ("9.3 version 1.0", get(version="1.0"), OK),
    ("9.3 version 1.0 without a host", get(version="1.0", host=""), OK),
    ("9.3 version 1.0 with a large file", get(version="1.0", path=NOISY), OK),
    ("2.3 a higher minor version", get(version="1.2"), {200, 505}),
    ("2.3 version 2.0", get(version="2.0"), {505}),
    ("2.3 version 3.0", get(version="3.0"), {505}),
    ("2.3 version 0.9", b"GET /\r\n", {400, 505}),
    ("2.3 a version of two digits", get(version="1.10"), REFUSED),
    ("2.3 a version with a zero", get(version="01.1"), REFUSED),
    ("2.3 a version in lower case", line("GET / http/1.1"), REFUSED),
    ("2.3 no name of a version", line("GET / 1.1"), REFUSED),
    ("3 an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505, 400}),
    ("3 two spaces", line("GET  / HTTP/1.1"), EITHER),
    ("3 two spaces before the version", line("GET /  HTTP/1.1"), EITHER),
    ("3 a tab", line("GET\t/\tHTTP/1.1"), EITHER),
    ("3 a space at the end", line("GET / HTTP/1.1 "), EITHER),
    ("3 a space at the beginning", line(" GET / HTTP/1.1"), REFUSED),
    ("3 a space in the target", line("GET /a b HTTP/1.1"), REFUSED),
    ("3 no target", line("GET HTTP/1.1"), REFUSED),
    ("3 nothing but a version", line("HTTP/1.1"), REFUSED),
    ("3 a method with a colon", line("GE:T / HTTP/1.1"), REFUSED),
    ("3 a method without end", line("A" * 300 + " / HTTP/1.1"), {501, 400, 405}),
    ("3 a target without end", line("GET /" + "a" * 20_000 + " HTTP/1.1"), {414}),
    ("3.2 no host", get(host=""), REFUSED),
    ("3.2 two hosts", get("Host: localhost\r\n"), REFUSED),
    ("3.2 two other hosts", get("Host: otro\r\n"), REFUSED),
    ("3.2 a list of hosts", get(host="Host: localhost, otro\r\n"), REFUSED),
    ("3.2 a host with a space", get(host="Host: local host\r\n"), REFUSED),
    ("3.2 a host with a path", get(host="Host: localhost/a\r\n"), REFUSED),
    ("3.2 a host with a user", get(host="Host: yo@localhost\r\n"), REFUSED),
    ("3.2 a host with no number for a port", get(host="Host: localhost:a\r\n"), REFUSED),
    ("3.2 a host that is no address", get(host="Host: [::1\r\n"), REFUSED),
    ("3.2 a target that is no path", line("GET a HTTP/1.1"), REFUSED),
    ("3.2 a fragment", line("GET /#a HTTP/1.1"), EITHER),
    ("3.2 a target with bytes beyond ASCII", line("GET /a\xf1o HTTP/1.1"), {400, 404}),
    ("3.2 a target with a NUL", line("GET /\x00 HTTP/1.1"), REFUSED),
    ("3.2.2 no scheme of the web", line("GET ftp://localhost/ HTTP/1.1"), {400, 421}),
    ("3.2.2 no authority", line("GET https:/// HTTP/1.1"), REFUSED),
    ("3.2.2 a user", line("GET https://yo@localhost/ HTTP/1.1"), {400, 421}),
    ("3.2.3 the authority form without CONNECT", line("GET localhost:443 HTTP/1.1"), REFUSED),
    ("3.2.4 the asterisk form without OPTIONS", line("GET * HTTP/1.1"), REFUSED),
    ("2.2 five empty lines", b"\r\n" * 5 + get(), EITHER),
    ("2.2 a line feed before it", b"\n" + get(), EITHER),
    ("2.2 line feeds alone", get("X: a\r\n").replace(b"\r\n", b"\n"), EITHER),
    ("2.2 one line feed alone", get("X: a\nY: b\r\n"), EITHER),
    ("2.2 a head that ends with a line feed", b"GET / HTTP/1.1\r\nHost: localhost\r\n\n", EITHER),
    ("2.2 a carriage return alone", get("X: a\rY: b\r\n"), EITHER),
    ("2.2 a carriage return alone in the first line", line("GET / HTTP/1.1\rX: a"), REFUSED),
    ("2.2 two carriage returns", get("X: a\r\r\n"), EITHER),
    ("2.2 space before the first field", line("GET / HTTP/1.1", " X: a\r\nHost: localhost\r\n"), EITHER),
    ("5.1 space before a colon", get("X : a\r\n"), REFUSED),
    ("5.1 a tab before a colon", get("X\t: a\r\n"), REFUSED),
    ("5 no colon", get("X\r\n"), REFUSED),
    ("5 no name", get(": a\r\n"), REFUSED),
    ("5 a name with a space", get("X Y: a\r\n"), REFUSED),
    ("5 a name with a parenthesis", get("X(: a\r\n"), REFUSED),
    ("5 a name beyond ASCII", get("\xf1: a\r\n"), REFUSED),
    ("5 a name with a NUL", get("X\x00: a\r\n"), REFUSED),
    ("5.5 of RFC 9110: a NUL in a value", get("X: a\x00b\r\n"), REFUSED),
    ("5.2 a folded line", get("X: a\r\n b\r\n"), EITHER),
    ("5.2 a folded line with a tab", get("X: a\r\n\tb\r\n"), EITHER),
    ("5.2 a folded line without a name", get("X:\r\n a\r\n"), EITHER),
    ("5.4 of RFC 9110: fields without end", get("X: a\r\n" * 20_000), {431, 400}),
    ("5.4 of RFC 9110: a field without end", get(f"X: {'a' * 100_000}\r\n"), {431, 400}),
    ("5.4 of RFC 9110: more fields than are read", get("X: a\r\n" * 2000), {431, 400}),
    ("10.1.1 of RFC 9110: an expectation that cannot be met", get("Expect: milagros\r\n"), {417, 200}),
]


def content(fields, method="POST"):
    """A request that says that SMUGGLED is its content, or a part of it."""
    return f"{method} / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode("latin-1")


LENGTH = f"Content-Length: {len(SMUGGLED)}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
ANSWERED = {400, 405, 200}
"""No answer depends on content, so it may be given at once; the connection has to end if the content is not read."""

FRAMING = [
    # The node reads no content: the connection ends behind the answer, and SMUGGLED is never read as a request.
    ("6.2 content", content(LENGTH), {405}),
    ("6.2 content of a GET request", content(LENGTH, "GET"), OK),
    ("6.2 content that is said twice in one way", content(LENGTH + LENGTH), {400, 405}),
    ("6.2 the same on one line", content(f"Content-Length: {len(SMUGGLED)}, {len(SMUGGLED)}\r\n"), {400, 405}),
    ("6.1 chunks", content(CHUNKED), {405}),
    ("6.1 chunks in capitals", content("Transfer-Encoding: CHUNKED\r\n"), {405}),
    ("6.1 compressed chunks", content("Transfer-Encoding: gzip, chunked\r\n"), {405, 501}),
    ("6.1 chunks of a GET request", content(CHUNKED, "GET"), OK),
    ("6.1 chunks and a length", content(CHUNKED + LENGTH), {400, 405}),
    ("6.1 a length and chunks", content("Content-Length: 0\r\n" + CHUNKED), {400, 405}),
    ("6.1 a length of nothing and chunks, GET", content("Content-Length: 0\r\n" + CHUNKED, "GET"), {400, 200}),
    ("6.1 chunks in version 1.0", content(CHUNKED).replace(b"1.1", b"1.0"), {400}),
    ("6.3 two lengths", content("Content-Length: 0\r\n" + LENGTH), REFUSED),
    ("6.3 two lengths in the other order", content(LENGTH + "Content-Length: 0\r\n"), REFUSED),
    ("6.3 two lengths on one line", content(f"Content-Length: 0, {len(SMUGGLED)}\r\n"), REFUSED),
    ("6.3 a length with a sign", content("Content-Length: +5\r\n"), REFUSED),
    ("6.3 a negative length", content("Content-Length: -1\r\n"), REFUSED),
    ("6.3 a hexadecimal length", content("Content-Length: 0x5\r\n"), REFUSED),
    ("6.3 a length with a space in it", content("Content-Length: 5 5\r\n"), REFUSED),
    ("6.3 a length with a point", content("Content-Length: 5.0\r\n"), REFUSED),
    ("6.3 a length beyond 64 bits", content("Content-Length: 18446744073709551616\r\n"), REFUSED),
    ("6.3 an empty length", content("Content-Length:\r\n"), REFUSED),
    ("6.3 a length with letters behind it", content("Content-Length: 0a\r\n"), REFUSED),
    ("6.3 a length with a NUL behind it", content("Content-Length: 0\x00\r\n"), REFUSED),
    ("5.1 space before the colon of a length", content("Content-Length : 0\r\n"), REFUSED),
    ("5.2 a folded length", content(f"Content-Length:\r\n {len(SMUGGLED)}\r\n"), REFUSED | {405}),
    ("6.3 chunks are not last", content("Transfer-Encoding: chunked, gzip\r\n"), REFUSED | {501}),
    ("6.3 chunks twice", content(CHUNKED + CHUNKED), REFUSED),
    ("6.3 no chunks", content("Transfer-Encoding: gzip\r\n"), REFUSED | {501}),
    ("6.1 identity", content("Transfer-Encoding: identity\r\n"), REFUSED | {501}),
    ("6.1 chunks and identity", content(CHUNKED + "Transfer-Encoding: identity\r\n"), REFUSED | {501}),
    ("6.1 a coding that nobody knows", content("Transfer-Encoding: xchunked\r\n"), {501}),
    ("6.1 an empty coding", content("Transfer-Encoding:\r\n"), REFUSED | {501}),
    ("6.1 a coding in quotes", content('Transfer-Encoding: "chunked"\r\n'), REFUSED | {501}),
    ("6.1 a coding behind a vertical tab", content("Transfer-Encoding: \x0bchunked\r\n"), REFUSED | {501}),
    ("6.1 a coding with a parameter", content("Transfer-Encoding: chunked;a=b\r\n"), REFUSED | {501, 405}),
    ("5.1 space before the colon of a coding", content("Transfer-Encoding : chunked\r\n"), REFUSED),
    ("5.2 a folded coding", content("Transfer-Encoding:\r\n chunked\r\n"), REFUSED | {405}),
    ("5.2 a coding folded behind another", content("X: a\r\n Transfer-Encoding: chunked\r\n"), REFUSED | {405}),
    ("2.2 a coding behind a line feed", content("X: a\nTransfer-Encoding: chunked\r\n"), REFUSED | {405}),
    ("2.2 a coding behind a carriage return", content("X: a\rTransfer-Encoding: chunked\r\n"), REFUSED | {405}),
    ("5 a coding with a NUL in its name", content("Transfer-Encoding\x00: chunked\r\n"), REFUSED),
    ("7.1 a chunk that has no size", content(CHUNKED) + b"x\r\n", {405, 400}),
    ("7.1 a chunk without end", content(CHUNKED) + b"ffffffffffffffffff\r\n", {405, 400}),
    ("7.1 a chunk that ends with a line feed", content(CHUNKED) + b"1\na\n0\n\n", {405, 400}),
    ("7.1 the last chunk, and something behind it", content(CHUNKED) + b"0\r\n\r\n", {405}),
    ("10.1.1 of RFC 9110: to go on with content", content(LENGTH + "Expect: 100-continue\r\n"), {405, 417}),
]

HEAD_OF = re.compile(rb"(?<=\n)([A-Z]+) [^\r\n]* HTTP/1")


def exchange(where, data, count, way):
    """The answers to some bytes: their statuses, and their fields and bodies."""
    first = data if way == "with the handshake" else b""
    answers = []
    with Wire(where, first) as wire:
        if not first:
            wire.send(data, 1 if way == "byte by byte" else None)
        while len(answers) < count:
            try:
                answer = wire.answer()
            except Closed:
                break
            answers.append(answer)
            if answer.field("connection") == "close":
                break
        rest = wire.ends() if answers and answers[-1].field("connection") == "close" else b""
    return answers, rest


def described(answers):
    return [(answer.status, answer.field("connection"), len(answer.body)) for answer in answers]


def ways(data):
    """How to send something: bytes one by one only where they are few."""
    return ["at once", "with the handshake"] + (["byte by byte"] if len(data) < 1500 else [])


def fine(answers, way):
    """What is true of every answer."""
    for answer in answers:
        require(answer.field("date") and answer.field("content-length") or answer.status == 304, way, answer.fields)
        require("Cookie" not in answer.body.decode("latin-1"), way, "the request is in the answer")
        require(answer.status != 200 or answer.body in FILES.values() or not answer.body, way, "other bytes")


def stays(where, data, expected):
    """All are answered, and what comes behind them too."""
    data += SMUGGLED
    for way in ways(data):
        answers, _ = exchange(where, data, len(expected) + 1, way)
        require([answer.status for answer in answers] == expected + [404], way, described(answers))
        require(all(answer.field("connection") is None for answer in answers), way, described(answers))
        fine(answers, way)


def ends(where, data, expected):
    """The last answer is the last, and the connection ends in an orderly way."""
    data += SMUGGLED
    for way in ways(data):
        answers, rest = exchange(where, data, 200, way)
        statuses = [answer.status for answer in answers]
        as_expected = statuses == expected if isinstance(expected, list) else len(statuses) == 1 and statuses[0] in expected
        require(as_expected, f"{way}: {described(answers)}, expected {expected}")
        require(answers[-1].field("connection") == "close", f"{way}: the end is not said: {described(answers)}")
        require(not rest, f"{way}: something behind the end: {rest[:80]!r}")
        fine(answers, way)


def heads(where):
    """Answers to HEAD have no body, whatever they say of its length, be they refusals or not."""
    asked = [("HEAD", "/"), ("GET", DIGIT), ("HEAD", "/nada"), ("HEAD", NOISY), ("GET", address(EMPTY)), ("HEAD", ROWS)]
    data = b"".join(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for method, path in asked)
    data += b"HEAD / HTTP/1.1\r\n\r\n"
    with Wire(where) as wire:
        wire.send(data)
        answers = [wire.answer(method) for method, _ in asked] + [wire.answer("HEAD")]
        require([answer.status for answer in answers] == [200, 200, 404, 200, 200, 200, 400], described(answers))
        require(not wire.ends(), "something behind the end")


def kept_alive(where):
    """Version 1.0 stays if it says so, and is told so (RFC 9112 section 9.3)."""
    with Wire(where) as wire:
        for _ in range(3):
            wire.send(get("Connection: keep-alive\r\n", version="1.0"))
            answer = wire.answer()
            require(answer.status == 200 and answer.field("connection") == "keep-alive", answer.fields)


def half_closed(where):
    """A client that has said everything still gets its answer (RFC 9112 section 9.6)."""
    with Wire(where) as wire:
        wire.send(get(path=NOISY) + get())
        wire.finish()
        require(wire.answer().body == FILES[NOISE], "not all of it")
        require(wire.answer().status == 200, "the second one is lost")
        require(not wire.ends(), "something behind the end")


def unfinished(where):
    """Half a request is no request."""
    for data in (b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a"):
        with Wire(where) as wire:
            wire.send(get() + data)
            wire.finish()
            require(wire.answer().status == 200, "the first one is lost")
            rest = wire.ends()
            require(not rest or rest.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")), rest[:80])


def slow_reader(where):
    """A large file, read so slowly that the server has to wait, on a connection that ends."""
    for fields in ("", "Connection: close\r\n"):
        with Wire(where) as wire:
            wire.send(get(fields, path=NOISY))
            time.sleep(0.5)
            require(wire.answer().body == FILES[NOISE], f"not all of it ({fields.strip()})")


def cut_anywhere(where):
    """A request in two pieces, at every place where it can be cut."""
    data = get("If-None-Match: \"a\"\r\nRange: bytes=0-9\r\n", path=DIGIT)
    with Wire(where) as wire:
        for at in range(1, len(data)):
            wire.send(data[:at])
            wire.send(data[at:])
            answer = wire.answer()
            require(answer.status == 206 and answer.body == FILES[DIGITS][:10], f"cut at {at}: {answer.status}")


def late(where, said):
    """Half a request and then nothing: 408, and the end (RFC 9110 section 15.5.9)."""
    began = time.monotonic()
    with Wire(where) as wire:
        wire.line.wait(LATE + target.PATIENCE)
        wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        try:
            answer = wire.answer()
            wire.ends()
            said.append((answer.status, answer.field("connection"), time.monotonic() - began))
        except Exception as error:  # pylint: disable=broad-except
            said.append(error)


def main():
    ledger = Ledger("http1")
    where = target.node()
    said = []
    waiting = threading.Thread(target=late, args=(where, said))
    waiting.start()
    for name, data, expected in STAYS:
        ledger.run(name, stays, where, data, expected)
    for name, data, expected in ENDS + FRAMING:
        ledger.run(name, ends, where, data, expected)
    for name, case in (
        ("9.3.2 of RFC 9110: HEAD", heads),
        ("9.3 version 1.0 that stays", kept_alive),
        ("9.6 half of the connection is closed", half_closed),
        ("8 half a request", unfinished),
        ("9.6 a slow reader", slow_reader),
        ("2.2 cut anywhere", cut_anywhere),
    ):
        ledger.run(name, case, where)
    waiting.join()
    right = said and isinstance(said[0], tuple) and said[0][:2] == (408, "close") and LATE - 5 < said[0][2] < LATE + 5
    ledger.run("15.5.9 of RFC 9110: half a request, late", lambda: require(right, said))
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main())
