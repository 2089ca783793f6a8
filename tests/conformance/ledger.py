"""Cases and what came of them: every failure in full, and one line for each suite.

A case is a function that raises when something is wrong. It is named by the section of the document that it is from.
"""

import os
import time
import traceback

VERBOSE = bool(os.environ.get("DIFUSOR_VERBOSE"))


class Wrong(AssertionError):
    """An answer that is not what it has to be."""


def require(truth, *said):
    """Raises what is said unless it is true."""
    if not truth:
        raise Wrong(" ".join(str(part) for part in said))


class Ledger:
    """Counts the cases of one suite."""

    def __init__(self, suite):
        self.suite = suite
        self.passed = 0
        self.failed = []
        self.known = []
        self.began = time.monotonic()

    def lacks(self, name, why, case, *arguments):
        """Runs a case that is known to fail, and why; that it passes is a failure of what is known."""
        try:
            case(*arguments)
        except Wrong as wrong:
            self.known.append(name)
            print(f"KNOWN  {self.suite} {name}\n       {why}: {wrong}", flush=True)
        else:
            self.failed.append(name)
            print(f"FAILED {self.suite} {name}\n       passes, and is marked as known to fail: {why}", flush=True)

    def run(self, name, case, *arguments):
        """Runs one case, and goes on whatever comes of it."""
        try:
            case(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            self.failed.append(name)
            said = str(error) if isinstance(error, Wrong) else "".join(traceback.format_exception(error))
            print(f"FAILED {self.suite} {name}\n       {said.rstrip()}", flush=True)
        else:
            self.passed += 1
            if VERBOSE:
                print(f"ok     {self.suite} {name}", flush=True)

    def end(self):
        """Prints the sum, and gives the exit code."""
        total = self.passed + len(self.failed) + len(self.known)
        known = f", {len(self.known)} known to fail" if self.known else ""
        print(f"{self.suite}: {self.passed} of {total}{known} ({time.monotonic() - self.began:.1f} s)", flush=True)
        return 1 if self.failed or not total else 0


class Suite:
    """Cases that are written down with `@suite("6.5", "what")` and run later.

    `known` says why one is known to fail: a limit of a library, told in full with every run.
    """

    def __init__(self):
        self.cases = []
        self.known = {}

    def __call__(self, section, what, known=None):
        def keep(case):
            name = f"{section} {what}"
            self.cases.append((name, case))
            if known:
                self.known[name] = known
            return case

        return keep
