"""Runs the failures, one after another, on one mesh, under the eyes of visitors and observers."""

import threading
import time
import traceback

import failures
import report
from log import Log, still_named

EACH = 8
"""Visitors in each of the three networks."""
LATER = 3.0
"""Seconds into a failure at which the next cut is published."""


def observe(rig):
    """Starts everyone who looks on."""
    about = {"prefix": rig.places.prefix, "authority": rig.authority}
    rig.visits = Log(
        rig.helper("visitors.py", {**about, "log": f"{rig.folder}/visits.jsonl", "each": EACH}), f"{rig.folder}/visits.jsonl"
    )
    rig.watch = Log(rig.helper("watch.py", {**about, "log": f"{rig.folder}/watch.jsonl"}), f"{rig.folder}/watch.jsonl")
    rig.watch_until_named()


def one(rig, failure):
    """Makes one fail, heals it, and says what was seen."""
    row = report.Row(failure.name)
    steps = failure.make(rig)
    try:
        given = next(steps)
        begun = given or time.monotonic()
        row.load = report.load()
        lasts = next(steps)
        end = time.monotonic() + lasts
        publishing = None
        if failure.publishes:
            publishing = threading.Timer(LATER, rig.publish)
            publishing.start()
        time.sleep(max(0.0, end - time.monotonic()))
        while failure.leaves and time.monotonic() < begun + report.BOUND_DNS + 1.0 and still_named(rig.watch, failure):
            time.sleep(0.2)
        if publishing:
            publishing.join()
        healing = time.monotonic()
        for _ in steps:
            pass
        if "home" in rig.processes:
            rig.converge()
            rig.watch_until_named()
            row.healed = time.monotonic() - healing
        else:
            row.healed = 0.0
    except Exception:
        traceback.print_exc()
        row.wrong.append("it could not be made or healed")
        healing = healing if "healing" in locals() else time.monotonic()
        print("".join(rig.log_end(name) for name in ("home", *failure.victims)))
    # What is under way is seen to its end.
    time.sleep(1.0)
    ended = time.monotonic()
    rig.watch.read()
    rig.visits.read()
    report.measure(row, failure, rig.watch, rig.visits, begun, healing, ended)
    report.judge(row, failure)
    return row


def run(rig, names, full):
    """All that are asked for; gives their rows."""
    observe(rig)
    rows = []
    for failure in failures.ALL:
        if names and failure.make.__name__ not in names or not names and not (full or failure.is_quick):
            continue
        row = one(rig, failure)
        rows.append(row)
        worst = max(row.dns.values(), key=lambda at: at or report.BOUND_DNS, default=None)
        told = f"known {report.seconds(row.first)} / {report.seconds(row.last)} s, DNS {report.seconds(worst)} s"
        why = f" ({', '.join(row.reasons)})" if row.reasons else ""
        print(f"{'FAILED ' if row.wrong else 'ok     '} {failure.name}: {told}, {row.failed} failed{why}", flush=True)
        for what in row.wrong:
            print(f"        {what}", flush=True)
    return rows
