"""BIND and Knot: each with one zone, one key, and a policy that lets the key change one name."""

import os
import re

from processes import free_port, read, run, until, write

ZONE, SITE = "example.test", "results.example.test"
KEY = "difusor"

# What is not the nodes' own: of other names, and of another type at the site's name.
TEXT = f"""$TTL 60
@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 60 60 600 60
@ NS ns.{ZONE}.
@ A 192.0.2.80
ns A 127.0.0.1
mail A 192.0.2.77
results TXT "of the operator"
"""

BIND = """include "{key}";
options {{
  directory "{folder}"; pid-file none; session-keyfile none;
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; notify no;
}};
controls {{ }};
zone "{zone}" {{
  type primary; file "zone";
  update-policy {{ grant {name} name {site}. A AAAA HTTPS; }};
}};
"""

KNOT = """server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
database:
    storage: {folder}
log:
  - target: stderr
    any: info
key:
  - id: {name}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: nodes
    key: {name}
    action: update
    update-type: [A, AAAA, HTTPS]
    update-owner: name
    update-owner-match: equal
    update-owner-name: [{site}.]
zone:
  - domain: {zone}
    storage: {folder}
    file: zone
    acl: nodes
"""


class Server:
    """One of them, running."""

    def __init__(self, kind, folder):
        self.kind, self.port, self.name = kind, free_port(), {"bind": "BIND", "knot": "Knot"}[kind]
        self.dig = {"bind": "dig", "knot": "kdig"}[kind]
        path = folder.inside(kind)
        os.mkdir(path)
        self.key, self.log = os.path.join(path, "difusor.key"), folder.inside(f"{kind}.log")
        write(self.key, run("tsig-keygen", KEY), 0o600)
        write(os.path.join(path, "zone"), TEXT)
        secret = re.search(r'secret "(.*)"', read(self.key))[1]
        values = {"folder": path, "port": self.port, "key": self.key, "name": KEY, "secret": secret, "zone": ZONE, "site": SITE}
        config = os.path.join(path, "conf")
        write(config, (BIND if kind == "bind" else KNOT).format(**values))
        command = ["named", "-f", "-g", "-c", config] if kind == "bind" else ["knotd", "-c", config]
        folder.start(self.log, *command)
        until(f"{self.name} answers", lambda: self.ask("mail." + ZONE) == ["192.0.2.77"])

    def ask(self, name, kind="A"):
        """What it has there, in order."""
        said = run(self.dig, "@127.0.0.1", "-p", str(self.port), "+short", "+time=1", name, kind, fine=False)
        return sorted(line for line in said.splitlines() if not line.startswith(";"))

    def show(self):
        """What an operator sees."""
        said = run(self.dig, "@127.0.0.1", "-p", str(self.port), "+noall", "+answer", SITE, "A", SITE, "HTTPS", fine=False)
        lines = [line for line in said.splitlines() if line and not line.startswith(";")]
        return "".join(f"          {' '.join(line.split())}\n" for line in lines)
