"""A wide area network in one process: it holds the far end of a TUN device in each namespace, and carries IP packets from
one to the other as slowly, and with as many lost, as it is told.

Everything is said for each ordered pair of zones, so that the two directions of a link differ where they should: `delay`
(seconds), `loss` (0 to 1, by a seed), `rate` (bytes a second, with a queue of `queue` bytes that drops what is beyond), and
`cut`. What is lost is lost before it waits in the queue.

    python3 wan.py '{"seed": 1, "ends": [[namespace, zone, address], …], "paths": [[zone, zone, {…}], …]}'

It says "ready", and then takes a line of JSON for each change, `{"set": {…}, "from": zone or "*", "to": zone or "*"}`, or
`{"count": true}`, which is answered with the counts since the last time.
"""

import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

from space import Space

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
DEVICE = "wan"
# Packets that are taken from one device before others have their turn.
TURN = 64
LATE = 0.002
"""Seconds by which a packet is later than it should be that are counted."""


def device(namespace):
    """The end of a new TUN device in a namespace."""
    with Space(namespace):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return end


class Path:
    """One direction between two zones."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.delay, self.loss, self.rate, self.queue, self.cut = 0.0, 0.0, None, 1 << 20, False
        self.busy_until = 0.0

    def set(self, delay=None, loss=None, rate=None, queue=None, cut=None):
        """Changes what is given."""
        self.delay = self.delay if delay is None else delay
        self.loss = self.loss if loss is None else loss
        self.rate = self.rate if rate is None else rate
        self.queue = self.queue if queue is None else queue
        self.cut = self.cut if cut is None else cut


class Wan:
    """All of it."""

    def __init__(self, seed, ends, paths):
        self.zone_of, self.end_of = {}, {}
        for namespace, zone, address in ends:
            end = device(namespace)
            self.zone_of[end] = zone
            self.end_of[socket.inet_aton(address)] = end
        zones = sorted(set(self.zone_of.values()))
        self.paths = {(one, other): Path(f"{seed}/{one}/{other}") for one in zones for other in zones}
        for one, other, how in paths:
            self.paths[one, other].set(**how)
            self.paths[other, one].set(**how)
        self.waiting, self.order = [], 0
        self.counts = dict.fromkeys(("carried", "bytes", "lost", "cut", "dropped", "astray", "late"), 0)
        self.latest = 0.0

    def obey(self, order):
        """One line; what is answered."""
        if "set" in order:
            for (one, other), path in self.paths.items():
                if order["from"] in ("*", one) and order["to"] in ("*", other):
                    path.set(**order["set"])
            return "set"
        counts = {**self.counts, "latest_ms": round(self.latest * 1000, 1)}
        self.counts, self.latest = dict.fromkeys(self.counts, 0), 0.0
        return counts

    def take(self, end, now):
        """What has come from one device."""
        paths, zone_of, end_of, counts = self.paths, self.zone_of, self.end_of, self.counts
        zone = zone_of[end]
        for _ in range(TURN):
            try:
                packet = os.read(end, 2048)
            except BlockingIOError:
                return
            to = end_of.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if to is None:
                counts["astray"] += 1
                continue
            path = paths[zone, zone_of[to]]
            if path.cut:
                counts["cut"] += 1
                continue
            if path.loss and path.dice.random() < path.loss:
                counts["lost"] += 1
                continue
            sent = now
            if path.rate:
                sent = max(now, path.busy_until)
                if (sent - now) * path.rate > path.queue:
                    counts["dropped"] += 1
                    continue
                path.busy_until = sent = sent + len(packet) / path.rate
            self.order += 1
            heapq.heappush(self.waiting, (sent + path.delay, self.order, to, packet))

    def deliver(self):
        """What is due goes out."""
        waiting, counts = self.waiting, self.counts
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            due, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except OSError:
                counts["astray"] += 1
                continue
            counts["carried"] += 1
            counts["bytes"] += len(packet)
            if now - due > LATE:
                counts["late"] += 1
                self.latest = max(self.latest, now - due)

    def run(self):
        """Until standard input ends."""
        stdin = sys.stdin.fileno()
        ends = [stdin, *self.zone_of]
        text = b""
        while True:
            pause = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            # Microseconds count, which `epoll` does not know.
            ready, _, _ = select.select(ends, [], [], pause)
            now = time.monotonic()
            for end in ready:
                if end != stdin:
                    self.take(end, now)
                    continue
                said = os.read(stdin, 1 << 16)
                if not said:
                    return
                *lines, text = (text + said).split(b"\n")
                for line in lines:
                    print(json.dumps(self.obey(json.loads(line))), flush=True)
            self.deliver()


if __name__ == "__main__":
    wan = Wan(**json.loads(sys.argv[1]))
    # Its packets must not wait for whoever else is busy.
    try:
        os.nice(-10)
    except PermissionError:
        pass
    print('"ready"', flush=True)
    wan.run()
