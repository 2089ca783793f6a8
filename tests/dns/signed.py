"""A zone that nodes answer and sign, seen through resolvers that check signatures: Unbound, and delv with BIND's."""

import re
import signal
import time

from mesh import NODES, PROGRAM
from processes import free_port, read, run, until, write

ZONE = "results.test"
TEXT = "_acme-challenge." + ZONE

UNBOUND = """server:
  directory: "{folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  do-not-query-localhost: no
  local-zone: "test." nodefault
  aggressive-nsec: yes
  val-log-level: 2
{anchors}
remote-control:
  control-enable: no
stub-zone:
  name: "{zone}"
{servers}
"""


class Zone:
    """The zone, its keys, and a resolver."""

    name = "DNSSEC"

    def __init__(self, mesh):
        self.mesh, self.folder = mesh, mesh.folder
        self.dns = {node: free_port(ip) for node, ip in NODES.items()}
        self.keys, self.resolver, self.port = {}, None, free_port()
        for key in ["old.key", "new.key", "other.key"]:
            path = self.folder.inside(key)
            run(PROGRAM, "node", "dns", "key", path)
            self.keys[key] = read(path)

    def configure(self, node, keys):
        """Signs with the first of these keys, and publishes all."""
        for key in keys:
            write(self.mesh.home(node, key), self.keys[key], 0o600)
        self.mesh.configure(node, f"""[dns]
bind = ["{NODES[node]}:{self.dns[node]}"]
zone = "{ZONE}"
names = ["@", "www", "a.b"]
caa = ["issue letsencrypt.org"]
dnssec = {list(keys)}
""")  # fmt: skip

    def restart(self, node, keys):
        """The same with these keys, in good order."""
        if node in self.mesh.nodes:
            self.mesh.stop(node)
        self.configure(node, keys)
        self.mesh.start(node)
        until(f"{node} answers DNS", lambda: self.ask(node, ZONE, "SOA"))

    def delegation(self, node):
        """The DS records that the zone above is to have."""
        said = run(PROGRAM, "node", "--config", self.mesh.home(node, "node.toml"), "dns", "delegation")
        return [line for line in said.splitlines() if " DS " in line]

    def ask(self, node, name, kind):
        """What a node says, unchecked."""
        return run("dig", "@" + NODES[node], "-p", str(self.dns[node]), "+short", "+time=1", "+tries=1", name, kind, fine=False)

    def resolve(self, anchors, code="NOERROR"):
        """A resolver that knows nothing yet, and trusts these; what it makes of the zone."""
        if self.resolver:
            self.folder.end(self.resolver)
        servers = "".join(f"  stub-addr: {NODES[node]}@{port}\n" for node, port in self.dns.items())
        trusted = "".join(f"  trust-anchor: \"{' '.join(anchor.split())}\"\n" for anchor in anchors)
        values = {"folder": self.folder.path, "port": self.port, "zone": ZONE, "servers": servers, "anchors": trusted}
        config = self.folder.inside("unbound.conf")
        write(config, UNBOUND.format(**values))
        self.resolver = self.folder.start(self.folder.inside("unbound.log"), "unbound", "-d", "-c", config)
        until("Unbound answers", lambda: self.lookup(ZONE, "SOA")[0] == code)

    def lookup(self, name, kind):
        """The code, whether the resolver has checked it, and the answer."""
        said = run("dig", "@127.0.0.1", "-p", str(self.port), "+dnssec", "+time=5", "+tries=1", name, kind, fine=False)
        code, flags = re.search(r"status: (\w+)", said), re.search(r"flags: ([a-z ]*);", said)
        lines = [line for line in said.splitlines() if line and not line.startswith(";") and "RRSIG" not in line and "NSEC" not in line]
        return (code[1] if code else None), bool(flags) and " ad" in " " + flags[1], lines

    def delve(self, node, name, kind):
        """The first word of BIND's resolver about what a node says."""
        anchors = self.folder.inside("anchors.conf")
        made = [re.sub(r"^(\S+) .* DS (\d+) (\d+) (\d+) (\S+)$", r'"\1" static-ds \2 \3 \4 "\5";', ds) for ds in self.delegation(node)]
        write(anchors, "trust-anchors {\n" + "\n".join(made) + "\n};\n")
        command = ["delv", "@" + NODES[node], "-p", str(self.dns[node]), "-a", anchors, "+root=" + ZONE, name, kind]
        return next(iter(run(*command, fine=False).splitlines()), "")

    def queries(self):
        """Queries that nodes have answered."""
        names = [f'difusor_dns_queries_total{{outcome="{outcome}"}}' for outcome in ["answered", "no-such-name"]]
        return sum(self.mesh.metric(node, name) or 0 for node in self.mesh.nodes for name in names)

    def show(self):
        """What the resolver had to say."""
        return "--- unbound\n" + "\n".join(read(self.folder.inside("unbound.log")).splitlines()[-20:]) + "\n"


def case_checked(mesh, zone):
    """What there is, and what there is not, is checked by BIND's resolver and by Unbound"""
    for node in NODES:
        zone.restart(node, ["old.key"])
    mesh.all_fit()
    run(*mesh.coordinator, "text", TEXT, "proof")
    until("the text is at all nodes", lambda: all("proof" in zone.ask(node, TEXT, "TXT") for node in NODES))
    zone.resolve(zone.delegation("eu-west"))
    there = [(ZONE, kind) for kind in ["A", "HTTPS", "NS", "SOA", "CAA", "DNSKEY", "CDS", "CDNSKEY", "NSEC"]]
    there += [("www." + ZONE, "A"), ("a.b." + ZONE, "HTTPS"), ("ns-us-east." + ZONE, "A"), (TEXT, "TXT")]
    gone = [(ZONE, "MX"), ("www." + ZONE, "AAAA"), ("b." + ZONE, "A"), ("nope." + ZONE, "A"), ("x.y.www." + ZONE, "A"), ("*." + ZONE, "A")]
    for name, kind in there:
        assert zone.delve("eu-west", name, kind) == "; fully validated", (name, kind)
        code, is_checked, lines = zone.lookup(name, kind)
        assert code == "NOERROR" and is_checked and (lines or kind == "NSEC"), (name, kind, code, is_checked)
    for name, kind in gone:
        assert zone.delve("us-east", name, kind) == "; negative response, fully validated", (name, kind)
        code, is_checked, _ = zone.lookup(name, kind)
        expected = "NOERROR" if (name, kind) in gone[:3] else "NXDOMAIN"
        assert code == expected and is_checked, (name, kind, code, is_checked)
    print("".join(f"          {line}\n" for line in zone.lookup(ZONE, "A")[2]), end="", flush=True)


def case_made_up(mesh, zone):
    """A resolver that knows the chain answers made-up names by itself"""
    before, names = zone.queries(), 300
    for at in range(names):
        code, is_checked, _ = zone.lookup(f"made-up-{at}.{ZONE}", "A")
        assert code == "NXDOMAIN" and is_checked, (at, code)
    asked = zone.queries() - before
    print(f"          {names} made-up names, {asked:.0f} queries to nodes", flush=True)
    assert asked < names / 10, asked


def case_forged(mesh, zone):
    """Answers are refused that are not signed with the key which the zone above names"""
    (true,) = zone.delegation("eu-west")
    forged = true.replace(true.split()[-1], "0" * 64)
    zone.resolve([forged], "SERVFAIL")
    assert zone.lookup(ZONE, "A")[0] == "SERVFAIL"
    zone.resolve([true])
    assert zone.lookup(ZONE, "A")[:2] == ("NOERROR", True)


def case_changed(mesh, zone):
    """A key is changed, node after node, and no resolver notices"""
    old, new = zone.delegation("eu-west"), None
    stages = [["old.key", "new.key"], ["new.key", "old.key"], ["new.key"]]
    for stage in stages:
        for node in NODES:
            zone.restart(node, stage)
            for name, kind, expected in [(ZONE, "A", "NOERROR"), ("www." + ZONE, "HTTPS", "NOERROR"), ("no." + ZONE, "A", "NXDOMAIN")]:
                code, is_checked, _ = zone.lookup(name, kind)
                assert (code, is_checked) == (expected, True), (stage, node, name, code)
        # What a day is for: the zone above has what it is told, and resolvers have forgotten what they knew.
        new = new or [ds for ds in zone.delegation("eu-west") if ds not in old]
        assert len(new) == 1, new
        zone.resolve({1: new}.get(len(stage), old + new))
    assert zone.delegation("eu-west") == new
    mesh.all_fit()


def case_unlike(mesh, zone):
    """A node with another key is noticed by the others, and named"""
    first, second, third = NODES
    assert all(mesh.metric(node, "difusor_dnssec_unlike") == 0 for node in NODES)
    zone.restart(third, ["other.key"])
    until("it is noticed", lambda: all(mesh.metric(node, "difusor_dnssec_unlike") == 1 for node in [first, second]))
    words = "which this node does not have: give both the same files of keys"
    line = next(line for line in mesh.log(first).splitlines() if words in line)
    assert "ERROR" in line and third in line, line
    print(f"          {line}", flush=True)
    zone.restart(third, ["new.key"])
    until("all is well again", lambda: all(mesh.metric(node, "difusor_dnssec_unlike") == 0 for node in NODES))
    time.sleep(0.1)
    for node in [*mesh.nodes]:
        mesh.stop(node, signal.SIGTERM)


CASES = [case_checked, case_made_up, case_forged, case_changed, case_unlike]
