"""One component in one task of Nomad's exec driver: `certagent exec -- loki`, in a chroot, not as root.

What stays true: Loki is certagent's child, so one end is the other's too, and Nomad sees one task.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from servers import ROOT, certagent_binary, tool, wait_for
from watch import NotServed, Watch, verify_all_served

if TYPE_CHECKING:
    from deploy import Stack
    from report import Report

JOB = ROOT / "integration/stack/exec.nomad.hcl"
ROTATIONS = 3


def exec_driver(stack: Stack, report: Report) -> None:
    variables = {"vault_address": stack.bao.url, "certagent": certagent_binary(), "loki": tool("loki"), "ttl": "20s"}
    named = [f"-var={name}={value}" for name, value in variables.items()]
    began = time.monotonic()
    stack.nomad.cli("job", "run", "-detach", *named, str(JOB))
    wait_for("Loki to serve what is published", lambda: served(stack), 90, every=1)
    report.note(f"served {time.monotonic() - began:.0f} s after the job was given to Nomad")
    processes, issued = stack.processes(), stack.bao.issuances()
    watch = Watch(stack).start()
    wait_for(f"{ROTATIONS} rotations", lambda: rotated(watch), 180, every=1)
    watch.stop()
    report.check("rotations", watch.rotations(), rotated(watch))
    report.none("published leaves that were not served", watch.unverified())
    report.check("Loki's process", "the same as at the start", stack.processes() == processes)
    report.none("restarts of the task", stack.restarts("certagent"))
    count = stack.bao.issuances() - issued
    report.check("issuances", count, 0 < count <= ROTATIONS + 2)
    stack.nomad.cli("job", "stop", "loki")
    wait_for("Loki to end with its parent", lambda: not stack.processes(), 60)
    codes = [task["Events"] for task in ended(stack)]
    last = [event["ExitCode"] for events in codes for event in events if event["Type"] == "Terminated"]
    report.check("exit code at the stop", last, last == [0])


def served(stack: Stack) -> bool:
    try:
        return bool(verify_all_served(stack))
    except (NotServed, OSError, ValueError):
        return False


def rotated(watch: Watch) -> bool:
    return bool(watch.serials) and min(watch.rotations().values()) >= ROTATIONS


def ended(stack: Stack) -> list[dict[str, list[dict[str, object]]]]:
    """The certagent task of every allocation of the job."""
    answer = stack.nomad.must("GET", "/v1/job/loki/allocations?all=true")
    return [each["TaskStates"]["certagent"] for each in answer if each.get("TaskStates")]
