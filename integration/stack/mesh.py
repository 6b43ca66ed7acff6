"""etcd under load while its certificates rotate, certagent is killed, OpenBao is away, and the root changes.

The rest of the stack shows the same with Loki on Nomad; this needs neither. Never trusts certagent's own word: serials
come from files and handshakes, restarts from the process table, issuances from the audit log, keys from every member.
"""

from __future__ import annotations

import random
import subprocess
import time
import uuid

from ca_change import Operator, all_of_default, emergency, no_trouble, replace_root
from chaos import killed, shortest_left
from etcd import MEMBERS, Mesh, client_url, etcdctl
from load import Steady
from metrics import Metrics, Moved, label
from report import TLS_TROUBLE, Report, handshake_failures
from scenarios import TLS, Run
from servers import StackError, tool, wait_for
from watch import NotServed, handshake, read_set

ROTATIONS = 10
KILLS = 50
ROTATION_TTL = "15s"  # due after 10 s or a little less
OUTAGE_TTL = "40s"  # due after 23 to 27 s; the rest is for the return
AWAY_AFTER_DUE = 2  # seconds that OpenBao stays away when every member's renewal has failed
CHANGE_TTL = "10m"  # everybody has time to wait for his turn
CHANGE = {"CERTAGENT_CA_POLL_INTERVAL": "2s", "CERTAGENT_CA_RETENTION": "5s"}
GAP = 3  # seconds from a member that was started again to the next one's end; the slots leave 4 s from end to end
PATIENCE = 15  # seconds for which a write is repeated while members restart


class Watcher:
    """One gRPC stream to one member that stands as long as the load: it gets every key as it is written.

    From revision 1 on, so that it misses nothing of what is written before it stands."""

    def __init__(self, mesh: Mesh, member: str, prefix: str) -> None:
        certs = mesh.certificates(member)
        self.out = mesh.base / f"watch-{member}"
        command = [
            tool("etcdctl"),
            f"--endpoints={client_url(member)}",
            f"--cacert={certs}/CA.pem",
            f"--cert={certs}/cert.pem",
            f"--key={certs}/key.pem",
            "watch",
            "--rev=1",
            "--prefix",
            prefix,
        ]
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def missed(self, keys: set[str], seconds: float = 10) -> set[str]:
        """Which of the keys it has not been told; ends it."""
        end = time.monotonic() + seconds
        while (missing := keys - set(self.out.read_text(errors="replace").split("\n"))) and time.monotonic() < end:
            time.sleep(0.5)
        self.process.terminate()
        self.process.wait(10)
        return missing


class KeyLoad(Steady):
    """Writes a new key, reads one back, again and again, each by a new connection of etcdctl.

    Without patience each goes to one member, in turn, once, and a watcher stands at every member: nothing may fail.
    With patience etcdctl gets all members, and what fails is sent again, as applications do while members restart."""

    def __init__(self, mesh: Mesh, patience: float = 0) -> None:
        super().__init__([(self.write, 0.15), (self.read, 0.5)])
        self.mesh, self.patience = mesh, patience
        self.prefix = f"{self.run}/"
        self.accepted: dict[str, str] = {}
        self.writes = self.reads = self.given_up = 0
        self.failed_writes: list[tuple[float, str]] = []
        self.failed_reads: list[tuple[float, str]] = []
        self.failed_connections: list[tuple[float, str]] = []
        self.lost: set[str] = set()
        self.watchers = [] if patience else [Watcher(mesh, member, self.prefix) for member in MEMBERS]

    def call(self, number: int, *arguments: str) -> tuple[bool, str]:
        first = number % len(MEMBERS)
        members = MEMBERS if self.patience else [MEMBERS[first]]
        certs = read_set(self.mesh.certificates(MEMBERS[first]))[0]
        good, answer, failed = etcdctl(members, certs, *arguments)
        for each in failed:
            self.note(self.failed_connections, each)
        return good, answer

    def write(self) -> None:
        key, value, end = f"{self.prefix}{self.writes:06}", uuid.uuid4().hex, time.monotonic() + self.patience
        while True:
            self.writes += 1
            good, answer = self.call(self.writes, "put", key, value)
            if good and answer.strip() == "OK":
                self.accepted[key] = value
                return
            self.note(self.failed_writes, answer)
            if time.monotonic() > end or self.stopping.wait(0.3):
                self.given_up += bool(self.patience) and not self.stopping.is_set()
                return

    def read(self) -> None:
        if not self.accepted:
            return
        key, end = random.choice(list(self.accepted)), time.monotonic() + self.patience
        while True:
            self.reads += 1
            good, answer = self.call(self.reads + 1, "get", key, "--print-value-only")
            if good:
                if answer.strip() != self.accepted[key]:
                    self.lost.add(key)
                return
            self.note(self.failed_reads, answer)
            if time.monotonic() > end or self.stopping.wait(0.3):
                self.given_up += bool(self.patience) and not self.stopping.is_set()
                return

    def refused(self) -> list[tuple[float, str]]:
        """Connections that failed by TLS on etcdctl's word; the servers' word is in their logs."""
        return [each for each in self.failed_connections if TLS_TROUBLE.search(each[1])]

    def missing(self, member: str, seconds: float = 20) -> set[str]:
        """Accepted keys that this member does not hold itself."""
        end = time.monotonic() + seconds
        while True:
            certs = read_set(self.mesh.certificates(member))[0]
            good, answer, _ = etcdctl([member], certs, "get", "--prefix", self.prefix, "--keys-only", "--consistency=s")
            missing = set(self.accepted) - set(answer.split("\n") if good else [])
            if not missing or time.monotonic() > end:
                return missing
            time.sleep(0.5)

    def finish(self) -> dict[str, object]:
        self.stop()
        if not self.accepted:
            raise StackError(f"not one write was accepted: {self.failed_writes[:3]}")
        for member in MEMBERS:
            self.lost |= self.missing(member)
        unseen = [watcher.missed(set(self.accepted)) for watcher in self.watchers]
        return {
            "seconds": round(self.ended - self.began),
            "writes": self.writes,
            "failed_writes": len(self.failed_writes),
            "reads": self.reads,
            "failed_reads": len(self.failed_reads),
            "given_up": self.given_up,
            "keys_accepted": len(self.accepted),
            "keys_lost": len(self.lost),
            "events_missed": sum(map(len, unseen)),
            "failed_connections": len(self.failed_connections),
            "refused_by_tls": len(self.refused()),
            "first_failures": self.failed_writes[:3] + self.failed_reads[:3] + self.failed_connections[:3],
        }


def mesh(stack: Mesh, report: Report) -> None:
    """First everything in which nothing may fail or restart, then the change of the root, planned and at once."""
    nothing_fails(stack, report)
    change_root(stack, report)
    stolen(stack, report)


def nothing_fails(stack: Mesh, report: Report) -> None:
    run = Run(stack, report, ttl=ROTATION_TTL, load=KeyLoad)
    metrics = Metrics(stack)
    metrics.well()
    began = time.monotonic()
    run.rotated(ROTATIONS, 300)
    seconds = time.monotonic() - began
    report.check("rotations of every member, seen at both ports", f"{ROTATIONS} in {seconds:.0f} s", True)
    published = sum(count for name, count in run.watch.rotations().items() if name.endswith("client"))
    issued = stack.bao.issuances() - run.issued
    report.check("issuances", f"{issued} for {published} rotations", published <= issued <= published + len(MEMBERS))
    killed(stack, report, metrics, KILLS)
    settled(run, report, metrics, f"after {KILLS} kills of certagent")
    vault_away(run, report, metrics)
    result = run.end()
    load_checks(report, result)
    report.none("keys that a standing watch did not get", result["events_missed"])
    rotations = run.watch.rotations()
    fewest, most = min(rotations.values()), max(rotations.values())
    report.check("rotations in all", f"{fewest} to {most}", fewest >= ROTATIONS)
    report.check("ports watched", len(rotations), len(rotations) == sum(stack.counts.values()))
    run.certificate_checks()
    run.restart_checks()


def settled(run: Run, report: Report, metrics: Metrics, what: str) -> None:
    began = time.monotonic()
    run.rotated(1, 90)
    metrics.well()
    report.check(f"all renewed and well: {what}", f"in {time.monotonic() - began:.0f} s", True)


def vault_away(run: Run, report: Report, metrics: Metrics) -> None:
    """OpenBao ends; every renewal becomes due and fails; it comes back."""
    stack = run.stack
    leaves = run.leaves()
    stack.run_job(ttl=OUTAGE_TTL)
    run.rotated(1, 60, leaves)
    failures = Moved(metrics, "certagent_failures_total", label("class", "transport"))
    began, leaves = time.monotonic(), run.leaves()
    stack.bao.stop()
    failures.in_all()
    time.sleep(AWAY_AFTER_DUE)
    left, back = shortest_left(stack), time.monotonic()
    stack.bao.start()
    run.rotated(1, 60, leaves)
    seconds = time.monotonic() - back
    report.check(
        "OpenBao away until every renewal was due and had failed",
        f"for {back - began:.0f} s; all renewed {seconds:.0f} s after its start, {left - seconds:.0f} s to spare",
        seconds < left,
    )
    metrics.well()


def change_root(stack: Mesh, report: Report) -> None:
    """By one command, and once more by the printed ones; with certagent's own restarts, one member at a time."""
    run = Run(stack, report, ttl=CHANGE_TTL, env=CHANGE, patience=PATIENCE, load=KeyLoad)
    run.rotated(0, 30)
    metrics = Metrics(stack)
    for how in (Operator.rotate, Operator.by_hand):
        metrics.well()
        replace_root(run, how, GAP)
    wait_for("every member to be verified once more", lambda: not metrics.unwell(), 60)
    load_checks(report, run.end(), strict=False)
    no_trouble(run)


def stolen(stack: Mesh, report: Report) -> None:
    """The key of the old root is known to others: a new one signs before any member trusts it. What that costs; and
    so it is known that trouble would have been seen."""
    strangers(stack, report)
    refused = len(handshake_failures(stack))
    run = Run(stack, report, ttl=CHANGE_TTL, env=CHANGE, patience=1, load=KeyLoad)
    seconds = emergency(run)
    Metrics(stack).well()
    seconds["all well"] = round(time.time() - run.load.began)
    result = run.end()
    seen = {
        "handshakes": len([each for each in run.watch.failures if TLS.search(each[2])]),
        "etcd's logs": len(handshake_failures(stack)) - refused,
        "connections": result["failed_connections"],
    }
    report.numbers["emergency"] = {"seconds": seconds, "refused": seen, "load": result}
    report.note(f"emergency, seconds: {seconds}; refused: {seen}; given up: {result['given_up']}")
    report.check("emergency: trouble seen in all of", seen, all(seen.values()))
    report.check("emergency: anchors and leaves afterwards", "the new root everywhere", all_of_default(stack))
    report.none("emergency: keys lost", result["keys_lost"])


def strangers(stack: Mesh, report: Report) -> None:
    """Whoever shows no certificate is refused at every port, by the server's own alert."""
    taken = []
    for name, (member, address, port) in stack.instances().items():
        try:
            handshake(address, port, [stack.certificates(member) / "CA.pem"], protocol=stack.protocol(name))
            taken.append((name, "accepted"))
        except (NotServed, OSError) as error:
            if "alert" not in str(error).lower():
                taken.append((name, str(error)))
    report.none("ports that do not refuse a client without a certificate", taken)


def load_checks(report: Report, result: dict, strict: bool = True) -> None:
    """Strict: not one attempt failed."""
    report.numbers["load" if strict else "load while the root changes"] = result
    report.say(f"load: {result}")
    writes, reads = result["writes"], result["reads"]
    if strict:
        shown = f"{result['failed_writes']} of {writes} {result['first_failures'] or ''}"
        report.check("failed writes", shown, result["failed_writes"] == 0)
        report.check("failed reads", f"{result['failed_reads']} of {reads}", result["failed_reads"] == 0)
        report.none("connections of the load that failed", result["failed_connections"])
    else:
        report.none("connections of the load refused by TLS", result["refused_by_tls"])
        report.check("writes and reads given up", f"{result['given_up']} of {writes + reads}", result["given_up"] == 0)
        again = ", ".join(f"{result[f'failed_{what}']} {what}" for what in ("writes", "reads", "connections"))
        report.say(f"failed while members restarted, and made again: {again}")
    report.check("keys lost", f"{result['keys_lost']} of {result['keys_accepted']}", result["keys_lost"] == 0)
