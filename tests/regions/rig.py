"""A mesh in network namespaces: three zones of two nodes, the coordinator, visitors, and the WAN between them.

Everything lies in a folder and in namespaces of its own, and goes with them. Processes are ended by their ids.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from email.utils import parsedate_to_datetime

import atlas
import log
import package
from atlas import ADDRESSES, NODES, SITE
from space import Helper, Places, Space, run

PROGRAM = os.environ["DIFUSOR_LOCAL"]
PATIENCE = 60.0
"""Seconds after which what did not come will not come."""
SMALL = "eu-2"
"""The node with a small disk of its own, MB."""
SMALL_MB = 96

NODE = """public = ["{at}:443"]
admin = "127.0.0.1:{admin}"
peers = "{at}:{peers}"
low_space = "1 MiB"
scrub_every = "2 s"
scrub_rate = "200 MB"
[site]
hosts = ["{site}"]
[dns]
bind = ["{at}:{dns}"]
zone = "{site}"
ttl = "{ttl} s"
places = "places.txt"
[dns.zones]
"""


def until(what, condition, patience=PATIENCE):
    """Waits until the condition gives something."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {patience} s")
        time.sleep(0.05)


class Rig:
    """Everything, removed at the end."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="difusor-regions-")
        self.places, self.processes, self.spaces, self.facts = Places(), {}, {}, {}
        self.network, self.helpers, self.mounted, self.cut = None, [], [], 0
        self.publishing = threading.Lock()
        try:
            for place in ADDRESSES:
                self.places.add(place)
            ends = [[self.places.name(place), atlas.zone_of(place), at] for place, at in ADDRESSES.items()]
            self.network = Helper("wan.py", {"seed": 2024, "ends": ends, "paths": atlas.paths()})
            for place, at in ADDRESSES.items():
                self.places.address(place, at)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for helper in reversed(self.helpers):
            helper.close()
        for process in self.processes.values():
            process.kill()
            process.wait()
        if self.network:
            self.network.close()
        for folder in self.mounted:
            run("umount", folder, fine=False)
        self.places.remove()
        if os.environ.get("DIFUSOR_KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder)

    def home(self, name):
        """The folder of a process."""
        return os.path.join(self.folder, name)

    def space(self, place):
        """A namespace, to make sockets in."""
        return self.spaces.setdefault(place, Space(self.places.name(place)))

    def wan(self, how, one="*", other="*"):
        """Changes paths from zones to zones."""
        self.network.ask({"set": how, "from": one, "to": other})

    def helper(self, script, about):
        """Starts one of the observers."""
        self.helpers.append(Helper(script, about))
        return self.helpers[-1]

    def command(self, name, *args, **options):
        """A command line of the coordinator (`home`) or of a node, to its end."""
        kind = "coordinator" if name == "home" else "node"
        config = os.path.join(self.home(name), f"{kind}.toml")
        return self.places.inside(name, PROGRAM, kind, "--config", config, *args, **options)

    def start(self, name, env=None):
        """Starts the coordinator or a node, until it listens."""
        kind = "coordinator" if name == "home" else "node"
        ready = os.path.join(self.home(name), "ready.json")
        if os.path.exists(ready):
            os.remove(ready)
        config = os.path.join(self.home(name), f"{kind}.toml")
        command = ["ip", "netns", "exec", self.places.name(name), PROGRAM, kind, "--config", config, "run"]
        # `ip` becomes the program, so the pid is its own. It ends when its standard input does.
        environment = {**os.environ, "DIFUSOR_EXIT_WITH_PARENT": "1", **(env or {})}
        with open(f"{self.folder}/{name}.log", "a") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        self.processes[name] = process
        until(f"{name} listens", lambda: os.path.exists(ready) or process.poll() is not None)
        assert process.poll() is None, f"{name} ended:\n{self.log_end(name)}"

    def kill(self, *names):
        """SIGKILL, to all of them at once."""
        for name in names:
            self.processes[name].kill()
        for name in names:
            self.processes.pop(name).wait()

    def stop(self, name):
        """Ends one in good order."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(30)

    def signal(self, name, what):
        """SIGSTOP or SIGCONT."""
        self.processes[name].send_signal(getattr(signal, what))

    def start_mesh(self):
        """A new mesh that serves its first cut."""
        os.makedirs(self.home("home"))
        with open(os.path.join(self.home("home"), "coordinator.toml"), "w") as file:
            at = f"{ADDRESSES['home']}:{atlas.MESH}"
            file.write(f'mesh = "{at}"\nmesh_public = ["{at}"]\napi = "127.0.0.1:{atlas.API}"\nflip_deadline = "5 s"\nsite = "{atlas.SITE}"\n')
        self.command("home", "init")
        self.start("home")
        for node in NODES:
            self.enrol(node)
        for node in NODES:
            self.start(node)
        self.authority = os.path.join(self.home("home"), "keys/authority.pem")
        until("all are connected", lambda: all(node["connected"] for node in self.fleet()["nodes"].values()))
        self.publish()
        self.converge()

    def enrol(self, node):
        """Makes the folder of a node, and has it join."""
        home, zone = self.home(node), NODES[node]
        os.makedirs(home)
        if node == SMALL:
            run("mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "tmpfs", home)
            self.mounted.append(home)
        config = NODE.format(at=ADDRESSES[node], admin=atlas.ADMIN, peers=atlas.PEERS, site=SITE, dns=atlas.DNS, ttl=atlas.TTL)
        config += "".join(f"{zone} = [{at[0]}, {at[1]}]\n" for zone, at in atlas.WHERE.items())
        with open(os.path.join(home, "node.toml"), "w") as file:
            file.write(config)
        with open(os.path.join(home, "places.txt"), "w") as file:
            for place, nearest in atlas.VISITORS.items():
                file.write(f"{ADDRESSES[place].rpartition('.')[0]}.0/24 {nearest}\n")
        token = self.command("home", "invite", "--zone", zone).stdout.split()
        token = max(token, key=len)
        self.command(node, "join", token, "--name", node, "--site-name", SITE)

    def publish(self):
        """Publishes the next cut, and gives its number; does not wait for the nodes."""
        with self.publishing:
            self.command("home", "publish", package.write(self.folder, self.cut + 1))
            self.cut += 1
        return self.cut

    def clock(self, node):
        """Unix seconds by a node's own clock, as it says in its answers."""
        said = self.ask(node, atlas.ADMIN, "/health", lambda answer: answer.getheader("date"))
        return parsedate_to_datetime(said).timestamp() if said else 0.0

    def ask(self, place, port, path, take=lambda answer: json.loads(answer.read())):
        """JSON from a loopback address in a namespace, or what is taken instead; none if nobody answers."""
        with self.space(place):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
            try:
                connection.connect()
            except OSError:
                return None
        try:
            connection.request("GET", path)
            return take(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def status(self, node):
        """What a node says to its operator; none if it does not."""
        return self.ask(node, atlas.ADMIN, "/status")

    def fleet(self):
        """What the coordinator says."""
        return self.ask("home", atlas.API, "/api/v1/status")

    def amiss(self):
        """What is not as it should be when all is well: nodes that are not ready, old, or that others send nobody to."""
        said = []
        for node in NODES:
            status = self.status(node) if node in self.processes else None
            if status is None:
                said.append(f"{node} does not answer")
                continue
            serves, health = (status["serves"] or {}).get("seq"), status["health"]
            if serves != self.cut:
                said.append(f"{node} serves {serves}")
            if health["state"] != "ready":
                said.append(f"{node} is {health['state']}: {', '.join(health['reasons'])}")
            said += [f"{node} says that {peer['node']} is {peer['unfit']}" for peer in status["peers"] if peer["unfit"]]
            if len(status["peers"]) != len(NODES):
                said.append(f"{node} knows {len(status['peers'])}")
        return said

    def converge(self, patience=PATIENCE):
        """Waits until all is well, and gives how long that took."""
        begun, said = time.monotonic(), []

        def is_well():
            said[:] = self.amiss()
            return not said

        try:
            until("all is well", is_well, patience)
        except AssertionError as error:
            raise AssertionError(f"{error}: {'; '.join(said)}") from None
        return time.monotonic() - begun

    def first_served(self, cut):
        """When a visitor first had this cut."""

        def found():
            return next((line[1] for line in self.visits.read() if line[5] == cut), None)

        return until("a visitor has the cut", found)

    def watch_until_named(self):
        """Waits until DNS leads to every node."""
        until("every server names every node", lambda: log.named_by_all(self.watch))

    def log_end(self, name, lines=15):
        """The end of what one has logged."""
        path = f"{self.folder}/{name}.log"
        if not os.path.exists(path):
            return ""
        with open(path, errors="replace") as file:
            return f"--- {name}\n" + "".join(file.readlines()[-lines:])
