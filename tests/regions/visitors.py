"""People who look at the site, and write down each request, a line of JSON: [begun, ended, visitor, outcome, node, cut, rounds].

Each asks five times a second, over a connection that is kept for ten requests. Addresses come from a DNS server of the zone,
the next one if it is silent for half a second, and are kept as long as they may be; they come in any order, as resolvers hand
them out. As browsers do (RFC 8305), a visitor begins a connection to the next of them when the last has not come about for a
quarter of a second, and takes the first that does. A connection on which no answer comes for a second is given up, or for three
if it has just come about; then all addresses are tried again, until ten seconds have passed: for so long people wait (Nielsen
1993, Usability Engineering, 5.5).
Then the request has failed. `rounds` says how often all were tried. The outcome is `fine`; `failed`, with why in the place of
the node; `mixed`, if the bytes are not those that the cut has; or `backwards`, if the cut is older than one that this visitor
has seen.

    python3 visitors.py '{"prefix": …, "authority": …, "log": …, "each": 8}'
"""

import asyncio
import hashlib
import json
import random
import socket
import ssl
import sys
import time

import atlas
import package
import resolver
from space import Space

EVERY = 0.2
KEPT = 10
NEXT, PATIENCE, PATIENCE_FRESH, PATIENCE_DNS, PATIENCE_OF_ALL = 0.25, 1.0, 3.0, 0.5, 10.0


def abandon(task):
    """Ends a connection that nobody waits for any more, if it came about after all."""
    if not task.cancelled() and not task.exception():
        task.result()[2].transport.abort()


class Visitor:
    """One of them."""

    def __init__(self, name, place, space, tls, log):
        self.name, self.place, self.space, self.tls, self.log = name, place, space, tls, log
        self.dice = random.Random(name)
        # The nearest servers first, as resolvers come to know them.
        near = atlas.VISITORS[place]
        self.servers = sorted(atlas.NODES, key=lambda node: (self._away(atlas.NODES[node]), self.dice.random()))
        assert atlas.NODES[self.servers[0]] == near
        self.addresses, self.good_until = [], 0.0
        self.connection, self.left, self.seen, self.rounds = None, 0, 0, 0

    def _away(self, zone):
        return atlas.ROUND_TRIPS[self.place, zone]

    async def resolve(self):
        """The addresses of the site, the best first."""
        if time.monotonic() < self.good_until:
            return self.addresses
        for server in list(self.servers):
            try:
                found, ttl = await asyncio.wait_for(self._ask(server), PATIENCE_DNS)
            except (OSError, asyncio.TimeoutError):
                # It is asked again when all others were silent, too.
                self.servers.remove(server)
                self.servers.append(server)
                continue
            if found:
                self.addresses, self.good_until = found, time.monotonic() + ttl
                return found
        raise ConnectionError("no DNS server answers")

    async def _ask(self, server):
        loop, number = asyncio.get_running_loop(), self.dice.randrange(1 << 16)
        sock = self.space.socket(socket.SOCK_DGRAM)
        try:
            sock.connect((atlas.ADDRESSES[server], atlas.DNS))
            await loop.sock_sendall(sock, resolver.query(number, atlas.SITE))
            while True:
                came, _, found, ttl = resolver.response(await loop.sock_recv(sock, 2048))
                if came == number:
                    return found, ttl
        finally:
            sock.close()

    async def connect(self, address):
        """A connection to an address."""
        sock = self.space.socket()
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, atlas.PORT))
        except BaseException:
            sock.close()
            raise
        # From here on it is the transport's to close.
        reader, writer = await asyncio.open_connection(sock=sock, ssl=self.tls, server_hostname=atlas.SITE)
        return address, reader, writer

    async def race(self, addresses, until):
        """The first connection that comes about; what became of the others."""
        begun, left, why = {}, list(addresses), []
        try:
            while left or begun:
                if left:
                    address = left.pop(0)
                    begun[asyncio.create_task(self.connect(address))] = address
                wait = min(NEXT, until - time.monotonic()) if left else until - time.monotonic()
                if wait <= 0:
                    break
                done, _ = await asyncio.wait(begun, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    node = atlas.NODE_AT[begun.pop(task)]
                    if not task.exception():
                        return task.result(), why
                    why.append(f"{node}: {type(task.exception()).__name__}")
            why += [f"{atlas.NODE_AT[address]}: silent" for address in begun.values()]
            return None, why
        finally:
            for task in begun:
                task.cancel()
                task.add_done_callback(abandon)

    async def get(self, name):
        """Status, cut and body over the connection that there is."""
        _, reader, writer = self.connection
        self.left -= 1
        writer.write(f"GET /{name} HTTP/1.1\r\nhost: {atlas.SITE}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            self.left = 0
        return int(head[0].split()[1]), int(fields.get("difusor-cut", "/0").rpartition("/")[2]), body

    def hang_up(self):
        """Ends the connection, if there is one."""
        if self.connection:
            self.connection[2].transport.abort()
            self.connection = None

    async def request(self, name):
        """One request: over the connection that is kept, or over a new one."""
        why, until, self.rounds = [], time.monotonic() + PATIENCE_OF_ALL, 0
        while time.monotonic() < until:
            if not self.connection:
                self.rounds += 1
                try:
                    addresses = list(await self.resolve())
                except ConnectionError as error:
                    # All were asked; a resolver goes on.
                    why.append(str(error))
                    continue
                self.dice.shuffle(addresses)
                self.connection, lost = await self.race(addresses, until)
                self.left = KEPT
                why += lost
                if not self.connection:
                    # Nobody asks again at once.
                    await asyncio.sleep(0.1)
                    continue
            node = atlas.NODE_AT[self.connection[0]]
            try:
                patience = PATIENCE_FRESH if self.left == KEPT else PATIENCE
                return await asyncio.wait_for(self.get(name), min(patience, until - time.monotonic()))
            except asyncio.TimeoutError:
                why.append(f"{node}: no answer")
            except (OSError, EOFError, KeyError, ValueError) as error:
                why.append(f"{node}: {type(error).__name__}")
            self.hang_up()
        raise ConnectionError(", ".join(why))

    async def visit(self):
        """For ever."""
        await asyncio.sleep(self.dice.random() * EVERY)
        while True:
            begun = time.monotonic()
            name = self.dice.choice(package.ASKED)
            where, cut = "", 0
            try:
                status, cut, body = await self.request(name)
                where = atlas.NODE_AT[self.connection[0]]
                if status != 200:
                    # What a browser would show.
                    outcome, where = "failed", f"{where}: {status}"
                elif hashlib.sha256(body).digest() != package.digest(cut, name):
                    outcome = "mixed"
                elif cut < self.seen:
                    outcome = "backwards"
                else:
                    outcome, self.seen = "fine", cut
            except ConnectionError as error:
                outcome, where = "failed", str(error)
            self.log.write(json.dumps([begun, time.monotonic(), self.name, outcome, where, cut, self.rounds]) + "\n")
            if self.left == 0:
                self.hang_up()
            await asyncio.sleep(max(0, begun + EVERY - time.monotonic()))


async def main(prefix, authority, log, each):
    """Until standard input ends; a line on it is answered when everything before it is written."""
    tls, log = ssl.create_default_context(cafile=authority), open(log, "w")
    visitors = []
    for place in atlas.VISITORS:
        space = Space(prefix + place)
        visitors += [Visitor(f"{place}/{n}", place, space, tls, log) for n in range(each)]
    tasks = [asyncio.create_task(visitor.visit()) for visitor in visitors]
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print('"ready"', flush=True)
    while await reader.readline():
        for task in tasks:
            if task.done():
                task.result()
        log.flush()
        print('"written"', flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
