"""DNS as far as a visitor needs it: a query for an address with the client's network in it (RFC 1035, RFC 7871), and what the
response says."""

import socket
import struct

A, IN, OPT, CLIENT_SUBNET = 1, 1, 41, 8


def query(number, name, network=None):
    """A query for the address of a name, by a client in that /24 if one is given."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    options = b""
    if network:
        net = socket.inet_aton(network)[:3]
        options = struct.pack("!HHHBB", CLIENT_SUBNET, 4 + len(net), 1, 24, 0) + net
    opt = struct.pack("!BHHIH", 0, OPT, 1232, 0, len(options)) + options
    return struct.pack("!6H", number, 0, 1, 0, 0, 1) + question + struct.pack("!HH", A, IN) + opt


def response(data):
    """Number, response code, addresses and the time to live of the first one."""
    number, flags, questions, answers = struct.unpack_from("!4H", data)
    at = 12
    for _ in range(questions):
        at = _after_name(data, at) + 4
    found, ttl = [], None
    for _ in range(answers):
        at = _after_name(data, at)
        kind, _, lives, length = struct.unpack_from("!HHIH", data, at)
        at += 10
        if kind == A:
            found.append(socket.inet_ntoa(data[at : at + length]))
            ttl = lives if ttl is None else ttl
        at += length
    return number, flags & 15, found, ttl


def _after_name(data, at):
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1
