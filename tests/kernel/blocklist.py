"""Offenders that the node gives to the kernel."""

import os
import shutil
import signal

from rig import HONEST4, HONEST6, NODE4, NODE6, OFFENDER4, OFFENDER6, WITHOUT, until

ON = "block = true"
LISTEN = "import socket; s = socket.create_server(('0.0.0.0', 2222)); print('up', flush=True)\nwhile True: s.accept()[0].close()"


def case_drop_and_return(rig):
    """an offender is dropped, others are served, and it comes back by itself; the node is nobody with one capability"""
    rig.start(ON)
    other = rig.spawn("node", "python3", "-c", LISTEN, stdout=-1, text=True)
    assert other.stdout.readline() == "up\n"
    assert rig.reaches("offender") and rig.reaches("honest")
    assert rig.metric("difusor_kernel_active") == 1 and rig.metric("difusor_kernel_dropped_packets_total") == 0
    rig.command("block", OFFENDER4, "--for", "8 s")
    assert f"{OFFENDER4}/32 " in rig.command("blocked").stdout
    assert rig.times_out("offender")
    assert rig.reaches("honest")
    # Other ports of the machine are none of our business, and the other family neither.
    rig.inside("offender", "python3", "-c", f"import socket; socket.create_connection(('{NODE4}', 2222), 5)")
    assert rig.reaches("offender", NODE6)
    until("the kernel's counter is read", lambda: rig.metric("difusor_kernel_dropped_packets_total") > 0)
    assert rig.metric("difusor_kernel_dropped_bytes_total") >= 40
    assert rig.metric("difusor_kernel_entries") == 1
    until("it comes back", lambda: rig.reaches("offender"))
    until("it is forgotten", lambda: rig.metric("difusor_kernel_entries") == 0)


def case_open_connections(rig):
    """connections that are open, and UDP, are dropped, too"""
    rig.start(ON)
    talk = (
        "import socket, sys\n"
        f"s = socket.create_connection(('{NODE4}', 8443), 5); u = socket.socket(type=socket.SOCK_DGRAM)\n"
        "print('open', flush=True); sys.stdin.readline()\n"
        f"s.settimeout(1.5); s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n'); u.sendto(b'x' * 1200, ('{NODE4}', 8443))\n"
        "try: print('answered', s.recv(100))\n"
        "except TimeoutError: print('nothing')\n"
    )
    for blocked, answer in [(False, "answered"), (True, "nothing")]:
        process = rig.spawn("offender", "python3", "-c", talk, stdin=-1, stdout=-1, text=True)
        assert process.stdout.readline() == "open\n"
        if blocked:
            rig.command("block", OFFENDER4)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(answer)
    # The datagram alone is this long.
    until("UDP is dropped", lambda: rig.metric("difusor_kernel_dropped_bytes_total") >= 1228)


def case_networks(rig):
    """networks and IPv6 are blocked and let in again"""
    rig.start(ON)
    for net, place, to, untouched in [
        ("10.77.3.0/24", "offender", NODE4, NODE6),
        ("fd77:0:0:3::/64", "offender", NODE6, NODE4),
        (OFFENDER6, "offender", NODE6, NODE4),
        ("::ffff:10.77.3.3", "offender", NODE4, NODE6),
    ]:
        assert rig.reaches(place, to), net
        rig.command("block", net)
        assert rig.times_out(place, to) and rig.reaches(place, untouched) and rig.reaches("honest", to), net
        rig.command("unblock", net)
        assert rig.reaches(place, to), net
    # The whole site: here, of everyone.
    rig.command("block", "fd77::/48")
    assert rig.times_out("offender", NODE6) and rig.times_out("honest", NODE6) and rig.reaches("honest")


def case_longer(rig):
    """whoever is entered again stays for longer, and never for shorter"""
    rig.start(ON + '\nlongest = "5 m"')
    rig.command("block", OFFENDER4, "--for", "2 s")
    rig.command("block", OFFENDER4, "--for", "4 h")
    rig.command("block", OFFENDER4, "--for", "1 s")
    listed = rig.inside("node", "nft", "list", "set", "inet", "difusor_block", "source4").stdout
    assert "expires 4m5" in listed and "timeout 5m" in listed, listed


def case_spared(rig):
    """this machine, proxies, the coordinator and who is exempt are never blocked, nor is a network that they lie in"""
    more = f'proxies = ["{HONEST4}"]\n[admission]\nexempt = ["fd77:0:0:2::/64"]'
    rig.start(ON, more, coordinator="10.77.9.9:8440")
    for net in ["127.0.0.1", "::1", HONEST4, "10.77.2.0/24", HONEST6, "fd77::/48", "10.77.9.9"]:
        said = rig.command("block", net, fine=False)
        assert said.returncode == 1 and "never blocked" in said.stderr, (net, said)
    for net in ["0.0.0.0/0", "10.77.0.0/16", "here"]:
        assert rig.command("block", net, fine=False).returncode == 1, net
    assert rig.metric('difusor_kernel_orders_total{outcome="spared"}') == 9
    # Its own address, by which it asks itself: over the loopback.
    rig.command("block", NODE4)
    assert rig.reaches("node")
    assert rig.reaches("honest") and rig.reaches("honest", NODE6)


def case_room(rig):
    """sets are bounded, and what has no room is counted"""
    rig.start(ON + "\nentries = 2")
    rig.command("block", "192.0.2.1")
    rig.command("block", "192.0.2.2", "--for", "1 s")
    said = rig.command("block", OFFENDER4, fine=False)
    assert said.returncode == 1 and "no room" in said.stderr, said
    assert rig.metric('difusor_kernel_orders_total{outcome="no_room"}') == 1
    until("there is room again", lambda: rig.command("block", OFFENDER4, fine=False).returncode == 0)
    assert rig.times_out("offender")


def case_owner(rig):
    """nobody else can empty the table, and it goes with the process, even by SIGKILL"""
    node = rig.start(ON)
    rig.command("block", OFFENDER4)
    rig.inside("node", "nft", "flush", "ruleset")
    assert rig.inside("node", "nft", "delete", "table", "inet", "difusor_block", fine=False).returncode != 0
    assert rig.tables() == ["difusor_block"] and rig.times_out("offender")
    node.send_signal(signal.SIGKILL)
    node.wait()
    assert rig.tables() == []
    # And in good order; nobody is blocked in between.
    node = rig.start(ON)
    assert rig.reaches("offender")
    node.terminate()
    node.wait()
    assert rig.tables() == []


def case_outlive(rig):
    """a table that is to outlive the process keeps who is in it, over SIGKILL and a new start"""
    node = rig.start(ON + "\noutlive = true")
    rig.command("block", OFFENDER4)
    node.send_signal(signal.SIGKILL)
    node.wait()
    assert rig.tables() == ["difusor_block"]
    node = rig.start(ON + "\noutlive = true")
    assert rig.times_out("offender")
    rules = rig.inside("node", "nft", "list", "chain", "inet", "difusor_block", "public").stdout
    assert rules.count(" drop\n") == 2, rules
    rig.command("unblock", OFFENDER4)
    assert rig.reaches("offender")
    # Somebody removes it: it is made again, with who is in it.
    rig.command("block", OFFENDER4)
    rig.inside("node", "nft", "delete", "table", "inet", "difusor_block")
    until("it is made anew", lambda: rig.tables() == ["difusor_block"])
    until("with who was in it", lambda: rig.times_out("offender"))
    assert "made anew" in rig.log_text()
    node.terminate()
    node.wait()
    # A node that is not to outlive begins with none of it.
    rig.start(ON)
    assert rig.reaches("offender")


def case_taken(rig):
    """a second node with the same table says so, and serves"""
    rig.start(ON)
    first, home = rig.log, os.path.join(rig.folder, "second")
    shutil.copytree(rig.home, home, ignore=shutil.ignore_patterns("control.sock"), dirs_exist_ok=True)
    rig.log = os.path.join(rig.folder, "second.log")
    try:
        rig.start(ON, home=home, port=9443, admin=9401)
        assert "belongs to another process" in rig.log_text(), rig.log_text()
        said = rig.command("block", OFFENDER4, fine=False)
        assert said.returncode == 1 and "gives nothing to the kernel" in said.stderr, said
    finally:
        rig.log = first


def case_no_capability(rig):
    """without the capability the log says once what to do, and the node serves"""
    rig.start(ON, capability=WITHOUT)
    log = rig.log_text()
    assert log.count("CAP_NET_ADMIN") == 1 and "block = false" in log, log
    assert rig.reaches("honest") and rig.reaches("honest", NODE6)
    assert rig.metric("difusor_kernel_active") == 0 and rig.tables() == []
    rig.stop()
    # And who did not ask for it hears nothing of it.
    rig.start("")
    assert "kernel" not in rig.log_text() and rig.tables() == []
