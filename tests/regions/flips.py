"""How far apart nodes show a new cut, seen from beside each of them."""

import statistics
import threading
import time

import atlas
import report
from space import Helper

CUTS = 20
GOAL = 0.150


def measure(rig):
    """all nodes show a new cut together"""
    lookers = {}
    try:
        for node in atlas.NODES:
            about = {"namespace": rig.places.name(node), "node": node, "authority": rig.authority}
            lookers[node] = Helper("look.py", about)
        skews, load = [], report.load()
        for _ in range(CUTS):
            answers = {}
            after = rig.cut

            def look(node, after=after, answers=answers):
                answers[node] = lookers[node].ask({"after": after})

            threads = [threading.Thread(target=look, args=[node]) for node in lookers]
            for thread in threads:
                thread.start()
            rig.publish()
            for thread in threads:
                thread.join()
            assert all(answers[node]["cut"] == rig.cut for node in lookers), answers
            first = [answers[node]["at"] for node in lookers]
            skews.append(max(first) - min(first))
            time.sleep(0.2)
    finally:
        for looker in lookers.values():
            looker.close()
    skews.sort()
    p99 = skews[min(len(skews) - 1, round(0.99 * len(skews)))]
    rig.facts["skew_ms"] = [round(skew * 1000, 1) for skew in skews]
    print(
        f"        {CUTS} flips, six nodes asked every 5 ms: from the first to the last that shows a cut "
        f"{statistics.median(skews) * 1000:.0f} ms in the median, p99 {p99 * 1000:.0f}, most {skews[-1] * 1000:.0f} (load {load:.1f})"
    )
    if p99 > GOAL:
        rig.facts.setdefault("missed", []).append(f"flips: {p99 * 1000:.0f} ms apart at p99, the goal is {GOAL * 1000:.0f}")
    rig.converge()
