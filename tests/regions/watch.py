"""Watches the mesh from outside, and writes down what changes, a line of JSON each: [seconds, what, who, about, value].

- `dns`: what a node's server answers to a client that is nearest to a zone, asked from one place ten times a second; none if
  it did not answer for a second. `empty` if an answer had no address.
- `said`: how a node is, and whom it would send nobody to, by its own status, five times a second; none if it did not answer.
- `public`: how a node is by `/.well-known/difusor/health`, over a new connection, twice a second; none likewise.
- `fleet`: how a node is by the coordinator's word, five times a second.

    python3 watch.py '{"prefix": …, "authority": …, "log": …}'

A line on its standard input is answered when everything before it is written.
"""

import asyncio
import json
import random
import socket
import ssl
import sys
import time

import atlas
import resolver
from space import Space

FROM = "in-mx"
ASK, LOOK, VISIT = 0.1, 0.2, 0.5
SILENCE = 1.0


class Watch:
    """All of them."""

    def __init__(self, prefix, authority, log):
        self.spaces = {place: Space(prefix + place) for place in atlas.ADDRESSES}
        self.tls = ssl.create_default_context(cafile=authority)
        self.log = open(log, "w")
        self.known = {}

    def note(self, what, who, about, value):
        """Writes it down if it is something else than before."""
        if self.known.get((what, who, about), self) != value:
            self.known[what, who, about] = value
            self.log.write(json.dumps([time.monotonic(), what, who, about, value]) + "\n")

    async def dns(self):
        """Asks all servers, for a client near each zone."""
        loop, watch = asyncio.get_running_loop(), self
        asked, last = {}, {}

        class Answers(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                number, code, found, _ = resolver.response(data)
                pair = asked.pop(number, None)
                if pair is None or atlas.NODE_AT[addr[0]] != pair[0]:
                    return
                last[pair] = time.monotonic()
                if code or not found:
                    watch.known.pop(("empty", *pair), None)
                    watch.note("empty", *pair, code)
                watch.note("dns", *pair, sorted(atlas.NODE_AT[at] for at in found))

            def error_received(self, exc):
                pass

        sock = self.spaces[FROM].socket(socket.SOCK_DGRAM)
        sock.bind((atlas.ADDRESSES[FROM], 0))
        line, _ = await loop.create_datagram_endpoint(Answers, sock=sock)
        number, due = random.randrange(1 << 16), time.monotonic()
        while True:
            for node in atlas.NODES:
                for place, zone in atlas.VISITORS.items():
                    number = (number + 1) % (1 << 16)
                    asked[number] = (node, zone)
                    line.sendto(resolver.query(number, atlas.SITE, atlas.ADDRESSES[place]), (atlas.ADDRESSES[node], atlas.DNS))
                    if time.monotonic() - last.setdefault((node, zone), time.monotonic()) > SILENCE:
                        self.note("dns", node, zone, None)
            due += ASK
            await asyncio.sleep(max(0, due - time.monotonic()))

    async def get(self, place, to, path, tls=None):
        """The body of an answer; none if there is none within a second."""
        loop = asyncio.get_running_loop()

        async def whole():
            sock = self.spaces[place].socket()
            try:
                await loop.sock_connect(sock, to)
            except BaseException:
                sock.close()
                raise
            # From here on it is the transport's to close.
            how = {"ssl": tls, "server_hostname": atlas.SITE} if tls else {}
            reader, writer = await asyncio.open_connection(sock=sock, **how)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: {atlas.SITE}\r\nconnection: close\r\n\r\n".encode())
                answer = await reader.read(-1)
                return json.loads(answer.partition(b"\r\n\r\n")[2])
            finally:
                writer.transport.abort()

        try:
            return await asyncio.wait_for(whole(), SILENCE)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            return None

    async def said(self, node):
        """What a node says to its operator."""
        while True:
            begun = time.monotonic()
            status = await self.get(node, ("127.0.0.1", atlas.ADMIN), "/status")
            health = status and [status["health"]["state"], *status["health"]["reasons"]]
            self.note("said", node, node, health)
            for peer in status["peers"] if status else []:
                self.note("said", node, "of " + peer["node"], peer["unfit"])
            if status:
                self.note("scrub", node, node, status["scrub"].get("found"))
            await asyncio.sleep(max(0, begun + LOOK - time.monotonic()))

    async def public(self, node):
        """What anyone is told."""
        while True:
            begun = time.monotonic()
            health = await self.get(FROM, (atlas.ADDRESSES[node], atlas.PORT), "/.well-known/difusor/health", self.tls)
            self.note("public", node, node, health and [health["state"], *health["reasons"]])
            await asyncio.sleep(max(0, begun + VISIT - time.monotonic()))

    async def fleet(self):
        """What the coordinator says."""
        while True:
            begun = time.monotonic()
            fleet = await self.get("home", ("127.0.0.1", atlas.API), "/api/v1/status")
            self.note("fleet", "home", "home", fleet is not None)
            for name, node in fleet["nodes"].items() if fleet else []:
                health = node["health"] or {}
                state = health.get("state") if node["connected"] else "not connected"
                self.note("fleet", "home", name, state)
            await asyncio.sleep(max(0, begun + LOOK - time.monotonic()))

    async def orders(self):
        """Answers lines until there are no more."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            self.log.flush()
            print('"written"', flush=True)

    async def run(self):
        """Until standard input ends."""
        tasks = [self.dns(), self.fleet()]
        tasks += [task(node) for node in atlas.NODES for task in (self.said, self.public)]
        tasks = [asyncio.create_task(task) for task in tasks]
        print('"ready"', flush=True)
        await self.orders()
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()


if __name__ == "__main__":
    asyncio.run(Watch(**json.loads(sys.argv[1])).run())
