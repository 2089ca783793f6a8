"""What requests mean (RFC 9110): the same ones to the node and to other servers, and the answers compared.

Compared are the status, Content-Range, where a redirect leads, and for success the length and every byte; parts of
multipart/byteranges one by one, because boundaries are each server's own. What the node has to answer stands in the
table of `cases`, and every deliberate difference in that of `differences`, with its reason: an answer that differs in
any other way fails.
"""

import datetime
import sys
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import cases
import differences
import target
from ledger import Ledger, require
from package import DIGITS, FILES, address
from wire import Wire


def dates(modified):
    """Last-Modified of a server in all the ways in which a client may write it, and dates around it."""
    moment = parsedate_to_datetime(modified)
    at = moment.timestamp()
    return {
        "date": modified,
        "older": formatdate(at - 3600, usegmt=True),
        "newer": formatdate(at + 3600, usegmt=True),
        "date850": moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        "dateasc": moment.strftime("%a %b ") + f"{moment.day:2}" + moment.strftime(" %H:%M:%S %Y"),
    }


class Server:
    """A server, and what it calls its files."""

    def __init__(self, where):
        self.where = where
        self.is_node = where.name == "node"
        self.names = {}

    def named(self, path):
        """Tag and dates of a file."""
        if path not in self.names:
            with Wire(self.where) as wire:
                wire.send(f"GET {path} HTTP/1.1\r\nHost: {self.where.host}\r\n\r\n".encode())
                answer = wire.answer()
            tag = answer.field("etag")
            if answer.status != 200 or not tag:
                self.names[path] = {}
            else:
                self.names[path] = {"tag": tag, "weak": f"W/{tag}", "bare": tag.strip('"')}
                self.names[path] |= dates(answer.field("last-modified"))
        return self.names[path]

    def ask(self, case):
        """The answer to a request. On a connection that stays, the next answer has to begin where this one ends."""
        names = self.named(case.path) if any("{" in line for line in case.fields) else {}
        fields = [f"Host: {self.where.host}", *(line.format(**names) for line in case.fields)]
        if case.version == "1.0":
            fields = fields[1:]
        lines = [f"{case.method} {case.target(self.where.host)} HTTP/{case.version}", *fields, "", ""]
        with Wire(self.where) as wire:
            wire.send("\r\n".join(lines).encode("latin-1"))
            answer = wire.answer(case.method)
            while answer.status < 200:
                answer = wire.answer(case.method)
            if self.is_node and case.version == "1.1" and answer.field("connection") != "close":
                wire.send(f"GET /nothing-is-here HTTP/1.1\r\nHost: {self.where.host}\r\n\r\n".encode())
                require(wire.answer().status == 404, "the answer is longer or shorter than it says")
        return answer


def outcome(answer, case, where):
    """What of an answer has to be the same everywhere."""
    location = answer.field("location")
    path = urlsplit(urljoin(f"https://{where.host}{case.path}", location)).path if location else None
    seen = {"status": answer.status, "content-range": answer.field("content-range"), "location": path}
    if answer.status in (200, 206) and case.method in ("GET", "HEAD"):
        parts = answer.parts() if case.method == "GET" else None
        seen["parts"] = parts
        if parts is None:
            seen["content-length"] = answer.field("content-length")
            seen["body"] = answer.body
    return seen


def short(seen):
    """For people."""

    def cut(value):
        text = repr(value)
        return text if len(text) < 100 else f"{text[:60]}… ({len(value)})"

    return ", ".join(f"{key} {cut(value)}" for key, value in seen.items() if value is not None)


def well_formed(answer, case):
    """What every answer of the node has, whatever was asked."""
    for name in ("date", "cache-control"):
        require(answer.field(name), f"no {name}")
    age = datetime.datetime.now(datetime.timezone.utc) - parsedate_to_datetime(answer.field("date"))
    require(abs(age.total_seconds()) < 60, "Date is not now:", answer.field("date"))
    require(answer.field("transfer-encoding") is None, "chunked without need")
    length = answer.field("content-length")
    if answer.status != 304:
        require(length is not None, "no content-length")
    if answer.body or case.method != "HEAD":
        require(answer.status == 304 or int(length) == len(answer.body), "content-length", length, len(answer.body))
    if answer.status in (200, 206, 304) and case.method in ("GET", "HEAD"):
        for name in ("etag", "last-modified", "accept-ranges"):
            require(answer.field(name), f"{answer.status} without {name}")
    if answer.status == 405:
        require(answer.field("allow"), "405 without allow (RFC 9110 section 15.5.6)")
    if answer.status == 416:
        require(answer.field("content-range"), "416 without content-range (RFC 9110 section 15.5.17)")


def whole_file(answer, case):
    """The bytes are those of the package, not only those of other servers."""
    name = next((name for name in FILES if address(name) == case.path), None)
    if name is None or answer.status not in (200, 206) or case.method != "GET":
        return
    content = FILES[name]
    if answer.status == 200:
        require(answer.body == content, "not the bytes of the package")
        return
    parts = answer.parts() or [(answer.field("content-range"), answer.body)]
    for place, part in parts:
        first, last = place.removeprefix("bytes ").split("/")[0].split("-")
        require(place.endswith(f"/{len(content)}"), "another length:", place)
        require(part == content[int(first) : int(last) + 1] != b"", "not the bytes of the package:", place)


def check(case, node, peers):
    """One request to all servers."""
    answer = node.ask(case)
    mine = outcome(answer, case, node.where)
    require(mine["status"] == case.status, f"node: {short(mine)}; expected {case.status}")
    if case.place is not None:
        require(mine["content-range"] == case.place, f"node: {short(mine)}; expected {case.place}")
    well_formed(answer, case)
    whole_file(answer, case)
    told = []
    for peer in peers:
        theirs = outcome(peer.ask(case), case, peer.where)
        listed = differences.find(peer.where.name, case.title)
        if mine == theirs:
            if listed:
                print(f"note: {peer.where.name} does not differ any more: {case.title}")
        elif listed is None:
            told.append(f"{peer.where.name}: {short(theirs)}")
        elif theirs["status"] != listed.status:
            told.append(f"{peer.where.name}: {short(theirs)}; listed as {listed.status}, {listed.reason}")
    require(not told, "\n       ".join([f"node: {short(mine)}", *told]))


def coded(node):
    """Forms in a coding: the same bytes once decoded, a tag of their own, and Vary (RFC 9110 section 12.5.5)."""
    import gzip

    path, plain = address(DIGITS), FILES[DIGITS]
    tags = set()
    for accept, coding in (("identity", None), ("gzip", "gzip"), ("gzip;q=0, identity", None), ("x-gzip", "gzip")):
        case = cases.Case(f"coded {accept}", "GET", path, 200, [f"Accept-Encoding: {accept}"])
        answer = node.ask(case)
        require(answer.status == 200 and answer.field("content-encoding") == coding, accept, answer.fields)
        require("accept-encoding" in (answer.field("vary") or "").lower(), "no vary")
        body = gzip.decompress(answer.body) if coding else answer.body
        require(body == plain, f"{accept}: other bytes")
        tags.add((coding, answer.field("etag")))
    require(len(tags) == 2, "forms share a tag, or change it:", tags)


def main():
    ledger = Ledger("semantics")
    node = Server(target.node())
    peers = [Server(peer) for peer in target.peers()]
    for case in cases.ALL:
        ledger.run(case.title, check, case, node, peers)
    ledger.run("RFC 9110 section 8.8.3.3: forms in a coding", coded, node)
    require(len({case.title for case in cases.ALL}) == len(cases.ALL), "two requests of one name")
    listed = sum(len(difference.titles) for difference in differences.ALL)
    print(f"{len(cases.ALL)} requests, {len(peers)} other servers, {listed} deliberate differences")
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main())
