"""The base ruleset and `difusor-node harden`."""

import json
import os
import subprocess
import time

from rig import NODE4, NODE6, until

FLOOD = """
import resource, select, socket, sys, time
to, many, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (many + 100, many + 100))
family = socket.AF_INET6 if ":" in to else socket.AF_INET
poll, trying, opened = select.epoll(), {}, 0
for _ in range(many):
    s = socket.socket(family)
    s.setblocking(False)
    s.connect_ex((to, 8443))
    trying[s.fileno()] = s
    poll.register(s, select.EPOLLOUT)
end = time.monotonic() + seconds
while (left := end - time.monotonic()) > 0:
    for number, _ in poll.poll(left):
        poll.unregister(number)
        opened += trying[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
print(opened, flush=True)
sys.stdin.readline()
"""


def flood(rig, to, many, seconds):
    """So many connections at once; the process that holds them, and how many were let in."""
    process = rig.spawn("offender", "python3", "-c", FLOOD, to, str(many), str(seconds), stdin=-1, stdout=-1, text=True)
    return process, lambda: int(process.stdout.readline())


def let_go(process):
    process.communicate("\n")


def counter(rig, name):
    listed = json.loads(rig.inside("node", "nft", "-j", "list", "counter", "inet", "difusor_base", name).stdout)
    return next(one["counter"]["packets"] for one in listed["nftables"] if "counter" in one)


def harden(rig, *args, fine=True, env=None):
    etc = os.path.join(rig.folder, "etc")
    environment = {"PATH": os.environ["PATH"], **(env or {})}
    return subprocess.run(
        ["ip", "netns", "exec", rig.names["node"], os.environ["DIFUSOR_LOCAL"], "node", "--config", rig.config, "harden",
         *args, "--etc", etc], capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def apply(rig, *args):
    """Only what this namespace has none of may be amiss."""
    said = harden(rig, "--apply", *args)
    amiss = [line for line in said.stdout.splitlines() if "stays" in line or "does not have it" in line]
    known = ("net.core.", "net.netfilter.nf_conntrack_max", "net.ipv4.tcp_congestion_control")
    assert "table inet difusor_base: loaded" in said.stdout, said
    assert all(line.startswith(known) for line in amiss), said
    return said.stdout


def case_apply_and_check(rig):
    """harden shows, checks, applies, keeps what was there, and says what differs"""
    rig.start()
    assert "define public_tcp = { 8443 }" in harden(rig, "--print").stdout
    before = harden(rig, "--check")
    assert before.returncode == 1 and "difusor_base" in before.stdout and "tcp_synack_retries: is 5" in before.stdout, before
    rig.inside("node", "nft", "add", "table", "inet", "mine")
    said = apply(rig)
    assert "net.ipv4.tcp_synack_retries: 5 -> 3" in said, said
    etc = os.path.join(rig.folder, "etc")
    with open(os.path.join(etc, "difusor/ruleset.before.nft")) as file:
        assert file.read() == "table inet mine {\n}\n"
    assert sorted(rig.tables()) == ["difusor_base", "mine"]

    def differing():
        lines = harden(rig, "--check").stdout.splitlines()
        return [line for line in lines if not line.startswith(("net.core.", "net.netfilter.nf_conntrack_max"))]

    assert [line for line in differing() if "as recommended" not in line] == []
    rig.inside("node", "sysctl", "-qw", "net.ipv4.tcp_synack_retries=7")
    assert differing() == ["net.ipv4.tcp_synack_retries: is 7, recommended 3"]
    rig.inside("node", "nft", "insert rule inet difusor_base input tcp dport 3306 accept")
    assert differing()[1:] == ["table inet difusor_base: not recommended: tcp dport 3306 accept"], differing()
    # A second time, with another port: the file of before is kept, and the rules are the new ones.
    apply(rig, "--also-tcp", "9100")
    with open(os.path.join(etc, "difusor/base.nft.before")) as file:
        assert "9100" not in file.read()
    listed = rig.inside("node", "nft", "list", "table", "inet", "difusor_base").stdout
    assert "tcp dport { 22, 9100 } accept" in listed and "3306" not in listed


def case_ssh(rig):
    """nobody is locked out: ports of sshd are asked for, and let in"""
    rig.start()
    etc = os.path.join(rig.folder, "etc")
    said = harden(rig, "--apply", env={"SSH_CONNECTION": "10.77.2.2 5000 10.77.1.1 2222"})
    assert said.returncode == 1 and "--ssh-port 2222" in said.stderr and rig.tables() == [], said
    os.makedirs(os.path.join(etc, "ssh"), exist_ok=True)
    with open(os.path.join(etc, "ssh/sshd_config"), "w") as file:
        file.write("Port 2222\n")
    try:
        assert harden(rig, "--apply").returncode == 1 and rig.tables() == []
        apply(rig, "--ssh-port", "2222")
    finally:
        os.remove(os.path.join(etc, "ssh/sshd_config"))
    listen = "import socket; s = [socket.create_server(('0.0.0.0', p)) for p in (2222, 2223)]; print('up', flush=True); input()"
    process = rig.spawn("node", "python3", "-c", listen, stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "up\n"
    for port, fine in [(2222, True), (2223, False)]:
        ask = f"import socket; socket.create_connection(('{NODE4}', {port}), 1)"
        said = rig.inside("honest", "python3", "-c", ask, fine=False)
        assert (said.returncode == 0) == fine, said
    assert counter(rig, "other") > 0
    assert rig.reaches("honest") and rig.reaches("honest", NODE6)
    assert rig.inside("honest", "ping", "-c", "1", "-W", "2", NODE4, fine=False).returncode in (0, 127)


def case_flood_of_connections(rig):
    """a source that opens connections too fast is held to its rate, while another is served"""
    rig.start()
    apply(rig)
    for to, place in [(NODE4, "honest"), (NODE6, "honest")]:
        before, begun = counter(rig, "too_fast"), time.monotonic()
        process, opened = flood(rig, to, 6000, 2.5)
        until("the meter drops", lambda: counter(rig, "too_fast") > before)
        assert rig.reaches(place, to)
        many = opened()
        took = time.monotonic() - begun
        assert 1500 <= many <= 2000 + 500 * took, (to, many, took)
        assert counter(rig, "too_fast") - before >= 6000 - many
        let_go(process)
        print(f"        {to}: {many} of 6000 connections let in within {took:.1f} s")


def case_exempt(rig):
    """who is exempt is not held to it"""
    rig.start(more='[admission]\nexempt = ["10.77.3.0/24", "127.0.0.0/8"]')
    apply(rig)
    process, opened = flood(rig, NODE4, 4000, 2.5)
    assert opened() == 4000 and counter(rig, "too_fast") == 0
    let_go(process)


def case_connections_held(rig):
    """a source holds as many connections as the node gives to one, and not more"""
    rig.start(more="[limits]\nconnections = 200")
    apply(rig)
    process, opened = flood(rig, NODE4, 300, 2.0)
    assert opened() == 100 and counter(rig, "too_many") >= 200
    assert rig.reaches("honest")
    let_go(process)
    until("it is let in again", lambda: rig.reaches("offender"))


def case_quic(rig):
    """Initials that are too short, and UDP from low ports, do not reach the node"""
    rig.start()
    apply(rig)
    send = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('0.0.0.0', {port}))\n"
        "for _ in range({many}): s.sendto(bytes([0xc0, 0, 0, 0, 1]) + b'x' * {size}, ('" + NODE4 + "', 8443))\n"
    )
    sent = lambda port, size, many=1: rig.inside("offender", "python3", "-c", send.format(port=port, size=size, many=many))
    sent(40000, 1195)
    assert counter(rig, "initials") == 0
    sent(40000, 1194)
    assert counter(rig, "initials") == 1
    sent(53, 1200)
    assert counter(rig, "initials") == 2
    sent(40000, 1200, 20000)
    assert counter(rig, "initials") > 10000


def case_synproxy(rig):
    """with synproxy the site is served over TCP as before"""
    rig.start()
    apply(rig)
    here = os.path.dirname(os.path.abspath(__file__))
    rig.inside("node", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
    rig.inside("node", "nft", "-f", os.path.join(here, "../../deploy/nftables/synproxy.nft"))
    assert rig.reaches("honest") and rig.reaches("honest", NODE6)
    with_proxy = rig.inside("node", "cat", "/proc/net/stat/synproxy").stdout.splitlines()[1:]
    assert sum(int(line.split()[1], 16) for line in with_proxy) >= 2, with_proxy
