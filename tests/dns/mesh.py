"""A coordinator and three nodes, each at a loopback address of its own."""

import contextlib
import http.server
import os
import re
import ssl
import threading
import time
import urllib.request
import zipfile

from processes import free_port, read, run, until, write
from servers import ZONE

PROGRAM = os.environ["DIFUSOR_LOCAL"]
NODES = {"eu-west": "127.0.0.11", "mx-central": "127.0.0.12", "us-east": "127.0.0.13"}
"""In the order of their names: the first that is well keeps the zone right."""


class Visited(http.server.BaseHTTPRequestHandler):
    """Answers anything, with an error, and says nothing."""

    def log_message(self, *_):
        pass


class Mesh:
    """It serves a cut, and keeps the zone of a server right."""

    def __init__(self, folder):
        self.folder, self.nodes = folder, {}
        package = folder.inside("20240602_2000_PREP.zip")
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("index.html", "<!doctype html><title>PREP</title>")
        run(PROGRAM, "--nodes", str(len(NODES)), "--data", folder.inside("data"), "--free-ports", "--once", package)
        self.coordinator = [PROGRAM, "coordinator", "--config", folder.inside("data/mesh/coordinator/coordinator.toml")]
        self.ports = {node: [free_port(ip), free_port(), free_port(ip)] for node, ip in NODES.items()}
        folder.start(folder.inside("coordinator.log"), *self.coordinator, "run")

    def home(self, node, *names):
        """A path in its folder."""
        return self.folder.inside("data/mesh", node, *names)

    def log(self, node):
        """What it said."""
        return read(self.folder.inside(f"{node}.log"))

    def configure(self, node, tables):
        """Its addresses, and what else is to be said."""
        public, admin, peers = self.ports[node]
        write(self.home(node, "node.toml"), f"""public = ["{NODES[node]}:{public}"]
admin = "127.0.0.1:{admin}"
peers = "{NODES[node]}:{peers}"
{tables}""")  # fmt: skip

    def updates(self, node, server, key=None):
        """That server's zone, with its key or another."""
        write(self.home(node, "difusor.key"), key or read(server.key), 0o600)
        self.configure(node, f"""[dns.update]
server = "127.0.0.1:{server.port}"
zone = "{ZONE}"
names = ["results"]
ttl = "5 s"
key = "difusor.key"
""")  # fmt: skip

    def start(self, node):
        """Starts a node, without waiting for it."""
        command = [PROGRAM, "node", "--config", self.home(node, "node.toml"), "run"]
        self.nodes[node] = self.folder.start(self.folder.inside(f"{node}.log"), *command)

    def stop(self, node, *how):
        """Ends a node; when that was asked for."""
        begun = time.monotonic()
        self.folder.end(self.nodes.pop(node), *how)
        return begun

    @contextlib.contextmanager
    def visited(self, node):
        """Somebody answers visitors where this node does not run."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.home(node, "site.pem"), self.home(node, "site.key"))
        server = http.server.HTTPServer((NODES[node], self.ports[node][0]), Visited)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def serves(self, node):
        """True if visitors get the first page there."""
        context = ssl._create_unverified_context()
        try:
            address = f"https://{NODES[node]}:{self.ports[node][0]}/"
            with urllib.request.urlopen(address, timeout=2, context=context) as answer:
                return b"PREP" in answer.read()
        except OSError:
            return False

    def metric(self, node, name):
        """One sample of its metrics; none if it is not there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[node][1]}/metrics", timeout=2) as answer:
                found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
        except OSError:
            return None
        return float(found[1]) if found else None

    def is_writer(self, node):
        """True if it says that it keeps the zone right."""
        return self.metric(node, "difusor_dns_update_writer") == 1

    def all_fit(self):
        """Waits until each takes all for fit."""
        for node in self.nodes:
            until(f"{node} takes all for fit", lambda: self.metric(node, "difusor_mesh_fit") == len(NODES))
