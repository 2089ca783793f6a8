"""With BIND and with Knot: nodes come, fail, and come back, and their zone follows. And the zone that nodes sign themselves."""

import signal
import sys
import time
import traceback

import signed
from mesh import NODES, Mesh
from processes import Folder, run, until
from servers import SITE, ZONE, Server

MOST = 5.0
"""Seconds after which a node that was killed must not be answered any more."""


def addresses(*nodes):
    return sorted(NODES[node] for node in nodes)


def follows(server, what, nodes, since, most=None):
    """Waits until the server names these nodes and no others, and says how long that took."""
    until(f"{server.name}: {what}", lambda: server.ask(SITE) == addresses(*nodes))
    took = time.monotonic() - since
    assert most is None or took < most, f"{server.name}: {what}: {took:.2f} s, more than {most} s"
    print(f"ok      {server.name}: {what}: {took:.2f} s\n{server.show()}", end="", flush=True)


def comes_back(mesh, server, node):
    since = time.monotonic()
    mesh.start(node)
    follows(server, f"{node} is back", [*(mesh.nodes)], since)


def case_all(mesh, server):
    """All nodes are named, with the HTTPS record"""
    since = time.monotonic()
    for node in NODES:
        mesh.updates(node, server)
        mesh.start(node)
    follows(server, "all are named", NODES, since)
    mesh.all_fit()
    https = server.ask(SITE, "HTTPS")
    assert len(https) == 1 and "h3,h2" in https[0].replace('"', ""), https


def case_killed(mesh, server):
    """A node is killed, then the one that writes; each comes back"""
    first, second, third = NODES
    until(f"{first} writes", lambda: mesh.is_writer(first))
    since = mesh.stop(third, signal.SIGKILL)
    follows(server, f"{third} is killed", [first, second], since, MOST)
    comes_back(mesh, server, third)
    mesh.all_fit()
    since = mesh.stop(first, signal.SIGKILL)
    follows(server, f"{first} is killed, which wrote", [second, third], since, MOST)
    assert mesh.is_writer(second)
    comes_back(mesh, server, first)
    until(f"{first} writes again", lambda: mesh.is_writer(first) and not mesh.is_writer(second))


def case_cut_off(mesh, server):
    """Who does not see more than half of the mesh changes nothing while one that it does not see serves"""
    first, second, third = NODES
    mesh.all_fit()
    since = mesh.stop(first, signal.SIGKILL)
    follows(server, f"{first} is killed", [second, third], since, MOST)
    # To the one that is left it looks as if it were cut off from this one.
    mesh.stop(third, signal.SIGKILL)
    with mesh.visited(third):
        cut_off = 'difusor_dns_updates_total{outcome="cut-off"}'
        until("it asks who is not seen", lambda: (mesh.metric(second, cut_off) or 0) >= 2)
        assert server.ask(SITE) == addresses(second, third), server.show()
    since = time.monotonic()
    follows(server, f"{third} does not serve either", [second], since)
    comes_back(mesh, server, third)
    comes_back(mesh, server, first)


def case_wrong_key(mesh, server):
    """A wrong key is told, and nothing else breaks"""
    first, second, third = NODES
    since = mesh.stop(first)
    follows(server, f"{first} ended", [second, third], since, MOST)
    name = "difusor" if server.kind == "bind" else "stranger"
    mesh.updates(first, server, run("tsig-keygen", name))
    mesh.start(first)
    words = {"difusor": "has another secret for the key difusor.", "stranger": "does not know the key stranger."}[name]
    until("the error is in its log", lambda: words in mesh.log(first))
    line = next(line for line in mesh.log(first).splitlines() if words in line)
    print(f"ok      {server.name}: a wrong key is told\n          {line}", flush=True)
    assert "ERROR" in line, line
    assert mesh.metric(first, 'difusor_dns_updates_total{outcome="refused"}') >= 1
    assert mesh.metric(first, "difusor_dns_update_lag_seconds") > 0
    assert server.ask(SITE) == addresses(second, third)
    assert all(mesh.serves(node) for node in NODES), "a node does not serve"
    mesh.stop(first)
    mesh.updates(first, server)
    comes_back(mesh, server, first)


def case_rest(mesh, server):
    """What is not the nodes' own is as it was"""
    for name, kind, value in [("mail." + ZONE, "A", "192.0.2.77"), (ZONE, "A", "192.0.2.80"), (SITE, "TXT", '"of the operator"')]:
        there = server.ask(name, kind)
        assert there == [value], f"{name} {kind}: {there}"
    for node in [*mesh.nodes]:
        mesh.stop(node)


UPDATES = [case_all, case_killed, case_cut_off, case_wrong_key, case_rest]


def main(kinds):
    with Folder() as folder:
        mesh = Mesh(folder)
        for kind in kinds or ["bind", "knot", "signed"]:
            cases, subject = (signed.CASES, signed.Zone(mesh)) if kind == "signed" else (UPDATES, Server(kind, folder))
            for case in cases:
                what = f"{subject.name}: {case.__doc__}"
                try:
                    case(mesh, subject)
                    print(f"ok      {what}", flush=True)
                except Exception:
                    logs = "".join(f"--- {node}\n" + "\n".join(mesh.log(node).splitlines()[-12:]) + "\n" for node in NODES)
                    print(f"FAILED  {what}\n{traceback.format_exc()}{logs}{subject.show()}", flush=True)
                    return 1
    print("dns: all parts pass")
    return 0


sys.exit(main(sys.argv[1:]))
