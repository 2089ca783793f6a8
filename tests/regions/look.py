"""Looks at a node from within its own namespace, every 5 ms over one connection, until it shows a newer cut.

    python3 look.py '{"namespace": …, "node": …, "authority": …}'

For each line `{"after": cut}` it answers `{"cut": …, "at": Unix seconds}`: when the first answer of a later cut was here.
"""

import json
import socket
import ssl
import sys
import time

import atlas
from space import Space

EVERY = 0.005


def main(namespace, node, authority):
    """Until standard input ends."""
    with Space(namespace):
        plain = socket.create_connection((atlas.ADDRESSES[node], atlas.PORT), 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=atlas.SITE)
    print('"ready"', flush=True)
    for order in sys.stdin:
        after = json.loads(order)["after"]
        due = time.monotonic()
        while True:
            line.sendall(f"HEAD /index.html HTTP/1.1\r\nhost: {atlas.SITE}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += line.recv(4096)
            at = time.time()
            cut = int(head.lower().partition(b"difusor-cut: ")[2].partition(b"\r")[0].rpartition(b"/")[2] or 0)
            if cut > after:
                print(json.dumps({"cut": cut, "at": at}), flush=True)
                break
            due = max(due + EVERY, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
