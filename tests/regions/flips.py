"""How far apart nodes show a new cut, seen from beside each of them."""

import statistics
import threading
import time

import atlas
import report
from space import Helper

CUTS = 20
GOAL = 0.150


def seen(rig):
    """When the coordinator saw each node show each cut, from home, seconds, by cut."""
    cuts = {}
    for cut in rig.fleet()["cuts"]:
        found = {node: progress.get("seen") for node, progress in cut["nodes"].items()}
        cuts[cut["cut"]["seq"]] = {node: at for node, at in found.items() if at}
    return cuts


def compare(rig, shown):
    """What the coordinator saw, beside what was seen from beside each node: no further apart than it says it may be off."""
    told, off, blur = 0, 0.0, 0.0
    for cut, nodes in seen(rig).items():
        for node, at in nodes.items():
            if node in shown.get(cut, {}):
                apart = abs(at["at_us"] / 1e6 - shown[cut][node])
                # From beside, it is known to the 5 ms from one look to the next.
                assert apart <= at["blur_us"] / 1e6 + 0.025, (cut, node, at, shown[cut][node])
                told, off, blur = told + 1, max(off, apart), max(blur, at["blur_us"] / 1e6)
    skews = sorted(cut["seen_skew_us"] / 1e3 for cut in rig.fleet()["cuts"] if cut.get("seen_skew_us") is not None)
    assert told >= 0.8 * CUTS * len(atlas.NODES), f"{told} changes were seen by the coordinator"
    print(
        f"        the coordinator saw {told} of {CUTS * len(atlas.NODES)} changes, at most {off * 1000:.0f} ms from when they were "
        f"(it says {blur * 1000:.0f} at most), the nodes {statistics.median(skews):.0f} ms apart in the median, {skews[-1]:.0f} at most"
    )


def measure(rig):
    """all nodes show a new cut together"""
    lookers = {}
    try:
        for node in atlas.NODES:
            about = {"namespace": rig.places.name(node), "node": node, "authority": rig.authority}
            lookers[node] = Helper("look.py", about)
        skews, load, shown = [], report.load(), {}
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
            shown[rig.cut] = {node: answers[node]["at"] for node in lookers}
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
    compare(rig, shown)
    rig.converge()
