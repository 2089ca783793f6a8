"""Network namespaces of our own, and sockets in them.

A socket belongs to the namespace in which it was made, whoever uses it: so one process can ask from many places.
"""

import ctypes
import json
import os
import socket
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command, fine=True, patience=60, **options):
    """A command to its end; what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience, **options)
    if fine and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Space:
    """One namespace, by its name below /run/netns; it has to be there."""

    def __init__(self, name):
        self.name = name
        self.there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self.here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self):
        """This thread is in it, until the end of the block."""
        _enter(self.there)
        return self

    def __exit__(self, *_):
        _enter(self.here)

    def socket(self, kind=socket.SOCK_STREAM):
        """A socket in it, which does not block."""
        with self:
            made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        return made


def _enter(namespace):
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Places:
    """The namespaces of a run by their short names, made and removed together."""

    def __init__(self):
        self.prefix = f"dr{os.getpid()}-"
        self.made = []

    def add(self, place):
        """Makes one."""
        run("ip", "netns", "add", self.name(place))
        self.made.append(place)
        run("ip", "-n", self.name(place), "link", "set", "lo", "up")

    def name(self, place):
        """Its name below /run/netns."""
        return self.prefix + place

    def address(self, place, address):
        """Gives it an address on its end of the WAN."""
        run("ip", "-n", self.name(place), "addr", "add", f"{address}/16", "dev", "wan")
        run("ip", "-n", self.name(place), "link", "set", "wan", "up", "mtu", "1500", "txqueuelen", "2000")

    def inside(self, place, *command, **options):
        """A command to its end in one of them."""
        return run("ip", "netns", "exec", self.name(place), *command, **options)

    def remove(self):
        """Removes all that were made."""
        for place in self.made:
            run("ip", "netns", "del", self.name(place), fine=False)
        self.made = []


class Helper:
    """A process of ours that is spoken to in lines of JSON, and ends when its standard input does."""

    def __init__(self, script, about, **options):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), script)
        self.process = subprocess.Popen(
            ["python3", script, json.dumps(about)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        assert json.loads(self.process.stdout.readline() or '"it ended"') == "ready", script

    def ask(self, order):
        """Sends a line, and gives what is answered."""
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"{self.process.args[1]} ended"
        return json.loads(line)

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
