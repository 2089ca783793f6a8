"""What fails, and how it is healed.

Each failure is a generator: what comes before its first `yield` prepares it, what comes then makes it, the second `yield` gives
the seconds for which it lasts (longer, until DNS has seen it), and what is left heals it. The first may give the moment from
which it counts, if that is not when it was made.
"""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Sequence

import wounds
from rig import until


@dataclasses.dataclass
class Failure:
    """One of them."""

    make: Callable
    victims: Sequence[str]
    name: str
    is_mute: bool
    """True if victims answer no DNS, or reach nobody with it."""
    leaves: bool
    """True if victims are to leave DNS."""
    publishes: bool
    is_quick: bool
    fits: bool
    """True if nobody may be taken for unfit at all."""


ALL = []


def failure(*victims, is_mute=False, leaves=True, publishes=True, is_quick=True, fits=False):
    """Adds one; its first line says what it is."""

    def add(make):
        ALL.append(Failure(make, victims, make.__doc__.splitlines()[0], is_mute, leaves, publishes, is_quick, fits))
        return make

    return add


@failure("us-1", is_mute=True)
def node(rig):
    """`kill -9` of a node"""
    yield
    rig.kill("us-1")
    yield 8
    rig.start("us-1")


@failure("mx-1", "mx-2", is_mute=True)
def zone(rig):
    """`kill -9` of a zone, both nodes"""
    yield
    rig.kill("mx-1", "mx-2")
    yield 8
    rig.start("mx-1")
    rig.start("mx-2")


@failure(leaves=False, publishes=False, fits=True)
def coordinator(rig):
    """`kill -9` of the coordinator"""
    yield
    rig.kill("home")
    yield 6


@failure("eu-1", is_mute=True, publishes=False)
def node_alone(rig):
    """then `kill -9` of a node, without a coordinator"""
    yield
    rig.kill("eu-1")
    yield 8
    rig.start("home")
    rig.start("eu-1")


@failure("eu-1", "eu-2", is_mute=True)
def cut_outward(rig):
    """a zone's link is cut, outward only"""
    yield
    rig.wan({"cut": True}, "eu-west", "*")
    rig.wan({"cut": False}, "eu-west", "eu-west")
    yield 12
    rig.wan({"cut": False})


@failure("eu-1", "eu-2", is_mute=True, is_quick=False)
def cut_inward(rig):
    """a zone's link is cut, inward only"""
    yield
    rig.wan({"cut": True}, "*", "eu-west")
    rig.wan({"cut": False}, "eu-west", "eu-west")
    yield 12
    rig.wan({"cut": False})


@failure("eu-1", "eu-2", is_mute=True)
def partition(rig):
    """a zone's link is cut, both ways"""
    yield
    rig.wan({"cut": True}, "eu-west", "*")
    rig.wan({"cut": True}, "*", "eu-west")
    rig.wan({"cut": False}, "eu-west", "eu-west")
    yield 15
    rig.wan({"cut": False})


@failure("us-2", is_mute=True)
def stall(rig):
    """SIGSTOP of a node"""
    yield
    rig.signal("us-2", "SIGSTOP")
    yield 8
    rig.signal("us-2", "SIGCONT")


@failure("mx-2", leaves=False)
def bytes_mended(rig):
    """wrong bytes on disk, mended from the coordinator"""
    yield
    wounds.spoil(rig.home("mx-2"))
    yield 10


@failure("mx-2", publishes=False)
def bytes_alone(rig):
    """wrong bytes on disk, and no coordinator to mend them from"""
    rig.kill("home")
    yield
    wounds.spoil(rig.home("mx-2"))
    yield 10
    rig.start("home")


@failure("eu-2")
def disk(rig):
    """a full disk, from the flip that cannot be taken"""
    wounds.fill(rig.home("eu-2"))
    time.sleep(3)
    cut = rig.publish()
    yield rig.first_served(cut)
    yield 10
    os.remove(os.path.join(rig.home("eu-2"), "ballast"))


@failure("us-1")
def clock(rig):
    """a clock that jumps five minutes ahead"""
    offset = os.path.join(rig.folder, "offset")
    wounds.set_clock(offset, "+0")
    rig.stop("us-1")
    rig.start("us-1", wounds.clock_of(offset))
    rig.converge()
    rig.watch_until_named()
    wounds.set_clock(offset, "+300")
    # The library takes its time to see it.
    until("the clock has jumped", lambda: rig.clock("us-1") > time.time() + 200)
    yield time.monotonic()
    yield 10
    wounds.set_clock(offset, "+0")
    rig.converge()
    rig.stop("us-1")
    rig.start("us-1")


@failure("eu-1")
def certificate(rig):
    """the public certificate ends"""
    home, kept = rig.home("eu-1"), os.path.join(rig.folder, "kept")
    os.makedirs(kept, exist_ok=True)
    for name in ("site.pem", "site.key"):
        shutil.copy(os.path.join(home, name), kept)
    ends = wounds.short_certificate(os.path.join(rig.home("home"), "keys"), home, 12)
    rig.signal("eu-1", "SIGHUP")
    time.sleep(max(0.0, ends - time.time()))
    yield
    yield 8
    for name in ("site.pem", "site.key"):
        shutil.copy(os.path.join(kept, name), home)
    rig.signal("eu-1", "SIGHUP")


@failure(leaves=False, fits=True)
def loss(rig):
    """30 % loss on all paths for a minute"""
    yield from lossy(rig, 60)


@failure(leaves=False, fits=True, is_quick=False)
def long_loss(rig):
    """30 % loss on all paths for five minutes"""
    yield from lossy(rig, 300)


def lossy(rig, seconds):
    """Loss for so long."""
    yield
    rig.wan({"loss": 0.3})
    yield seconds
    rig.wan({"loss": 0.0})
