"""HTTP/1.1 as bytes: requests are sent as they are written, answers are read as RFC 9112 section 6 has it."""

import re

from ledger import Wrong, require

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [^\r\n\0]*\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\Z")


class Closed(Exception):
    """The server closed the connection where an answer could have begun."""


class Answer:
    """One answer, whole."""

    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body

    def field(self, name):
        """The value of a field, or None; a field that is there twice is wrong here."""
        values = [value for key, value in self.fields if key == name]
        require(len(values) <= 1, f"{name} {len(values)} times")
        return values[0] if values else None

    def parts(self):
        """Content-Range and bytes of each part of multipart/byteranges (RFC 9110 section 14.6); None if it is not."""
        kind = self.field("content-type") or ""
        found = re.fullmatch(r'multipart/byteranges; ?boundary="?([^" ]+)"?', kind)
        if not found:
            return None
        mark = b"\r\n--" + found[1].encode()
        pieces = (b"\r\n" + self.body.removeprefix(b"\r\n")).split(mark)
        require(pieces[0] == b"" and pieces[-1].strip(b"\r\n") == b"--", "a multipart body without its ends")
        parts = []
        for piece in pieces[1:-1]:
            head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            ranges = re.findall(rb"(?im)^content-range: *(.*?)\r?$", head)
            require(len(ranges) == 1 and b"content-type" in head.lower(), "a part without its fields", head)
            parts.append((ranges[0].decode(), content))
        return parts


class Wire:
    """A connection to a server that speaks HTTP/1.1."""

    def __init__(self, target, first=b""):
        self.line = target.connect("http/1.1", first)
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.close()

    def send(self, data, piece=None):
        """Sends everything, or piece by piece. A server that has stopped to listen is no reason to stop reading."""
        try:
            for start in range(0, len(data), piece or len(data) or 1):
                self.line.sendall(data[start : start + (piece or len(data))])
        except OSError:
            pass

    def finish(self):
        """Says that nothing more will be sent."""
        try:
            self.line.finish()
        except OSError:
            pass

    def more(self):
        """Reads on; False at the end."""
        try:
            data = self.line.recv()
        except ConnectionResetError:
            return False
        except TimeoutError as error:
            raise Wrong(f"nothing comes, neither an answer nor an end, behind {self.unread[-200:]!r}") from error
        self.unread += data
        return bool(data)

    def answer(self, method="GET"):
        """The next answer to a request with this method."""
        while b"\r\n\r\n" not in self.unread:
            if not self.more():
                if self.unread:
                    raise Wrong(f"half an answer: {self.unread[:200]!r}")
                raise Closed
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = STATUS_LINE.match(first)
        require(status, f"no status line: {first!r}")
        fields = []
        for line in lines:
            field = FIELD_LINE.match(line)
            require(field, f"no field line: {line!r}")
            fields.append((field[1].decode().lower(), field[2].decode("latin-1")))
        answer = Answer(int(status[1]), fields, b"")
        if method != "HEAD" and answer.status not in (204, 304) and answer.status >= 200:
            answer.body = self._body(answer)
        return answer

    def _body(self, answer):
        if answer.field("transfer-encoding"):
            return self._chunks()
        length = answer.field("content-length")
        if length is None:
            while self.more():
                pass
            body, self.unread = self.unread, b""
            return body
        return self._take(int(length))

    def _take(self, length):
        while len(self.unread) < length:
            require(self.more(), f"{len(self.unread)} of {length} bytes")
        body, self.unread = self.unread[:length], self.unread[length:]
        return body

    def _line(self):
        while b"\r\n" not in self.unread:
            require(self.more(), "half a line")
        line, _, self.unread = self.unread.partition(b"\r\n")
        return line

    def _chunks(self):
        body = b""
        while size := int(self._line().split(b";")[0], 16):
            body += self._take(size)
            self._take(2)
        while self._line():
            pass
        return body

    def ends(self):
        """What else comes until the server closes the connection, as it should: in an orderly way."""
        while self.more():
            pass
        require(self.line.said_goodbye, "the connection ends without a word (RFC 9112 section 9.8)")
        return self.unread
