"""What the WAN does, measured by whoever is at its ends: round trips, loss, rate, cuts, and packets a second."""

import socket
import struct
import time

import atlas

PACKET = 200
SECONDS = 2.0


def ends(rig, one, other):
    """UDP sockets in two places, and where they are."""
    made = [rig.space(place).socket(socket.SOCK_DGRAM) for place in (one, other)]
    for place, end in zip((one, other), made, strict=True):
        end.bind((atlas.ADDRESSES[place], 0))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    return made


def taken(end):
    """All numbers that came."""
    numbers = []
    try:
        while True:
            numbers.append(struct.unpack("!I", end.recv(2048)[:4])[0])
    except BlockingIOError:
        return numbers


def send(one, other, count, pause=0.0, size=PACKET):
    """Sends so many packets with their numbers, and gives what has come a second after the last."""
    to, came = other.getsockname(), []
    for number in range(count):
        one.sendto(struct.pack("!I", number).ljust(size, b"."), to)
        if pause:
            time.sleep(pause)
        if number % 16 == 0:
            came += taken(other)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        came += taken(other)
        time.sleep(0.002)
    return came


def round_trip(rig, one, other):
    """The shortest of some echoes, milliseconds."""
    here, there = ends(rig, one, other)
    took = []
    for number in range(25):
        begun = time.monotonic()
        here.sendto(bytes([number]), there.getsockname())
        for end in (there, here):
            while True:
                try:
                    data, back = end.recvfrom(100)
                    break
                except BlockingIOError:
                    assert time.monotonic() < begun + 5, "no echo"
            if end is there:
                there.sendto(data, back)
        took.append((time.monotonic() - begun) * 1000)
    return min(took)


def case_paths(rig):
    """round trips are those of the map, losses those that were asked for, and what is cut in one direction goes in the other"""
    said = []
    for one, other in [("mx-1", "us-1"), ("mx-1", "eu-2"), ("us-2", "eu-1"), ("home", "eu-1"), ("mx-1", "mx-2")]:
        pair = (atlas.zone_of(one), atlas.zone_of(other))
        meant, found = atlas.ROUND_TRIPS.get(pair, atlas.WITHIN), round_trip(rig, one, other)
        said.append(f"{one}-{other} {found:.1f}")
        assert meant <= found <= meant + 10, (one, other, found)
    print(f"        round trips, ms: {', '.join(said)}")
    one, other = ends(rig, "mx-1", "us-1")
    rig.wan({"loss": 0.3})
    came = len(send(one, other, 3000, 0.0002))
    rig.wan({"loss": 0.0})
    assert 0.66 <= came / 3000 <= 0.74, came
    rig.wan({"cut": True}, "mx-central", "us-south")
    assert send(one, other, 20) == [] and len(send(other, one, 20)) == 20
    rig.wan({"cut": False})
    # 100 packets of 1,000 bytes at 50,000 bytes a second, of which 20,000 may wait.
    rig.wan({"rate": 50_000, "queue": 20_000}, "mx-central", "us-south")
    came = len(send(one, other, 100, size=1000))
    rig.wan({"rate": atlas.RATE, "queue": atlas.QUEUE}, "mx-central", "us-south")
    assert 18 <= came <= 26, came
    print(f"        of 3,000 packets at 30 % loss, and of 100 at a slow rate: as they should be ({came} of 100)")


def case_speed(rig):
    """more than 10,000 packets a second are carried"""
    one, other = ends(rig, "mx-1", "us-1")
    to, count, came = other.getsockname(), 0, 0
    rig.wan({"rate": 1_000_000_000, "queue": 1_000_000_000}, "mx-central", "us-south")
    begun = time.monotonic()
    # The sender goes no further ahead than a queue of the system holds.
    while time.monotonic() < begun + SECONDS:
        while count - came < 600:
            one.sendto(struct.pack("!I", count).ljust(PACKET, b"."), to)
            count += 1
        new = len(taken(other))
        came += new
        if not new:
            time.sleep(0.0005)
    took = time.monotonic() - begun
    rig.wan({"rate": atlas.RATE, "queue": atlas.QUEUE}, "mx-central", "us-south")
    print(f"        {came / took:,.0f} packets of {PACKET} bytes a second, with 600 on a way of 20 ms ({count} sent)")
    rig.facts["wan_packets_a_second"] = round(came / took)
