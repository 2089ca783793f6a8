"""How a node is made to fail without being killed: its disk, its clock, its certificate."""

import errno
import glob
import os
import time

from space import run

LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
SPARED, EVERY = 600, 997
"""Bytes at both ends of a pack that stay as they are, and from one spoiled byte to the next."""


def spoil(home):
    """Turns bits all over every pack of a node."""
    for path in glob.glob(f"{home}/store/packs/*"):
        with open(path, "r+b") as file:
            size = os.path.getsize(path)
            for at in range(SPARED, size - SPARED, EVERY):
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 4]))


def fill(home):
    """Fills the disk of a node, to the last byte."""
    with open(f"{home}/ballast", "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error


def clock_of(offset):
    """The environment of a process whose clock is off by what the file says: the wall clock, and no other. The library stands
    before libc's functions, which a program that is linked against libc calls; the kernel's clock is not touched."""
    return {
        "LD_PRELOAD": glob.glob(LIBRARY)[0],
        "FAKETIME_TIMESTAMP_FILE": offset,
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def set_clock(offset, seconds):
    """Has the clock jump; the process sees it a second or two later."""
    with open(offset + ".new", "w") as file:
        file.write(seconds + "\n")
    os.replace(offset + ".new", offset)


def short_certificate(keys, home, seconds):
    """Gives a node a certificate by the mesh's own authority that ends in so many seconds, and says when (Unix seconds)."""
    key, request = f"{home}/site.key", f"{home}/site.csr"
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    names = "subjectAltName=DNS:results.test"
    run("openssl", "req", "-new", "-key", key, "-subj", "/CN=results.test", "-addext", names, "-out", request)
    authority = ["-CA", f"{keys}/authority.pem", "-CAkey", f"{keys}/authority.key", "-CAcreateserial"]
    # A day is the shortest there is: so it was made a day ago, less some seconds.
    ends = int(time.time()) + seconds
    run(
        "faketime", "-f", f"{seconds - 86400:+}s", "openssl", "x509", "-req", "-in", request, *authority, "-days", "1",
        "-copy_extensions", "copy", "-CAserial", f"{home}/site.srl", "-out", f"{home}/site.pem",
    )  # fmt: skip
    return ends
