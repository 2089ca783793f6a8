"""Where everything is: zones with two nodes each, the coordinator, and visitors at some way from all of them."""

# Round trips, milliseconds. `home` is the coordinator's; `in-…` are networks of visitors, and no part of any zone.
ROUND_TRIPS = {
    ("mx-central", "us-south"): 40,
    ("mx-central", "eu-west"): 150,
    ("us-south", "eu-west"): 110,
    ("home", "mx-central"): 30,
    ("home", "us-south"): 60,
    ("home", "eu-west"): 200,
    ("in-mx", "mx-central"): 20,
    ("in-mx", "us-south"): 50,
    ("in-mx", "eu-west"): 160,
    ("in-us", "mx-central"): 50,
    ("in-us", "us-south"): 20,
    ("in-us", "eu-west"): 120,
    ("in-eu", "mx-central"): 160,
    ("in-eu", "us-south"): 120,
    ("in-eu", "eu-west"): 20,
}
WITHIN = 1
"""Round trip within a zone."""
RATE, QUEUE = 12_500_000, 2_000_000
"""Of each direction between two zones: bytes a second, and how many may wait."""

ZONES = ("mx-central", "us-south", "eu-west")
NODES = {f"{zone.split('-')[0]}-{n}": zone for zone in ZONES for n in (1, 2)}
"""The zone of each node."""
ADDRESSES = {
    "mx-1": "10.88.1.1", "mx-2": "10.88.1.2", "us-1": "10.88.2.1", "us-2": "10.88.2.2", "eu-1": "10.88.3.1",
    "eu-2": "10.88.3.2", "home": "10.88.9.1", "in-mx": "10.88.11.1", "in-us": "10.88.12.1", "in-eu": "10.88.13.1",
}  # fmt: skip
NODE_AT = {ADDRESSES[node]: node for node in NODES}
VISITORS = {"in-mx": "mx-central", "in-us": "us-south", "in-eu": "eu-west"}
"""Networks of visitors, and the zone that is nearest to each."""
WHERE = {"mx-central": (19.4, -99.1), "us-south": (29.4, -98.5), "eu-west": (53.3, -6.3)}

SITE = "results.test"
TTL = 5

PORT, API, ADMIN, PEERS, MESH, DNS = 443, 8400, 8401, 8445, 8440, 53


def zone_of(place):
    """The zone of a namespace."""
    return NODES.get(place, place)


def paths():
    """What the WAN is told at the start."""
    between = [
        [one, other, {"delay": ms / 2000, "rate": RATE, "queue": QUEUE}] for (one, other), ms in ROUND_TRIPS.items()
    ]
    return between + [[zone, zone, {"delay": WITHIN / 2000}] for zone in ZONES]
