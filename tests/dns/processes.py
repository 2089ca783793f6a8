"""Processes that are ended with the test, each by its own number."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE = 20.0
"""Seconds after which what did not come will not come."""


def run(*command, fine=True):
    """A command to its end; what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3)
    if fine and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(what, condition):
    """Waits until the condition gives something; how long that took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() > begun + PATIENCE:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.03)
    return time.monotonic() - begun


def free_port(ip="127.0.0.1"):
    """A port that nobody has now, for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((ip, 0))
            try:
                udp.bind((ip, tcp.getsockname()[1]))
                return tcp.getsockname()[1]
            except OSError:
                continue


def write(path, text, mode=0o644):
    """A file with this text."""
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def read(path):
    """The text of a file; nothing if it is not there."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


class Folder:
    """A folder, and the processes that work in it."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="difusor-dns-")
        self.running = []
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.terminate()
        for process in self.running:
            self.end(process)
        if os.environ.get("DIFUSOR_KEEP"):
            print(f"kept: {self.path}")
        else:
            shutil.rmtree(self.path)

    def inside(self, *names):
        """A path in it."""
        return os.path.join(self.path, *names)

    def start(self, log, *command):
        """A process whose words go to this file."""
        with open(log, "a") as words:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
        self.running.append(process)
        return process

    def end(self, process, how=signal.SIGTERM):
        """Ends it, in good order or not."""
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process in self.running:
            self.running.remove(process)
