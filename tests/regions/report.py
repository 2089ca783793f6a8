"""Figures of a failure from what the observers wrote down, and the table of all of them."""

import collections
import dataclasses
import json
import os
import statistics

import atlas

GOAL_DETECT, GOAL_DNS, BOUND_DNS = 3.0, 5.0, 15.0
"""Seconds: what is aimed at, and what has to hold."""
SLOW = 1.0


@dataclasses.dataclass
class Row:
    """One failure; seconds from its beginning."""

    failure: str
    first: float | None = None
    """Until the first other node, or the node itself, knows."""
    last: float | None = None
    """Until all other nodes that live do."""
    coordinator: float | None = None
    dns: dict = dataclasses.field(default_factory=dict)
    """Until each server has stopped naming it; none if it has not."""
    requests: int = 0
    failed: int = 0
    worst: int = 0
    """Failed requests of the visitor who had most."""
    again: int = 0
    """Requests for which all addresses were tried in vain, once at least."""
    slow: int = 0
    backwards: int = 0
    mixed: int = 0
    empty: int = 0
    """DNS answers without an address."""
    unfit: list = dataclasses.field(default_factory=list)
    """Whom it was said of that it is unfit, and who is no victim."""
    reasons: list = dataclasses.field(default_factory=list)
    """What victims say of themselves."""
    healed: float | None = None
    load: float = 0.0
    wrong: list = dataclasses.field(default_factory=list)
    """What had to hold, and did not."""


def measure(row, failure, watch, visits, begun, healing, ended):
    """Fills a row from the lines of both observers."""
    victims = set(failure.victims)
    within = [line for line in watch.lines if begun <= line[0] <= ended]
    failing = [line for line in within if line[0] <= healing]
    known = {}
    for at, what, who, about, value in failing:
        is_of = what == "said" and about.removeprefix("of ") in victims
        if is_of and who not in victims and about.startswith("of ") and value:
            known.setdefault((who, about), at - begun)
        if what == "said" and who == about and who in victims and value and value != ["ready"]:
            row.reasons += [reason for reason in value[1:] if reason not in row.reasons]
            known.setdefault((who, who), at - begun)
        if what == "scrub" and who in victims and value:
            known.setdefault((who, who), at - begun)
        if what == "fleet" and about in victims and value not in (None, "ready", "degraded") and row.coordinator is None:
            row.coordinator = at - begun
    of_others = [at for (who, _), at in known.items() if who not in victims]
    row.first = min(known.values(), default=None)
    row.last = max(of_others) if len(of_others) == len(victims) * (len(atlas.NODES) - len(victims)) and victims else None
    row.unfit = sorted({
        f"{about.removeprefix('of ')} {value} by {who}"
        for _, what, who, about, value in within
        if what == "said" and about.startswith("of ") and value and about[3:] not in victims
        # Whoever is cut off, or comes back, takes the others for gone.
        and who not in victims
    })
    row.empty = sum(line[1] == "empty" for line in within)
    if failure.leaves:
        row.dns = _left(watch.lines, failure, begun, healing)
    count(row, visits, begun, ended)


def count(row, visits, begun, ended):
    """Requests that began in this time."""
    of_each = collections.Counter()
    for at, until, visitor, outcome, _, _, rounds in visits.lines:
        if begun <= at <= ended:
            row.requests += 1
            row.slow += until - at > SLOW
            row.failed += outcome == "failed"
            row.again += rounds > 1
            row.backwards += outcome == "backwards"
            row.mixed += outcome == "mixed"
            of_each[visitor] += outcome == "failed"
    row.worst = max(of_each.values(), default=0)


def _left(lines, failure, begun, healing):
    """For each server that can be heard: from when on none of its answers names a victim."""
    left, naming = {}, {}
    for at, what, server, zone, value in lines:
        if what != "dns" or at > healing or (failure.is_mute and server in failure.victims) or value is None:
            continue
        names = bool(set(value) & set(failure.victims))
        if names:
            naming[server, zone], left[server, zone] = True, None
        elif naming.get((server, zone), True):
            naming[server, zone], left[server, zone] = False, at
    servers = {}
    for (server, _), at in left.items():
        found = None if at is None else max(0.0, at - begun)
        worst = servers.get(server, 0.0)
        servers[server] = None if found is None or worst is None else max(worst, found)
    return servers


def judge(row, failure):
    """Notes what had to hold and did not."""
    wrong = row.wrong
    if row.backwards or row.mixed:
        wrong.append(f"{row.backwards} answers of an older cut, {row.mixed} that are not of one cut")
    if row.empty:
        wrong.append(f"{row.empty} DNS answers without an address")
    if failure.leaves and (not row.dns or any(at is None or at > BOUND_DNS for at in row.dns.values())):
        wrong.append(f"DNS goes on naming it: {row.dns}")
    if failure.fits and row.unfit:
        wrong.append(f"false failover: {', '.join(row.unfit)}")
    if failure.fits and failure.name.startswith("`kill -9` of the coordinator") and row.failed:
        wrong.append(f"{row.failed} requests failed")
    if row.healed is None:
        wrong.append("it did not converge")


def seconds(value):
    """As it stands in the table."""
    return "-" if value is None else f"{value:.1f}"


def table(rows):
    """All rows in Markdown, and how the goals were met."""
    lines = [
        "| failure | known to the first / to all nodes, s | coordinator, s | out of DNS, median / worst of servers, s "
        "| requests: failed (worst visitor), all addresses once in vain, slower than 1 s, all | older or mixed answers | well again after, s | load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        dns = [at for at in row.dns.values() if at is not None]
        never = len(row.dns) - len(dns)
        out = f"{statistics.median(dns):.1f} / {max(dns):.1f}" if dns else "-"
        out += f", {never} never" if never else ""
        lines.append(
            f"| {row.failure} | {seconds(row.first)} / {seconds(row.last)} | {seconds(row.coordinator)} | {out} "
            f"| {row.failed} ({row.worst}), {row.again}, {row.slow}, {row.requests} | {row.backwards + row.mixed} "
            f"| {seconds(row.healed)} | {row.load:.1f} |"
        )
    return "\n".join(lines)


def missed(rows):
    """The goals that were missed, one a line."""
    said = []
    for row in rows:
        late = [at for at in row.dns.values() if at is None or at > GOAL_DNS]
        if row.last is not None and row.last > GOAL_DETECT:
            said.append(f"{row.failure}: known to all after {row.last:.1f} s, the goal is {GOAL_DETECT:.0f}")
        if late:
            said.append(f"{row.failure}: {len(late)} of {len(row.dns)} servers name it for longer than {GOAL_DNS:.0f} s")
        if row.worst > 1:
            said.append(f"{row.failure}: {row.worst} failed requests of one visitor, the goal is 1")
    return said


def write(path, rows, facts):
    """Everything as JSON."""
    with open(path, "w") as file:
        json.dump({"rows": [dataclasses.asdict(row) for row in rows], **facts}, file, indent=1)
        file.write("\n")


def load():
    """The load of the last minute."""
    return os.getloadavg()[0]
