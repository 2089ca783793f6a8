"""Where the servers are, and how to speak TLS to them.

The environment says it: DIFUSOR_NODE is `host:port`, DIFUSOR_AUTHORITY the certificate that the node's chain leads to.
Other servers have certificates of their own making, which nobody checks.
"""

import os
import socket
import ssl

HOST = "localhost"
PATIENCE = 15.0
"""Seconds after which what did not come will not come."""

CHUNK = 1 << 16


class Line:
    """TLS over a socket, so that it is known which bytes leave together, and how the other side ended."""

    def __init__(self, context, port, first=b""):
        self.plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inward, self.outward, server_hostname=HOST)
        self.said_goodbye = False
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionError("the server ended the handshake") from None
        # What is said first goes out with the end of the handshake, in one segment.
        if first:
            self.tls.write(first)
        self._flush()

    def _flush(self):
        if self.outward.pending:
            self.plain.sendall(self.outward.read())

    def _fill(self):
        data = self.plain.recv(CHUNK)
        self.inward.write(data)
        return bool(data)

    def sendall(self, data):
        """Sends everything."""
        self.tls.write(data)
        self._flush()

    def recv(self):
        """What comes next; nothing at the end. `said_goodbye` is True if that was said (RFC 8446 section 6.1)."""
        while True:
            try:
                data = self.tls.read(CHUNK)
                self.said_goodbye |= not data
                return data
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    return b""
            except ssl.SSLZeroReturnError:
                self.said_goodbye = True
                return b""

    def finish(self):
        """Says that nothing more will be sent."""
        self.plain.shutdown(socket.SHUT_WR)

    def wait(self, seconds):
        """How long to wait for what comes."""
        self.plain.settimeout(seconds)

    def close(self):
        """Ends both ways."""
        self.plain.close()


class Target:
    """One server."""

    def __init__(self, name, port, authority=None):
        self.name = name
        self.port = int(port)
        self.authority = authority

    @property
    def host(self):
        """What a client writes into Host."""
        return f"{HOST}:{self.port}"

    def connect(self, protocol, first=b""):
        """A TLS connection on which this protocol was agreed, and on which `first` left with the handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority:
            context.load_verify_locations(self.authority)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        line = Line(context, self.port, first)
        if line.tls.selected_alpn_protocol() != protocol:
            raise ConnectionError(f"{self.name} does not speak {protocol}")
        return line


def node():
    """The node."""
    return Target("node", os.environ["DIFUSOR_NODE"].rpartition(":")[2], os.environ["DIFUSOR_AUTHORITY"])


def peers():
    """The other servers that run: `DIFUSOR_PEERS` is `name:port` of each."""
    return [Target(*peer.split(":")) for peer in os.environ.get("DIFUSOR_PEERS", "").split()]
