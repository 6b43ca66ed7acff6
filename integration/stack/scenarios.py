"""Rotation and debugging on the running stack.

Each scenario starts the job it needs, puts load on it, does what its name says and checks what was seen.
Never trusts certagent's own word: serials come from files and from handshakes, issuances from the issuer's
audit log, restarts from Nomad and from the process table.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

from deploy import renew_all
from load import Load, Steady
from report import handshake_failures, load_checks
from scrape import Prometheus, observed, of_allocations
from servers import wait_for
from validation import accepted
from watch import Watch, verify_all_served

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from deploy import Stack
    from etcd import Mesh
    from report import Report

COUNTS = {"ingester": 2, "distributor": 2}
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
        report.none("published leaves that were not served", watch.unverified())
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


def restarted_for_trust(
    stack: Stack | Mesh, report: Report, count: int, within: tuple[float, float] = (0, math.inf), gap: float = SETTLE
) -> None:
    """certagent restarts `count` processes for the new CA.pem, never two at once: by their supervisor's own record."""

    def turns() -> list[tuple[float, float]]:
        return [turn for turn in stack.turns() if within[0] <= turn[0] and turn[1] <= within[1]]

    left = max(0, min(within[1] - time.time(), 40 * count))
    wait_for(f"certagent to restart {count} of {stack.application}", lambda: len(turns()) >= count, left, every=1)
    found = turns()
    gaps = [later[0] - earlier[1] for earlier, later in zip(found, found[1:])]
    report.check(
        f"{count} restarts for trust",
        f"{len(found)}, one at a time, the next one at least {min(gaps):.0f} s after the start of the one before",
        len(found) == count and min(gaps) > gap,
    )


def renewed_by_hand(run: Run) -> None:
    renew_all()
    run.rotated(1, 120)


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
    issuers = [dict(pair for part in facts["issuer"] for pair in part) for facts in verify_all_served(stack).values()]
    return all(issuer["commonName"] == common_name for issuer in issuers)
