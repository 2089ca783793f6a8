"""Four network namespaces, a node, and what tests do in them.

The node is at 10.77.1.1 and fd77::1 of a /16 and a /48, the honest visitor at .2.2 and fd77:0:0:2::2, the offender at .3.3
and fd77:0:0:3::3: each in a /24 and /64 of its own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile

PROGRAM = os.environ["DIFUSOR_LOCAL"]
NODE = [os.environ["DIFUSOR_NODE"]] if "DIFUSOR_NODE" in os.environ else [PROGRAM, "node"]
PORT = 8443
PATIENCE = 30.0
"""Seconds after which what did not come will not come."""
NOBODY = 65534

NODE4, HONEST4, OFFENDER4 = "10.77.1.1", "10.77.2.2", "10.77.3.3"
NODE6, HONEST6, OFFENDER6 = "fd77::1", "fd77:0:0:2::2", "fd77:0:0:3::3"

# The least that a node needs to fill its table.
WITH_CAPABILITY = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--bounding-set=-all,+net_admin"]
WITHOUT = ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]


def run(*command, fine=True, **options):
    """A command to its end; what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 2, **options)
    if fine and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def until(what, condition):
    """Waits until the condition gives something."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.05)


class Rig:
    """Everything, removed at the end."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="difusor-kernel-")
        os.chmod(self.folder, 0o755)
        self.names = {place: f"dk{os.getpid()}-{place}" for place in ("wire", "node", "honest", "offender")}
        self.processes = []
        self.started = []
        try:
            self._wire()
            self._enrol()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        for name in self.names.values():
            run("ip", "netns", "del", name, fine=False)
        if os.environ.get("DIFUSOR_KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder)

    def _wire(self):
        for name in self.names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        wire = self.names["wire"]
        run("ip", "-n", wire, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", wire, "link", "set", "bridge", "up")
        places = {"node": (NODE4, NODE6), "honest": (HONEST4, HONEST6), "offender": (OFFENDER4, OFFENDER6)}
        for place, (four, six) in places.items():
            name = self.names[place]
            run("ip", "-n", wire, "link", "add", place, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", wire, "link", "set", place, "master", "bridge", "up")
            run("ip", "-n", name, "addr", "add", f"{four}/16", "dev", "eth0")
            run("ip", "-n", name, "addr", "add", f"{six}/48", "dev", "eth0", "nodad")
            run("ip", "-n", name, "link", "set", "eth0", "up")

    def _enrol(self):
        """A real mesh makes the node, and gives it a cut; after that it serves alone."""
        package = os.path.join(self.folder, "20240602_2000_PREP.zip")
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("index.html", "<!doctype html><title>PREP</title>")
        data = os.path.join(self.folder, "data")
        self.inside("node", PROGRAM, "--nodes", "1", "--data", data, "--free-ports", "--once", package)
        self.home = os.path.join(data, "mesh/mx-central")
        self.authority = os.path.join(self.folder, "authority.pem")
        shutil.copy(os.path.join(data, "mesh/coordinator/keys/authority.pem"), self.authority)
        self.log = os.path.join(self.folder, "node.log")

    def inside(self, place, *command, **options):
        """A command to its end in a namespace."""
        return run("ip", "netns", "exec", self.names[place], *command, **options)

    def spawn(self, place, *command, **options):
        """A process in a namespace, ended with the case. `ip` and `setpriv` become the command, so the pid is its own."""
        process = subprocess.Popen(["ip", "netns", "exec", self.names[place], *command], **options)
        self.processes.append(process)
        return process

    def start(self, kernel="", more="", capability=WITH_CAPABILITY, home=None, port=PORT, admin=8401, coordinator="127.0.0.1:9"):
        """A node as nobody, with these lines under [kernel], until it serves."""
        home = home or self.home
        self.config = os.path.join(home, "node.toml")
        with open(self.config, "w") as file:
            file.write(f'public = ["0.0.0.0:{port}", "[::]:{port}"]\nadmin = "127.0.0.1:{admin}"\n')
            file.write(f'coordinator = ["{coordinator}"]\ncertificate = "{home}/site.pem"\nkey = "{home}/site.key"\n')
            file.write(f"{more}\n[kernel]\n{kernel}\n")
        for folder, _, files in os.walk(home):
            for path in [folder, *(os.path.join(folder, file) for file in files)]:
                os.chown(path, NOBODY, NOBODY)
        ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
        command = ["setpriv", *ids, *capability, *NODE, "--config", self.config, "run"]
        with open(self.log, "w") as log:
            process = self.spawn("node", *command, stdout=log, stderr=log)
        address = f"https://localhost:{port}/"
        until("the node serves", lambda: self.get("node", NODE4, address).returncode == 0)
        return process

    def stop(self):
        """Ends what was started, the node in good order."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.processes = []
        if os.path.exists(f"/run/netns/{self.names['node']}"):
            self.inside("node", "nft", "flush", "ruleset", fine=False)

    def get(self, place, to, address=f"https://localhost:{PORT}/"):
        """One request over a connection of its own, given up soon; its exit code is curl's."""
        port = re.search(r":(\d+)/", address)[1]
        host = f"[{to}]" if ":" in to else to
        return self.inside(
            place, "curl", "-sf", "--connect-timeout", "1", "--max-time", "5", "-o", "/dev/null", "--cacert", self.authority,
            "--connect-to", f"localhost:{port}:{host}:{port}", address, fine=False,
        )  # fmt: skip

    def reaches(self, place, to=NODE4):
        """True if the site is served to this place."""
        return self.get(place, to).returncode == 0

    def times_out(self, place, to=NODE4):
        """True if connections from this place are not even refused."""
        return self.get(place, to).returncode == 28

    def command(self, *args, fine=True):
        """A command line of the node."""
        return self.inside("node", *NODE, "--config", self.config, *args, fine=fine)

    def metric(self, name):
        """One sample of the node's metrics; none if it is not there."""
        text = self.inside("node", "curl", "-s", "http://127.0.0.1:8401/metrics").stdout
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def tables(self):
        """The tables of the node's namespace, by name."""
        listed = json.loads(self.inside("node", "nft", "-j", "list", "tables").stdout)["nftables"]
        return [one["table"]["name"] for one in listed if "table" in one]

    def log_text(self):
        with open(self.log) as file:
            return file.read()

    def log_end(self):
        return "".join(self.log_text().splitlines(True)[-15:]) if os.path.exists(self.log) else ""
