"""Runs the parts, and says what was measured."""

import argparse
import sys
import time
import traceback

import failures
import flips
import regions
import report
import speed
from rig import Rig


def main():
    """The command line."""
    known = {"wan", "flips", *(failure.make.__name__ for failure in failures.ALL)}
    parser = argparse.ArgumentParser(prog="tests/regions/run")
    parser.add_argument("parts", nargs="*", help="all quick ones, if none is named")
    parser.add_argument("--full", action="store_true", help="the long ones, too")
    parser.add_argument("--json", help="write everything that was measured to this file")
    args = parser.parse_args()
    if unknown := set(args.parts) - known:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    begun, wrong, rows = time.monotonic(), [], []
    wanted = [name for name in args.parts if name not in ("wan", "flips")]
    with Rig() as rig:
        if not args.parts or "wan" in args.parts:
            for case in (speed.case_paths, speed.case_speed):
                wrong += attempt(f"wan: {case.__doc__}", case, rig)
        if not args.parts or wanted or "flips" in args.parts:
            rig.start_mesh()
        if not args.parts or "flips" in args.parts:
            wrong += attempt(f"flips: {flips.measure.__doc__.splitlines()[0]}", flips.measure, rig)
        if not args.parts or wanted:
            rows = regions.run(rig, wanted, args.full)
            wrong += [f"{row.failure}: {what}" for row in rows for what in row.wrong]
        rig.facts["wan"] = rig.network.ask({"count": True})
    if rows:
        print(f"\n{report.table(rows)}\n")
    for what in report.missed(rows) + rig.facts.get("missed", []):
        print(f"goal missed: {what}")
    if args.json:
        report.write(args.json, rows, rig.facts)
    print(f"regions: FAILED: {len(wrong)}" if wrong else "regions: all parts pass", f"({time.monotonic() - begun:.0f} s)")
    return 1 if wrong else 0


def attempt(what, case, rig):
    """Runs a case; its name, if it fails."""
    try:
        case(rig)
        print(f"ok      {what}", flush=True)
        return []
    except Exception:
        print(f"FAILED  {what}\n{traceback.format_exc()}", flush=True)
        return [what]


if __name__ == "__main__":
    sys.exit(main())
