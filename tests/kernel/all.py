"""Runs the parts: each case in turn, in one set of namespaces, named when it fails."""

import sys
import traceback

import base
import blocklist
from rig import Rig

PARTS = {"blocklist": blocklist, "base": base}


def main(names):
    failed = []
    with Rig() as rig:
        for name in names or PARTS:
            cases = [case for key, case in vars(PARTS[name]).items() if key.startswith("case_")]
            for case in cases:
                what = f"{name}: {case.__doc__.splitlines()[0]}"
                try:
                    case(rig)
                    print(f"ok      {what}", flush=True)
                except Exception:
                    failed.append(what)
                    print(f"FAILED  {what}\n{traceback.format_exc()}{rig.log_end()}", flush=True)
                finally:
                    rig.stop()
    print(f"kernel: FAILED: {len(failed)}" if failed else "kernel: all parts pass")
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
