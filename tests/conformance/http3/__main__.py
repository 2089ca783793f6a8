"""Runs all cases against the node."""

import sys

import target
from ledger import Ledger

from . import answers, client, control, requests, transport


class Dial:
    """Opens connections, and closes them when a case is over."""

    def __init__(self, where):
        self.target = where
        self.lines = []

    def __call__(self, **more):
        line = client.Connection(self.target, **more)
        self.lines.append(line)
        return line

    def close(self):
        for line in self.lines:
            line.close()


def run(case, where):
    """One case, with as many connections as it likes."""
    dial = Dial(where)
    try:
        case(dial)
    finally:
        dial.close()


def main():
    where = target.node()
    ledger = Ledger("h3")
    for suite in (answers, requests, control, transport):
        for name, case in suite.case.cases:
            if name in suite.case.known:
                ledger.lacks(name, suite.case.known[name], run, case, where)
            else:
                ledger.run(name, run, case, where)
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main())
