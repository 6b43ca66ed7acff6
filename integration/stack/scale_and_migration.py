"""What an operator does to the running deployment: scale it; move to certagent one group at a time, and back.

The steps are those of nomad/setup.md and docs/migration.md, by Nomad's own commands. The load never pauses; what
stays true: a line that was accepted before, during or after a step can be read back.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from deploy import COMPONENTS, loki_processes
from load import Load
from report import handshake_failures, load_checks
from scenarios import COUNTS, Run
from servers import wait_for
from watch import verify_all_served

if TYPE_CHECKING:
    from typing import Any

    from deploy import Stack
    from report import Report

# docs/migration.md: nobody depends on the first for writes, everybody on the last.
ORDER = [
    "query-scheduler",
    "query-frontend",
    "querier",
    "index-gateway",
    "ruler",
    "compactor",
    "distributor",
    "ingester",
]
INDEX_SYNC = 360  # seconds: an index gateway looks every five minutes for what an ingester that left has uploaded
TTL = "20m"  # of the template blocks: none of them renews, so nothing but the steps restarts Loki


def scale(stack: Stack, report: Report) -> None:
    """More instances get certificates of their own; nothing that ran before is touched."""
    extra = own_names(stack)
    run = Run(stack, report, ttl="2m", patience=60, counts={"ingester": 2}, extra=extra.items())
    scaled(stack, "distributor", 3)
    stack.wait_ready()
    served = verify_all_served(stack)
    serials = {facts["serialNumber"] for facts in served.values()}
    report.check(
        "instances with a certificate of their own",
        f"{len(serials)} of {sum(stack.counts.values())}",
        len(serials) == sum(stack.counts.values()),
    )
    report.none("failed pushes and queries while more came", run.load.failed_pushes + run.load.failed_queries)
    run_again(stack, report, extra)
    scaled(stack, "distributor", 1)
    wait_for("two distributors to end", lambda: list(loki_processes().values()).count("distributor") == 1, 60)
    load_checks(report, run.end(), strict=False)
    report.none("certificates from the usual mount", report.numbers["issuances"])
    ended = [run.processes[each] for each in set(run.processes) - set(loki_processes())]
    report.none("Loki processes that ended, distributors apart", [each for each in ended if each != "distributor"])
    report.none("TLS errors in Loki's logs", handshake_failures(stack))


def scaled(stack: Stack, component: str, count: int) -> None:
    """Nomad refuses to scale a job while a deployment of it goes on."""
    wait_for(
        "the deployment to end",
        lambda: stack.nomad.must("GET", "/v1/job/loki/deployment")["Status"] == "successful",
        120,
        every=1,
    )
    stack.nomad.cli("job", "scale", "-detach", "loki", component, str(count))
    stack.counts[component] = count


def own_names(stack: Stack) -> dict[str, str]:
    """Names of one's own in Vault, and Vault by TLS: what other scenarios leave as it is."""
    names = {"PKI_MOUNT": "own-pki", "PKI_ROLE": "own-role", "AUTH_ROLE": "own-login", "POLICY": "own-policy"}
    stack.set_up_vault(names=names)
    return {
        "datacenters": '["dc1"]',
        "vault_address": stack.bao.secure_url,
        "vault_ca": stack.bao.ca,
        "vault_role": names["AUTH_ROLE"],
        "pki_mount": names["PKI_MOUNT"],
        "pki_role": names["PKI_ROLE"],
        "splay": "10s",
    }


def run_again(stack: Stack, report: Report, extra: dict[str, str]) -> None:
    """The same file once more: `-preserve-counts` keeps what was scaled."""

    def running() -> set[str]:
        return {each["ID"] for group in stack.nomad.allocations().values() for each in group}

    before = running()
    variables = stack.variables("2m", {"ingester": 2}, {}, extra.items())
    stack.nomad.cli("job", "run", "-detach", "-preserve-counts", *variables, "nomad/loki.nomad.hcl")
    time.sleep(5)
    report.check(
        "allocations after job run -preserve-counts",
        f"{len(running() & before)} of {len(before)} are the same",
        running() == before,
    )


def migration(stack: Stack, report: Report) -> None:
    """From three template blocks to certagent, and back."""
    stack.set_up_templates()
    stack.run_templates(TTL, counts=COUNTS)
    stack.wait_ready()
    load = Load(stack, patience=120).start()
    old = as_json(stack, stack.template_job(TTL, COUNTS))
    new = as_json(stack, [*stack.variables(TTL, COUNTS, {}), "nomad/loki.nomad.hcl"])
    moved = []
    for component in ORDER:
        began = time.monotonic()
        moved.append(component)
        submit(stack, mixed(old, new, moved))
        settled(stack, moved)
        served = verify_all_served(stack, lambda component: "certagent" if component in moved else "loki")
        report.check(
            f"{component} moved",
            f"{len(served)} serve what is published, after {time.monotonic() - began:.0f} s",
            len(served) == sum(stack.counts.values()),
        )
    submit(stack, old)
    settled(stack, [])
    served = verify_all_served(stack, lambda component: "loki")
    report.check(
        "back to template blocks", f"{len(served)} serve what is published", len(served) == sum(stack.counts.values())
    )
    load_checks(report, load.finish(INDEX_SYNC), strict=False)
    report.none("TLS errors in Loki's logs", handshake_failures(stack))


def as_json(stack: Stack, arguments: list[str]) -> dict[str, Any]:
    """The job that `nomad job run` with these arguments submits."""
    return json.loads(stack.nomad.cli("job", "run", "-output", *arguments))["Job"]


def mixed(old: dict[str, Any], new: dict[str, Any], moved: list[str]) -> dict[str, Any]:
    """The new job with the old one's groups, those apart that have moved."""
    groups = [group for group in new["TaskGroups"] if group["Name"] in moved] + [
        group for group in old["TaskGroups"] if group["Name"] not in moved
    ]
    return {**new, "TaskGroups": groups}


def submit(stack: Stack, job: dict[str, Any]) -> None:
    file = stack.base / "job.json"
    file.write_text(json.dumps({"Job": job}))
    stack.nomad.cli("job", "run", "-detach", "-json", str(file))


def settled(stack: Stack, moved: list[str]) -> None:
    """Every group runs as it shall, certagent beside the moved ones only, and is ready."""

    def as_wanted() -> bool:
        allocations = stack.nomad.allocations()
        return all(
            len(allocations.get(component, [])) == stack.counts[component]
            and all(
                ("certagent" in (each.get("TaskStates") or {})) == (component in moved)
                and each["ClientStatus"] == "running"
                for each in allocations[component]
            )
            for component in COMPONENTS
        )

    wait_for(f"{moved[-1] if moved else 'all groups'} to be replaced", as_wanted, 180, every=1)
    stack.wait_ready()
