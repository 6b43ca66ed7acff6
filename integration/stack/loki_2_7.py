"""Loki 2.7 with nomad/loki-2.7.yaml, for those who have it: CERTAGENT_LOKI=PATH integration/stack/run loki-2.7.

It is not among the pinned tools, since no package registry serves it. What stays true: another Loki than 2.7
is refused, so the file is never called good by a version that it is not for.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from deploy import COMPONENTS
from report import handshake_failures, load_checks
from scenarios import Run, renewed_by_hand
from servers import StackError, tool, wait_for
from validation import verified

if TYPE_CHECKING:
    from deploy import Stack
    from report import Report

CONFIG = "nomad/loki-2.7.yaml"


def loki_2_7(stack: Stack, report: Report) -> None:
    """Loki's own check of the file, then every component on it; on 2.7 a new leaf is a restart, one at a time."""
    version = subprocess.run([tool("loki"), "-version"], capture_output=True, text=True, timeout=60).stdout.split("\n")[
        0
    ]
    if "version 2.7." not in version:
        raise StackError(f"this needs Loki 2.7 (CERTAGENT_LOKI), not: {version}")
    refused = [answer for component in COMPONENTS if (answer := verified(CONFIG, component))]
    report.none(f"components for which {version[:20]} refuses the file", refused)
    answer = verified("nomad/loki.yaml", "querier")
    report.check("what it says to the file for 3.x", answer[-90:].strip(), "not found in type" in answer)
    run = Run(
        stack,
        report,
        ttl="20m",
        patience=90,
        extra={"config": CONFIG, "replication_factor": 3}.items(),
        counts={"ingester": 3, "distributor": 2},
    )
    every = sum(stack.counts.values())
    wait_for(
        "the first leaf of all to be seen",
        lambda: len(run.watch.verified) == every and all(run.watch.verified.values()),
        30,
    )
    renewed_by_hand(run)
    wait_for("certagent to restart every Loki", lambda: stack.restarts() >= every, 500, every=1)
    stack.wait_ready()
    load_checks(report, run.end(), strict=False)
    report.check(
        "restarts of Loki", f"{stack.restarts()} for one new leaf of {every} instances", stack.restarts() == every
    )
    report.none("published leaves that were not served", run.watch.unverified())
    report.none("TLS errors in Loki's logs", handshake_failures(stack))
