"""The client's end of a connection: sends any bytes, and remembers what came back.

What the server sends is read by hyperframe and hpack, which refuse what is no frame and no field block.
"""

import struct
import time

import hpack
import hyperframe.frame
from hyperframe.exceptions import HyperframeError

import target as servers
from ledger import Wrong, require

from . import frames

NAMES = "NO_ERROR PROTOCOL INTERNAL FLOW_CONTROL SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE REFUSED CANCEL COMPRESSION"
NAMES = [*NAMES.split(), "CONNECT", "CALM"]


def named(codes):
    """Names of error codes, for people."""
    return ", ".join(NAMES[code] if code < len(NAMES) else hex(code) for code in codes)


class Stream:
    """What came on a stream."""

    def __init__(self):
        self.heads = []
        self.body = b""
        self.ended = False
        self.code = None

    @property
    def status(self):
        """Of the last head, or None."""
        return int(dict(self.heads[-1])[":status"]) if self.heads else None

    def __str__(self):
        said = [f"status {self.status}"] if self.heads else []
        said += [f"{len(self.body)} bytes"] if self.body else []
        said += [f"reset with {named([self.code])}"] if self.code is not None else []
        return " ".join(said + (["ended"] if self.ended else [])) or "nothing"


class Connection:
    """A connection. With `generous`, windows are opened again by whatever came."""

    def __init__(self, target, pairs=(), first=None, greet=True, generous=True):
        self.line = target.connect("h2", first or b"")
        self.decoder = hpack.Decoder()
        self.generous = generous
        self.streams = {}
        self.frames = []
        self.settings = {}
        self.greeted = False
        self.acknowledged = 0
        self.windows = {}
        self.pongs = []
        self.goaways = []
        self.closed = False
        self.unread = b""
        self.block = None
        self.pings = 0
        if greet and first is None:
            self.send(frames.PREFACE, frames.settings(pairs))
            self.until(lambda: self.greeted, "the settings of the server")
            self.send(frames.settings(flags=frames.ACK))

    def close(self):
        """Ends it."""
        self.line.close()

    def send(self, *pieces):
        """Sends frames, all in one. A server that has stopped to listen is no reason to stop reading."""
        try:
            self.line.sendall(b"".join(pieces))
        except OSError:
            pass

    def stream(self, number):
        """What came on this stream so far."""
        return self.streams.setdefault(number, Stream())

    def seen(self):
        """What came, for people."""
        said = [f"stream {number}: {stream}" for number, stream in self.streams.items()]
        said += [f"GOAWAY {last} {named([code])}" for last, code in self.goaways]
        return "; ".join(said + (["closed"] if self.closed else [])) or "nothing came"

    def until(self, condition, what, seconds=servers.PATIENCE):
        """Reads until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            require(left > 0, f"{what}: not within {seconds:.0f} s: {self.seen()}")
            require(not self.closed, f"{what}: not before the end: {self.seen()}")
            self._read(left)

    def _read(self, seconds):
        self.line.wait(max(seconds, 0.001))
        try:
            came = self.line.recv()
        except TimeoutError:
            return
        except ConnectionResetError:
            came = b""
        if not came:
            self.closed = True
            return
        self.unread += came
        while len(self.unread) >= 9:
            try:
                read, length = hyperframe.frame.Frame.parse_frame_header(memoryview(self.unread[:9]), strict=False)
                if len(self.unread) < 9 + length:
                    break
                read.parse_body(memoryview(self.unread[9 : 9 + length]))
            except HyperframeError as error:
                raise Wrong(f"the server sends a frame that is none: {self.unread[:40]!r} ({error!r})") from error
            require(length <= frames.PAYLOAD or length <= self._largest(), "a frame that is too large:", length)
            self.unread = self.unread[9 + length :]
            self.frames.append(read)
            self._take(read)

    def _largest(self):
        return getattr(self, "largest", frames.PAYLOAD)

    def _take(self, read):
        kind = type(read)
        if self.block is not None:
            require(kind is hyperframe.frame.ContinuationFrame, "something inside a field block:", read)
        if kind is hyperframe.frame.SettingsFrame:
            if "ACK" in read.flags:
                self.acknowledged += 1
            else:
                require(not self.greeted, "settings of the server change")
                self.greeted = True
                self.settings = dict(read.settings)
        else:
            require(self.greeted, "the first frame of the server is not SETTINGS (RFC 9113 section 3.4):", read)
        if kind is hyperframe.frame.DataFrame:
            self._data(read)
        elif kind in (hyperframe.frame.HeadersFrame, hyperframe.frame.ContinuationFrame):
            self._head(read)
        elif kind is hyperframe.frame.RstStreamFrame:
            self.stream(read.stream_id).code = read.error_code
        elif kind is hyperframe.frame.PingFrame:
            if "ACK" in read.flags:
                self.pongs.append(read.opaque_data)
            else:
                self.send(frames.ping(read.opaque_data, frames.ACK))
        elif kind is hyperframe.frame.GoAwayFrame:
            self.goaways.append((read.last_stream_id, read.error_code))
        elif kind is hyperframe.frame.WindowUpdateFrame:
            self.windows[read.stream_id] = self.windows.get(read.stream_id, 0) + read.window_increment
        elif kind is hyperframe.frame.PushPromiseFrame:
            raise Wrong("the server pushes")

    def _data(self, read):
        stream = self.stream(read.stream_id)
        require(stream.heads and not stream.ended, f"DATA on stream {read.stream_id}, where nothing is to come")
        stream.body += read.data
        stream.ended = "END_STREAM" in read.flags
        if self.generous and read.flow_controlled_length:
            self.send(frames.window(0, read.flow_controlled_length))
            if not stream.ended:
                self.send(frames.window(read.stream_id, read.flow_controlled_length))

    def _head(self, read):
        if self.block is None:
            self.block = (read.stream_id, "END_STREAM" in read.flags, b"")
        number, ended, start = self.block
        require(number == read.stream_id, "a field block on two streams")
        self.block = (number, ended, start + read.data)
        if "END_HEADERS" not in read.flags:
            return
        encoded, self.block = self.block[2], None
        self.encoded = encoded
        stream = self.stream(number)
        require(not stream.ended, f"HEADERS on stream {number}, where nothing is to come")
        stream.heads.append(self.decoder.decode(encoded))
        stream.ended = ended

    # What has to be so.

    def connection_error(self, *codes):
        """The connection ends, and GOAWAY says why (RFC 9113 section 5.4.1)."""
        self.until(lambda: self.closed, f"a connection error, {named(codes)}")
        require(self.goaways, f"the end without GOAWAY, expected {named(codes)}: {self.seen()}")
        require(self.goaways[-1][1] in codes, f"expected {named(codes)}: {self.seen()}")

    def stream_error(self, number, *codes):
        """The stream is reset with one of these codes, and the connection goes on (RFC 9113 section 5.4.2)."""
        stream = self.stream(number)
        self.until(lambda: stream.code is not None, f"a stream error, {named(codes)}")
        require(stream.code in codes, f"expected {named(codes)}: {self.seen()}")
        self.alive()

    def either_error(self, number, *codes):
        """One or the other: RFC 9113 lets it be chosen."""
        stream = self.stream(number)
        self.until(lambda: self.closed or stream.code is not None, f"an error, {named(codes)}")
        got = stream.code if stream.code is not None else (self.goaways[-1][1] if self.goaways else None)
        require(got in codes, f"expected {named(codes)}: {self.seen()}")

    def malformed(self, number):
        """A stream error, before which there may be an answer that says so (RFC 9113 section 8.1.1)."""
        stream = self.stream(number)
        self.until(lambda: stream.code is not None or stream.ended, "a stream error, PROTOCOL")
        fine = stream.code == frames.PROTOCOL or stream.status == 400
        require(fine, f"a malformed request is not refused as one: {self.seen()}")
        self.alive()

    def answered(self, number, status=200, body=None):
        """There is an answer, whole."""
        stream = self.stream(number)
        self.until(lambda: stream.ended or stream.code is not None, f"an answer on stream {number}")
        require(stream.ended and stream.status == status, f"expected {status} on stream {number}: {self.seen()}")
        require(body is None or stream.body == body, f"other bytes on stream {number}: {stream}")
        fields = dict(stream.heads[0])
        if "content-length" in fields and stream.body:
            require(int(fields["content-length"]) == len(stream.body), "content-length:", fields, len(stream.body))
        return stream

    def alive(self):
        """The connection goes on: PING is answered. All that was sent before has been read by then."""
        self.pings += 1
        carried = struct.pack(">Q", self.pings)
        self.send(frames.ping(carried))
        self.until(lambda: carried in self.pongs, "the answer to PING")
        require(not self.goaways, f"the connection is about to end: {self.seen()}")

    def unharmed(self, *numbers):
        """What was sent did nothing: no error, and the next request is answered."""
        self.alive()
        require(all(self.stream(number).code is None for number in numbers), f"an error: {self.seen()}")
        number = max([-1, *(n for n in self.streams if n % 2)]) + 2
        self.send(frames.request(number))
        self.answered(number)
