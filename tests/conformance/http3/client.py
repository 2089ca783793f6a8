"""The client's end of a QUIC connection: aioquic drives the protocol, and any bytes can be put into it.

What the server sends on streams is read here frame by frame; field sections are read by pylsqpack.
"""

import socket
import time

import pylsqpack
from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

import target as servers
from ledger import require

from . import frames

ADDRESS = "127.0.0.1"
WINDOW = 8 << 20


def named(codes):
    """Names of error codes, for people."""
    return ", ".join(frames.NAMES.get(code, hex(code)) for code in codes)


class Stream:
    """What came on a stream."""

    def __init__(self):
        self.data = bytearray()
        self.ended = False
        self.reset = None
        self.stopped = None

    def frames(self):
        """The frames that are complete: kind and payload."""
        buffer = Buffer(data=bytes(self.data))
        found = []
        try:
            while not buffer.eof():
                kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
                found.append((kind, buffer.pull_bytes(length)))
        except BufferReadError:
            pass
        return found

    def answer(self):
        """Status, fields and body; None if there is no head."""
        heads = [payload for kind, payload in self.frames() if kind == frames.HEADERS]
        if not heads:
            return None
        _, fields = pylsqpack.Decoder(0, 0).feed_header(0, heads[0])
        fields = {name.decode(): value.decode("latin-1") for name, value in fields}
        body = b"".join(payload for kind, payload in self.frames() if kind == frames.DATA)
        return int(fields[":status"]), fields, body

    def __str__(self):
        said = [f"status {self.answer()[0]}"] if self.answer() else [f"{len(self.data)} bytes"]
        said += [f"reset with {named([self.reset])}"] if self.reset is not None else []
        said += [f"stopped with {named([self.stopped])}"] if self.stopped is not None else []
        return " ".join(said + (["ended"] if self.ended else []))


class Connection:
    """A connection. `prepare` may change it before it begins; with `greet`, control streams are opened as usual."""

    def __init__(self, target, greet=True, prepare=None, alpn="h3", wait=True):
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], server_name=servers.HOST)
        configuration.load_verify_locations(target.authority)
        configuration.max_data = configuration.max_stream_data = WINDOW
        self.quic = QuicConnection(configuration=configuration)
        self.injected = []
        self._ping_frame = self.quic._write_ping_frame
        self.quic._write_ping_frame = self._inject
        self.streams = {}
        self.ready = False
        self.session = None
        self.next_ping = 1
        self.answered_pings = set()
        self.address = (ADDRESS, target.port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if prepare:
            prepare(self.quic)
        self.quic.connect(self.address, now=time.monotonic())
        if wait:
            self.until(lambda: self.ready, "the handshake")
        self.control = None
        if greet and wait:
            self.greet()

    def greet(self, said=frames.settings()):
        """The control stream with settings, and the two of QPACK."""
        self.control = self.open(frames.var(frames.CONTROL) + said)
        self.encoder = self.open(frames.var(frames.ENCODER))
        self.decoder = self.open(frames.var(frames.DECODER))

    def close(self):
        """Ends it."""
        self.quic.close()
        try:
            self._flush()
        except OSError:
            pass
        self.socket.close()

    # Sending.

    def open(self, data=b"", end=False):
        """A stream of the client's own, and its first bytes."""
        number = self.quic.get_next_available_stream_id(is_unidirectional=True)
        self.send(number, data, end)
        return number

    def send(self, number, data=b"", end=False):
        """Bytes on a stream."""
        self.quic.send_stream_data(number, data, end)
        self._flush()

    def ask(self, data, end=True):
        """Bytes on a new request."""
        number = self.quic.get_next_available_stream_id()
        self.send(number, data, end)
        return number

    def inject(self, frame):
        """A frame of QUIC as it is written here: its type, one byte, and the rest."""
        self.injected.append(frame)
        self.quic.send_ping(0)
        self._flush()

    def _inject(self, builder, uids=(), comment=""):
        while self.injected:
            frame = self.injected.pop()
            builder.start_frame(frame[0], capacity=len(frame)).push_bytes(frame[1:])
        self._ping_frame(builder, list(uids), comment)

    # Receiving.

    def stream(self, number):
        """What came on this stream so far."""
        return self.streams.setdefault(number, Stream())

    @property
    def closed(self):
        """How the connection was closed, or None."""
        return self.quic._close_event

    def seen(self):
        """What came, for people."""
        said = [f"stream {number}: {stream}" for number, stream in self.streams.items() if number % 4 == 0]
        if self.closed:
            layer = "QUIC " if self.closed.frame_type is not None else ""
            said.append(f"closed with {layer}{named([self.closed.error_code])} {self.closed.reason_phrase!r}")
        return "; ".join(said) or "nothing came"

    def until(self, condition, what, seconds=servers.PATIENCE):
        """Lets the connection run until something is so. On a slow machine what is large takes its time: as long as
        something comes, patience begins anew, a few times."""
        end = time.monotonic() + seconds
        last = end + 4 * seconds if seconds == servers.PATIENCE else end
        self._flush()
        while not condition():
            now = time.monotonic()
            require(now < end, f"{what}: not within {seconds:.0f} s: {self.seen()}")
            require(not self.closed, f"{what}: not before the end: {self.seen()}")
            timer = self.quic.get_timer() or end
            self.socket.settimeout(max(min(timer, end) - now, 0.001))
            try:
                data, _ = self.socket.recvfrom(65_536)
                self.quic.receive_datagram(data, self.address, now=time.monotonic())
                end = min(max(end, time.monotonic() + seconds), last)
            except TimeoutError:
                self.quic.handle_timer(now=time.monotonic())
            self._events()
            self._flush()

    def _flush(self):
        for data, _ in self.quic.datagrams_to_send(now=time.monotonic()):
            self.socket.sendto(data, self.address)

    def _events(self):
        while event := self.quic.next_event():
            if isinstance(event, events.HandshakeCompleted):
                self.ready = True
            elif isinstance(event, events.StreamDataReceived):
                stream = self.stream(event.stream_id)
                stream.data += event.data
                stream.ended |= event.end_stream
            elif isinstance(event, events.StreamReset):
                self.stream(event.stream_id).reset = event.error_code
            elif isinstance(event, events.StopSendingReceived):
                self.stream(event.stream_id).stopped = event.error_code
            elif isinstance(event, events.PingAcknowledged):
                self.answered_pings.add(event.uid)
            if self.session is not None:
                self.session.take(event)

    # What has to be so.

    def over(self):
        """Waits for the end of the connection."""
        self.until(lambda: self.closed, "the end")

    def connection_error(self, *codes):
        """The connection is closed with one of these codes of HTTP/3 (RFC 9114 section 8)."""
        self.until(lambda: self.closed, f"a connection error, {named(codes)}")
        fine = self.closed.error_code in codes and self.closed.frame_type is None
        require(fine, f"expected {named(codes)}: {self.seen()}")

    def transport_error(self, *codes):
        """The connection is closed with one of these codes of QUIC (RFC 9000 section 20.1)."""
        self.until(lambda: self.closed, f"a transport error, {named(codes)}")
        fine = self.closed.error_code in codes and self.closed.frame_type is not None
        require(fine, f"expected QUIC {named(codes)}: {self.seen()}")

    def stream_error(self, number, *codes):
        """The stream is reset, or the client told to stop, with one of these codes; the connection goes on."""
        stream = self.stream(number)
        self.until(lambda: stream.reset is not None, f"a stream error, {named(codes)}")
        require(stream.reset in codes, f"expected {named(codes)}: {self.seen()}")
        self.unharmed()

    def malformed(self, number):
        """A stream error, or an answer that says so (RFC 9114 section 4.1.2)."""
        stream = self.stream(number)
        self.until(lambda: stream.reset is not None or stream.ended, "a stream error, MESSAGE_ERROR")
        answer = stream.answer()
        fine = stream.reset == frames.MESSAGE_ERROR or (answer and answer[0] == 400)
        require(fine, f"a malformed request is not refused as one: {self.seen()}")
        self.unharmed()

    def answered(self, number, status=200, body=None):
        """There is an answer, whole."""
        stream = self.stream(number)
        self.until(lambda: stream.ended or stream.reset is not None, f"an answer on stream {number}")
        answer = stream.answer()
        require(stream.ended and answer and answer[0] == status, f"expected {status} on {number}: {self.seen()}")
        require(body is None or answer[2] == body, f"other bytes on stream {number}: {stream}")
        length = answer[1].get("content-length")
        require(not answer[2] or length == str(len(answer[2])), "content-length:", length, len(answer[2]))
        return answer

    def unharmed(self):
        """The connection goes on: requests are answered, and a moment passes in which an error could come."""
        for _ in range(3):
            self.answered(self.ask(frames.request()), 200)
