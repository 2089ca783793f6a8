"""Runs all cases against the node; with `--peer NAME`, against another server, to see what a case is worth."""

import sys

import target
from ledger import Ledger

from . import abuse, client, connection, fields, flow, hpack_cases, requests, streams

SUITES = (connection, streams, flow, requests, fields, hpack_cases, abuse)


def run(case, where):
    """One case, with as many connections as it likes."""
    lines = []

    def dial(*pairs, **more):
        line = client.Connection(where, pairs, **more)
        lines.append(line)
        return line

    try:
        case(dial)
    finally:
        for line in lines:
            line.close()


def main(arguments):
    where = target.node()
    if arguments[:1] == ["--peer"]:
        where = next(peer for peer in target.peers() if peer.name == arguments[1])
    ledger = Ledger("h2")
    for suite in SUITES:
        for name, case in suite.case.cases:
            ledger.run(name, run, case, where)
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
