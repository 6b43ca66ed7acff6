"""Rotation, change of the CA and debugging on the running stack.

Each scenario starts the job it needs, puts load on it, does what its name says and checks what was seen.
Never trusts certagent's own word: serials come from files and from handshakes, issuances from the issuer's
audit log, restarts from Nomad and from the process table.
"""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

from deploy import agents
from load import Load, Steady
from metrics import Metrics, Moved, label
from report import handshake_failures, load_checks
from scrape import Prometheus, observed, of_allocations
from servers import wait_for
from validation import accepted
from watch import Watch, attest_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from deploy import Stack
    from etcd import Mesh
    from report import Report

COUNTS = {"ingester": 2, "distributor": 2}
# Two of everything that a client or a name leads to: one is restarted, the other serves.
PAIRS = {"ingester": 3, "distributor": 2, "querier": 2, "query-scheduler": 2, "query-frontend": 2, "index-gateway": 2}
ROTATIONS = 10
SETTLE = 5  # seconds between a Loki that serves again and the next restart
TLS = re.compile(r"ssl|certificate|alert", re.IGNORECASE)


class Run:
    """The job under load, watched: what nearly every scenario begins and ends with."""

    def __init__(
        self,
        stack: Stack | Mesh,
        report: Report,
        ttl: str,
        counts: dict[str, int] | None = None,
        env: dict[str, str] | None = None,
        patience: float = 0,
        extra: Iterable[tuple[str, object]] = (),
        templates: bool = False,
        load: type[Steady] = Load,
    ) -> None:
        self.stack, self.report, self.templates = stack, report, templates
        if templates:
            stack.run_templates(ttl, counts=counts or COUNTS, extra=extra)
        else:
            stack.run_job(ttl=ttl, counts=counts or COUNTS, env=env, extra=extra)
        stack.wait_ready()
        report.say(f"all {sum(stack.counts.values())} instances are ready, ttl {ttl}")
        self.processes = stack.processes()
        self.issued = stack.bao.issuances()
        self.watch = Watch(stack, "loki" if templates else "certagent").start()
        self.load = load(stack, patience).start()

    def leaves(self) -> dict[str, int]:
        """Instance -> number of leaves seen so far."""
        return {name: len(serials) for name, serials in self.watch.serials.items()}

    def rotated(self, times: int, seconds: float, before: dict[str, int] | None = None) -> None:
        """Waits until every instance has had `times` new leaves from now on, or from when leaves() was `before`."""
        before = before or self.leaves()

        def all_have() -> bool:
            counts = [len(serials) - before.get(name, 1) for name, serials in self.watch.serials.items()]
            return len(counts) >= sum(self.stack.counts.values()) and min(counts) >= times

        wait_for(f"{times} rotations of all", all_have, seconds, every=1)

    def end(self) -> dict[str, Any]:
        """Ends load and watch. The load's result."""
        result = self.load.finish()
        self.watch.stop()
        self.report.numbers["issuances"] = self.stack.bao.issuances() - self.issued
        self.report.numbers["rotations"] = self.watch.rotations()
        self.report.numbers["restarts"] = self.stack.restarts()
        return result

    def certificate_checks(self) -> None:
        report, watch = self.report, self.watch
        report.none("published leaves that were not served", watch.unattested())
        report.none("handshakes that did not show the published leaf", [f[1:] for f in watch.failures])
        report.none(f"TLS errors in {self.stack.application}'s logs", handshake_failures(self.stack))

    def restart_checks(self) -> None:
        self.report.none(f"restarts of {self.stack.application}", self.stack.restarts())
        same = self.stack.processes() == self.processes
        self.report.check(
            f"{self.stack.application} processes",
            "the same as at the start" if same else "others than at the start",
            same,
        )


def rotation(stack: Stack, report: Report) -> None:
    """Ten rotations of everything under load: nothing fails, nothing restarts, and Prometheus sees all of it."""
    run, prometheus = Run(stack, report, ttl="20s"), Prometheus(stack.base, every=5)
    prometheus.start()
    try:
        run.rotated(ROTATIONS, 480)
        load_checks(report, run.end())
        observed(prometheus, report, of_allocations(stack))
        # A renewal here is due with less than a quarter of the life left.
        # Vault's half minute before the issuance counts as life.
        report.none("other alerts that fired in that time", sorted(prometheus.fired() - {"CertagentExpiresSoon"}))
    finally:
        prometheus.stop()
    rotations = run.watch.rotations()
    report.check(
        "rotations of each instance",
        f"{min(rotations.values())} to {max(rotations.values())}",
        min(rotations.values()) >= ROTATIONS,
    )
    report.check("instances", len(rotations), len(rotations) == sum(stack.counts.values()))
    issued, published = report.numbers["issuances"], sum(rotations.values())
    report.check(
        "issuances at the issuer",
        f"{issued} for {published} rotations",
        published <= issued <= published + len(rotations),
    )
    run.certificate_checks()
    run.restart_checks()
    debugging(stack, report)
    accepted(stack, report)


def debugging(stack: Stack, report: Report) -> None:
    """`certagent issue` from a shell inside an allocation."""
    allocation = stack.nomad.allocations()["querier"][0]["ID"]
    out = stack.nomad.cli("alloc", "exec", "-task", "certagent", allocation, stack.certagent, "issue")
    report.check("certagent issue inside an allocation", out.split("\n")[0][:60], "loki-querier.service.consul" in out)


def anchors(stack: Stack | Mesh) -> dict[str, int]:
    """Allocation name -> number of anchors in CA.pem."""
    found = {}
    for name, (allocation, _, _) in stack.instances().items():
        text = (stack.certificates(allocation) / "CA.pem").read_text()
        found[name] = text.count("-----BEGIN CERTIFICATE-----")
    return found


def all_trust(stack: Stack | Mesh, count: int, seconds: float) -> None:
    """Waits until every CA.pem holds `count` anchors."""

    def done() -> bool:
        found = anchors(stack)
        return len(found) == sum(stack.counts.values()) and set(found.values()) == {count}

    wait_for(f"{count} anchors in every CA.pem", done, seconds)


def restarted_for_trust(stack: Stack | Mesh, report: Report, before: int, count: int, gap: float = SETTLE) -> None:
    """certagent restarts `count` processes for the new CA.pem, never two at once: by their supervisor's own record."""
    wait_for(
        f"certagent to restart {count} of {stack.application}",
        lambda: len(stack.turns()) >= before + count,
        40 * count,
        every=1,
    )
    turns = stack.turns()[before : before + count]
    gaps = [later[0] - earlier[1] for earlier, later in zip(turns, turns[1:])]
    report.check(
        f"{count} restarts for trust",
        f"one at a time, the next one at least {min(gaps):.0f} s after the start of the one before",
        min(gaps) > gap,
    )


def renewed_by_hand(run: Run) -> None:
    """Every certagent asked for a new leaf at once, as an operator does by SIGUSR1 or `certagent renew`."""
    for pid in agents():
        os.kill(pid, signal.SIGUSR1)
    run.rotated(1, 120)


def ca_rotation(stack: Stack, report: Report) -> None:
    """Both ways of trust; of the restarts for the leaving root only the first three are waited for."""
    with stack.second_host():
        change_root(stack, report, last=3)


def ca_rotation_long(stack: Stack, report: Report) -> None:
    with stack.second_host():
        change_root(stack, report, last=sum(PAIRS.values()) + 2)


def change_root(stack: Stack, report: Report, last: int) -> None:
    """A new root: trusted everywhere first, then used, then the old one leaves.

    The ttl is ten minutes: with a minute or less nobody would have time to wait for his turn to restart.
    A query that is inside a scheduler when it stops gets no answer from Loki, and is asked again."""
    env = {
        "CERTAGENT_CA_POLL_INTERVAL": "5s",
        "CERTAGENT_CA_RETENTION": "20s",
        "CERTAGENT_RELOAD_MIN_HEALTHY_TIME": f"{SETTLE}s",
    }
    run = Run(stack, report, ttl="10m", env=env, counts=PAIRS, patience=20, extra={"replication_factor": 3}.items())
    every, metrics = sum(stack.counts.values()), Metrics(stack)
    metrics.well()
    told = Moved(metrics, "certagent_reloads_total", label("action", "nomad_restart"))

    def once_trusted() -> None:
        report.check("seen in metrics", f"{told.name} of all {every}", told.instances() == set(metrics.addresses))
        stack.wait_ready()

    replace_root(run, metrics, "Loki internal CA 2", (every, last), once_trusted=once_trusted)
    result = run.end()
    load_checks(report, result, strict=False)
    report.check(
        "queries given up", f"{result['queries_given_up']} of {result['queries']}", result["queries_given_up"] == 0
    )
    report.none("lines not found within 3 s", result["lines_late"])
    no_trouble(run)


def replace_root(
    run: Run,
    metrics: Metrics,
    name: str,
    restarts: tuple[int, int],
    gap: float = SETTLE,
    once_trusted: Callable[[], None] = lambda: None,
) -> None:
    """The steps of docs/ca-rotation.md: the new root is trusted everywhere first, then used, then the old one leaves.

    As many restarts as said are waited for, for the new root and for the leaving one."""
    stack, report, bao = run.stack, run.report, run.stack.bao
    before, began = len(stack.turns()), time.monotonic()
    old = bao.must("GET", "pki/config/issuers")["data"]["default"]
    new = bao.new_root(name)
    all_trust(stack, 2, 60)
    report.note(
        f"both roots in every CA.pem {time.monotonic() - began:.0f} s after the new one was made; "
        "nothing was signed by it yet"
    )
    restarted_for_trust(stack, report, before, restarts[0], gap)
    now = bao.must("GET", "pki/config/issuers")["data"]["default"]
    report.check("default issuer until then", "the old one", now == old)
    metrics.well()
    once_trusted()
    restarted = stack.processes()
    bao.must("POST", "pki/config/issuers", {"default": new})
    renewed_by_hand(run)
    report.check("leaves since the new default", "all from the new root", all_from(stack, name))
    same = stack.processes() == restarted
    report.check(f"{stack.application} after the new default", "not restarted again", same)
    bao.must("DELETE", f"pki/issuer/{old}")
    all_trust(stack, 1, 120)
    restarted_for_trust(stack, report, before + restarts[0], restarts[1], gap)
    # now: one that restarts at the moment shows no leaf at all
    metrics.well(40 * sum(stack.counts.values()))  # those that were not waited for are restarted too
    report.check("leaves when the old root left", "all from the new root", all_from(stack, name))
    report.note(f"from the new root to the last restart for the leaving one: {time.monotonic() - began:.0f} s")


def no_trouble(run: Run) -> None:
    """No restart out of turn, no leaf that was not served, no refused handshake."""
    stack, report = run.stack, run.report
    report.none("restarts out of turn", told_out_of_turn(stack))
    report.none("published leaves that were not served", run.watch.unattested())
    report.none("handshakes refused by TLS", [f[1:] for f in run.watch.failures if TLS.search(f[2])])
    report.none(f"TLS errors in {stack.application}'s logs", handshake_failures(stack))


def told_out_of_turn(stack: Stack | Mesh) -> list[str]:
    """What certagent's logs say about acting without the lock."""
    return [
        line[:200]
        for log in stack.agent_logs()
        for line in log.read_text(errors="replace").splitlines()
        if "acting without the lock" in line
    ]


def control(stack: Stack, report: Report) -> None:
    """The same done wrong, so that it is known that it would be seen: a new root signs before anybody trusts it."""
    run = Run(stack, report, ttl="30s", env={"CERTAGENT_CA_POLL_INTERVAL": "0"}, patience=90)
    stack.bao.must("POST", "pki/config/issuers", {"default": stack.bao.new_root("Loki internal CA 3")})
    time.sleep(60)
    run.end()
    report.check("refused handshakes seen", len(run.watch.failures), len(run.watch.failures) > 0)
    report.check("TLS errors seen in Loki's logs", len(handshake_failures(stack)), len(handshake_failures(stack)) > 0)


def all_from(stack: Stack | Mesh, common_name: str) -> bool:
    """Whether every leaf that is published and served was issued by that CA."""
    issuers = [dict(pair for part in facts["issuer"] for pair in part) for facts in attest_all(stack).values()]
    return all(issuer["commonName"] == common_name for issuer in issuers)
