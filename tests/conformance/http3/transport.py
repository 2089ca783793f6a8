"""QUIC itself: versions, parameters, and frames that a client must not send (RFC 9000, RFC 9001)."""

import os
import socket

from aioquic.buffer import Buffer

from ledger import Suite, require

from . import client
from . import frames as f

case = Suite()

INTERNAL, REFUSED, FLOW_CONTROL, STREAM_LIMIT, STREAM_STATE, FINAL_SIZE, ENCODING, PARAMETER = range(1, 9)
CONNECTION_ID_LIMIT, PROTOCOL_VIOLATION = 9, 10
NO_PROTOCOL, MISSING_EXTENSION = 0x178, 0x16D


def with_parameters(change):
    """Prepares a connection whose transport parameters are changed: a dict from number to bytes."""

    def prepare(quic):
        usual = quic._serialize_transport_parameters

        def changed():
            buffer, parameters = Buffer(data=usual()), {}
            while not buffer.eof():
                number = buffer.pull_uint_var()
                parameters[number] = buffer.pull_bytes(buffer.pull_uint_var())
            pairs = list(change(parameters).items()) if callable(change) else [*parameters.items(), *change]
            return b"".join(f.var(number) + f.var(len(value)) + value for number, value in pairs)

        quic._serialize_transport_parameters = changed

    return prepare


def parameter(title, section, *pairs, without=()):
    """A case: transport parameters with these, and without others."""

    def change(parameters):
        kept = {number: value for number, value in parameters.items() if number not in without}
        return kept | dict(pairs)

    @case(f"{section} of RFC 9000", title)
    def _(dial):
        line = dial(prepare=with_parameters(change), wait=False)
        line.transport_error(PARAMETER, PROTOCOL_VIOLATION)


TOKEN = bytes(16)
PREFERRED = bytes([127, 0, 0, 1, 1, 187]) + bytes(18) + b"\x08" + bytes(8) + TOKEN
parameter("no source connection id", "7.3", without=(0x0F,))
parameter("another source connection id", "7.3", (0x0F, b"otra cosa"))
parameter("the original destination of a server", "18.2", (0x00, bytes(8)))
parameter("the reset token of a server", "18.2", (0x02, TOKEN))
parameter("the preferred address of a server", "18.2", (0x0D, PREFERRED))
parameter("the retry of a server", "18.2", (0x10, bytes(8)))
parameter("packets below 1,200 bytes", "18.2", (0x03, f.var(1199)))
parameter("an exponent beyond 20", "18.2", (0x0A, f.var(21)))
parameter("a delay of 2^14", "18.2", (0x0B, f.var(1 << 14)))
parameter("fewer than two connection ids", "18.2", (0x0E, f.var(1)))
parameter("streams beyond 2^60", "18.2", (0x08, f.var((1 << 60) + 1)))
parameter("a parameter that is cut off", "18", (0x04, b"\x80"))


@case("7.4 of RFC 9000", "a parameter twice")
def _(dial):
    line = dial(prepare=with_parameters([(0x01, f.var(1000))]), wait=False)
    line.transport_error(PARAMETER, PROTOCOL_VIOLATION)


@case("18.1 of RFC 9000", "parameters that nobody knows are ignored")
def _(dial):
    line = dial(prepare=with_parameters([(31 * 7 + 27, b"whatever"), (0xABCDEF, b"")]))
    line.unharmed()


@case("8.1 of RFC 9001", "no protocol in common")
def _(dial):
    line = dial(alpn="nada", wait=False)
    line.transport_error(NO_PROTOCOL)


def injected(title, section, frame, *codes):
    """A case: a frame that a client must not send."""

    @case(f"{section} of RFC 9000", title)
    def _(dial):
        line = dial()
        line.unharmed()
        line.inject(frame)
        line.transport_error(*codes)


injected("a frame that nobody knows", "12.4", b"\x2f", ENCODING)
injected("HANDSHAKE_DONE", "19.20", b"\x1e", PROTOCOL_VIOLATION)
injected("NEW_TOKEN", "19.7", b"\x07" + f.var(3) + b"abc", PROTOCOL_VIOLATION)
injected("RESET_STREAM of a stream that the server sends on", "19.4", b"\x04\x03\0\0", STREAM_STATE)
injected("STOP_SENDING of a stream that the client sends on", "19.5", b"\x05\x02\0", STREAM_STATE)
injected("STOP_SENDING of a stream that is not", "19.5", b"\x05\x01\0", STREAM_STATE)
injected("STREAM of the server's own", "19.8", b"\x0a\x03\x01a", STREAM_STATE)
injected("STREAM of the server's, which is not open", "19.8", b"\x0a\x01\x01a", STREAM_STATE)
injected("MAX_STREAM_DATA of a stream that is not", "19.10", b"\x11\x01\x05", STREAM_STATE)
injected("MAX_STREAM_DATA of a stream that the client sends on", "19.10", b"\x11\x02\x05", STREAM_STATE)
injected("MAX_STREAMS beyond 2^60", "19.11", b"\x12" + f.var((1 << 60) + 1), ENCODING)
injected("STREAMS_BLOCKED beyond 2^60", "19.14", b"\x16" + f.var((1 << 60) + 1), ENCODING, STREAM_LIMIT)
injected("NEW_CONNECTION_ID that retires itself", "19.15", b"\x18\x08\x09\x08" + bytes(8) + TOKEN, ENCODING)
injected("NEW_CONNECTION_ID without an id", "19.15", b"\x18\x08\0\0" + TOKEN, ENCODING)
injected("NEW_CONNECTION_ID that is too long", "19.15", b"\x18\x08\0\x15" + bytes(21) + TOKEN, ENCODING)
injected("RETIRE_CONNECTION_ID of what was not given", "19.16", b"\x19" + f.var(1000), PROTOCOL_VIOLATION)
injected("a stream beyond the limit", "4.6", b"\x0a" + f.var(4 * 1000) + b"\x01a", STREAM_LIMIT)
injected("a stream beyond its window", "4.1", b"\x0e" + f.var(4 * 20) + f.var(1 << 30) + b"\x01a", FLOW_CONTROL)
injected("a stream beyond the largest offset", "19.8", b"\x0e" + f.var(4 * 20) + f.var((1 << 62) - 1) + b"\x01a", ENCODING, FLOW_CONTROL)
injected("a frame that is cut off", "12.4", b"\x06\0\x40", ENCODING)


@case(
    "4.5 of RFC 9000",
    "a stream that ends before what came of it",
    known="quinn-proto 0.11 compares with an end that was said before, not with bytes that came; the RFC says SHOULD",
)
def _(dial):
    line = dial()
    line.unharmed()
    # 5 bytes at 0, and that it ends at 3.
    line.inject(b"\x0a" + f.var(4 * 30) + b"\x05abcde")
    line.inject(b"\x0b" + f.var(4 * 30) + b"\x03abc")
    line.transport_error(FINAL_SIZE)


@case("6.1 of RFC 9000", "a version that nobody knows is answered with those that are spoken")
def _(dial):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.settimeout(5)
    to, own = os.urandom(8), os.urandom(8)
    packet = b"\xc0\x1a\x2a\x3a\x4a\x08" + to + b"\x08" + own
    sender.sendto(packet + bytes(1200 - len(packet)), (client.ADDRESS, dial.target.port))
    answer, _ = sender.recvfrom(2048)
    sender.close()
    require(answer[0] & 0x80 and answer[1:5] == bytes(4), "no version negotiation:", answer[:20])
    require(answer[5:6] + answer[6:14] == b"\x08" + own and answer[14:15] + answer[15:23] == b"\x08" + to, "other ids")
    versions = [answer[at : at + 4] for at in range(23, len(answer), 4)]
    require(b"\0\0\0\1" in versions, versions)


@case("14.1 of RFC 9000", "a first packet in a small datagram is dropped")
def _(dial):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.settimeout(0.5)
    packet = b"\xc0\x1a\x2a\x3a\x4a\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    sender.sendto(packet + bytes(100), (client.ADDRESS, dial.target.port))
    try:
        answer, _ = sender.recvfrom(2048)
        require(False, "an answer to a small datagram:", answer[:20])
    except TimeoutError:
        pass
    finally:
        sender.close()


@case("10.3 of RFC 9000", "packets of no connection do no harm")
def _(dial):
    line = dial()
    line.unharmed()
    for length in (1, 20, 21, 43, 100, 1200, 1500):
        line.socket.sendto(bytes([0x40 | os.urandom(1)[0] & 0x3F]) + os.urandom(length - 1), line.address)
        line.socket.sendto(os.urandom(length), line.address)
    line.unharmed()


@case(
    "8.1 of RFC 9000",
    "not more than three times what an unproven client sent",
    known="quinn-proto 0.11 sends a repeated packet as long as a single byte of the allowance is left",
)
def _(dial):
    line = dial(wait=False)
    sent = []
    for data, _ in line.quic.datagrams_to_send(now=0):
        sent.append(data)
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # A server that knows no round trip yet repeats after one second (RFC 9002, section 6.2.2), then after two.
    probe.settimeout(4)
    probe.sendto(sent[0], line.address)
    got = 0
    try:
        while True:
            got += len(probe.recvfrom(65_536)[0])
    except TimeoutError:
        pass
    finally:
        probe.close()
    require(0 < got <= 3 * len(sent[0]), f"{got} bytes for {len(sent[0])}")
