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

    def connect(self, protocol):
        """A TLS connection on which this protocol was agreed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority:
            context.load_verify_locations(self.authority)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = context.wrap_socket(plain, server_hostname=HOST)
        if line.selected_alpn_protocol() != protocol:
            raise ConnectionError(f"{self.name} does not speak {protocol}")
        return line


def node():
    """The node."""
    return Target("node", os.environ["DIFUSOR_NODE"], os.environ["DIFUSOR_AUTHORITY"])


def peers():
    """The other servers that run: `DIFUSOR_PEERS` is `name:port` of each."""
    return [Target(*peer.split(":")) for peer in os.environ.get("DIFUSOR_PEERS", "").split()]
