"""What is published and what Loki serves: looked at all the time, each new certificate verified.

Verified means: a TLS handshake with the component's port, with that component's own published client
certificate and CA.pem, shows the published serial, and the server goes on to speak the port's protocol (so it
has accepted the client). Never writes anything. What stays true: a set is read through one resolved link.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from deploy import Stack
    from etcd import Mesh

HTTP2, HTTP1 = "h2", "http/1.1"
GREETINGS = {  # the client's first words, by protocol
    HTTP2: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    HTTP1: b"GET / HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n",
}


class NotServed(Exception):
    """What was served instead, or why nothing was."""


def read_set(directory: str | Path) -> tuple[list[Path], bytes]:
    """(paths of CA, cert and key, DER of the leaf) of one set; the link is resolved once."""
    directory = Path(directory)
    link = directory / "..data"
    whole = directory / os.readlink(link) if link.is_symlink() else directory
    paths = [whole / name for name in ("CA.pem", "cert.pem", "key.pem")]
    pem = paths[1].read_text()
    end = "-----END CERTIFICATE-----"
    return paths, ssl.PEM_cert_to_DER_cert(pem[: pem.index(end) + len(end)] + "\n")


def serial(der: bytes) -> str:
    """Of a certificate in DER, in hex: SEQUENCE, SEQUENCE, optional [0], INTEGER."""

    def header(at: int) -> tuple[int, int]:
        length, at = der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        return at, length

    at = header(header(0)[0])[0]
    if der[at] == 0xA0:
        start, length = header(at)
        at = start + length
    start, length = header(at)
    return der[start : start + length].hex()


def handshake(
    address: str, port: int, paths: list[Path], timeout: float = 5, protocol: str = HTTP2
) -> tuple[bytes, dict[str, Any]]:
    """The leaf that the server serves to this client, as DER and as names, once it has accepted the client.

    `paths`: CA, certificate, key; without the last two we show no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(paths[0])
    if paths[1:]:
        context.load_cert_chain(paths[1], paths[2])  # refuses a key that does not fit
    context.set_alpn_protocols([protocol])
    with socket.create_connection((address, port), timeout) as plain:
        with context.wrap_socket(plain, server_hostname=address) as tls:
            served = tls.getpeercert(binary_form=True), tls.getpeercert()
            tls.sendall(GREETINGS[protocol])
            if len(tls.recv(9)) == 0:
                raise NotServed("the server closed the connection after the handshake")
            return served


def verify_served(address: str, port: int, directory: str | Path, protocol: str = HTTP2) -> dict[str, Any]:
    """What is both published and served (as ssl.getpeercert tells it), or NotServed."""
    paths, published = read_set(directory)
    try:
        served, facts = handshake(address, port, paths, protocol=protocol)
    except (OSError, ssl.SSLError) as error:
        raise NotServed(f"{address}:{port}: {error}") from None
    if served != published:
        raise NotServed(f"{address}:{port} serves {serial(served)}, published is {serial(published)}")
    return facts


def verify_all_served(
    stack: Stack | Mesh, task: Callable[[str], str] = lambda component: "certagent"
) -> dict[str, dict[str, Any]]:
    """Allocation name -> what it publishes, by the task that keeps its certificates, and serves."""
    return {
        name: verify_served(
            address, port, stack.certificates(allocation, task(stack.component(name))), stack.protocol(name)
        )
        for name, (allocation, address, port) in stack.instances().items()
    }


class Watch:
    """Looks at every allocation's set several times a second; verifies each new leaf until it is served."""

    def __init__(self, stack: Stack | Mesh, task: str = "certagent") -> None:
        self.stack, self.task = stack, task
        self.serials: dict[str, list[str]] = {}  # allocation name -> serials in order
        self.verified: dict[str, set[str]] = {}  # allocation name -> set of serials
        self.ends: dict[str, float] = {}  # allocation name -> end of its newest leaf
        self.renewed: dict[str, float] = {}  # allocation name -> when that was first seen served
        self.failures: list[tuple[float, str, str]] = []
        self.ports: dict[str, tuple[str, str, int]] = {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def start(self) -> Self:
        self.thread.start()
        return self

    def work(self) -> None:
        looked_at = 0.0
        while not self.stopping.wait(0.4):
            if time.monotonic() - looked_at > 3:
                found = self.stack.instances()
                self.ports = found or self.ports
                looked_at = time.monotonic()
            for name, (allocation, address, port) in list(self.ports.items()):
                self.look(name, allocation, address, port)

    def look(self, name: str, allocation: str, address: str, port: int) -> None:
        directory = self.stack.certificates(allocation, self.task)
        try:
            now = serial(read_set(directory)[1])
        except (OSError, ValueError):
            return  # the allocation begins or ends
        seen = self.serials.setdefault(name, [])
        if not seen or seen[-1] != now:
            seen.append(now)
        if now in self.verified.setdefault(name, set()):
            return
        try:
            facts = verify_served(address, port, directory, self.stack.protocol(name))
            self.verified[name].add(now)
            self.ends[name] = ssl.cert_time_to_seconds(facts["notAfter"])
            self.renewed[name] = time.time()
        except (NotServed, OSError) as error:
            self.failures.append((time.time(), name, str(error)))

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(30)

    def rotations(self) -> dict[str, int]:
        """New leaves of each allocation, the first one not counted."""
        return {name: len(serials) - 1 for name, serials in self.serials.items()}

    def unverified(self) -> list[tuple[str, str]]:
        """Leaves that were published and never seen served, the newest of each excepted."""
        return [(n, s) for n, all_ in self.serials.items() for s in all_[:-1] if s not in self.verified[n]]
