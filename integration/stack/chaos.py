"""Everything around Loki breaks, one thing after the other, under load: Loki goes on, nothing is lost, and each
fault shows in certagent's metrics and is over there afterwards.

Kills only processes of this namespace. What stays true: until the last step, which restarts whole
allocations, not one Loki process ends.
"""

from __future__ import annotations

import os
import random
import signal
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import agents, loki_processes, renew_all
from metrics import Metrics, Moved, label
from report import handshake_failures, load_checks
from scenarios import Run
from servers import NODE_IP, http, wait_for
from watch import NotServed, verify_all_served, verify_served

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy import Stack
    from etcd import Mesh
    from report import Report

TTL = "40s"
OTHER_IP = "10.214.0.1"
# New trust is told through Nomad's Task API, which is seen to fail while that is away: by a signal on which Loki
# does nothing, instead of the restart, because no Loki may end here.
SETTINGS = {
    "CERTAGENT_ON_CA_CHANGE": "nomad_signal",
    "CERTAGENT_RELOAD_SIGNAL": "SIGCONT",
    "CERTAGENT_RELOAD_LOCK": "",
    "CERTAGENT_CA_POLL_INTERVAL": "3s",
    "CERTAGENT_VERIFY_TIMEOUT": "10s",
}


def short(stack: Stack, report: Report) -> None:
    """For CI."""
    chaos(stack, report, kills=40, steps=[vault_away, token_revoked, agent_restarted])


def long(stack: Stack, report: Report) -> None:
    """A hundred kills and every step."""
    chaos(
        stack,
        report,
        kills=100,
        steps=[vault_away, token_revoked, role_removed, agent_restarted, task_api_gone, node_ip_changed],
    )


def chaos(stack: Stack, report: Report, kills: int, steps: list[Callable[[Stack, Report, Metrics], None]]) -> None:
    run = Run(stack, report, ttl=TTL, patience=90, env=SETTINGS)
    metrics = Metrics(stack)
    metrics.well()
    killed(stack, report, metrics, kills)
    settled(run, report, metrics, "after the kills")
    for step in steps:
        step(stack, report, metrics)
        settled(run, report, metrics, step.__name__.replace("_", " "))
    run.restart_checks()
    report.none("published leaves that were not served", run.watch.unverified())
    before = (len(run.load.failed_pushes), len(run.load.failed_queries), len(run.load.moved_on))
    allocations_restarted(stack, report, metrics)
    run.rotated(1, 120)
    load_checks(report, run.end(), strict=False)
    result = report.numbers["load"]
    report.none("failed attempts before allocations were restarted", sum(before))
    report.none("TLS errors in Loki's logs", handshake_failures(stack))
    report.note(
        f"{result['failed_pushes']} pushes were repeated and {result['failed_queries']} queries failed "
        "while allocations restarted"
    )


def settled(run: Run, report: Report, metrics: Metrics, what: str) -> None:
    """Every instance gets a new leaf again and serves it, and its metrics say so."""
    began = time.monotonic()
    run.rotated(1, 150)
    metrics.well()
    seconds = time.monotonic() - began
    end = shortest_left(run.stack)
    report.check(
        f"all renewed and well: {what}", f"in {seconds:.0f} s, no set ended (shortest left: {end:.0f} s)", end > 0
    )


def shortest_left(stack: Stack | Mesh) -> float:
    """Seconds until the first published leaf ends."""
    return min(ssl.cert_time_to_seconds(facts["notAfter"]) for facts in verify_all_served(stack).values()) - time.time()


def shown(report: Report, what: str, moved: Moved) -> None:
    """The fault shows in that metric of every instance, while it lasts."""
    moved.in_all()
    report.check(
        f"{what}: seen in metrics", f"{moved.name}, {len(moved.before)} of {len(moved.before)} instances", True
    )


def killed(stack: Stack | Mesh, report: Report, metrics: Metrics, times: int) -> None:
    """SIGKILL at random moments, spread over all; after each kill the victim's set is whole."""
    chance = random.Random(times)
    broken, victims, done = [], set(), 0
    started = Moved(metrics, "certagent_start_timestamp_seconds")
    while done < times:
        time.sleep(chance.uniform(0.1, 0.8))
        running = agents()
        if not running:
            continue
        pid = chance.choice(running)
        try:
            victim = allocation_of(pid)
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
        victims.add(victim)
        done += 1
        if done % 5 == 0:
            broken += not_whole(stack)
    report.none(f"sets that were not whole and served during {done} kills of certagent", broken)
    wait_for("every certagent to run again", lambda: len(agents()) == len(metrics.addresses), 60)
    metrics.well()
    seen = started.instances()
    report.check(
        "kills: seen in metrics",
        f"{started.name} of the {len(victims)} that were killed, and of no other",
        seen == victims,
    )


def allocation_of(pid: int) -> str:
    """Name of the allocation, or of the certificate, that a process belongs to."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    names = ("NOMAD_ALLOC_NAME=", "CERTAGENT_NAME=")
    return next((each.partition("=")[2] for each in variables if each.startswith(names)), "")


def not_whole(stack: Stack | Mesh) -> list[tuple[str, str]]:
    """Instances whose set is not whole, or not served; looked at twice, as a set may be replaced meanwhile."""
    found = []
    for name, (allocation, address, port) in stack.instances().items():
        directory, protocol = stack.certificates(allocation), stack.protocol(name)
        try:
            verify_served(address, port, directory, protocol)
        except (NotServed, OSError, ValueError):
            try:
                verify_served(address, port, directory, protocol)
            except (NotServed, OSError, ValueError) as error:
                found.append((name, str(error)))
    return found


def vault_away(stack: Stack, report: Report, metrics: Metrics) -> None:
    """Vault is stopped, and started again once everybody has noticed."""
    failures = Moved(metrics, "certagent_failures_total", label("class", "transport"))
    stack.bao.stop()
    renew_all()
    shown(report, "Vault away", failures)
    stack.bao.start()


def token_revoked(stack: Stack, report: Report, metrics: Metrics) -> None:
    """All of certagent's logins at once."""
    logins = Moved(metrics, "certagent_logins_total")
    stack.bao.must("PUT", "sys/leases/revoke-prefix/auth/jwt-nomad/login")
    renew_all()
    shown(report, "tokens revoked", logins)


def role_removed(stack: Stack, report: Report, metrics: Metrics) -> None:
    """The PKI role is gone while renewals are due, and put back."""
    failures = Moved(metrics, "certagent_failures_total", label("class", "misconfigured"))
    role = stack.bao.must("GET", "pki/roles/internal")["data"]
    stack.bao.must("DELETE", "pki/roles/internal")
    renew_all()
    shown(report, "role removed", failures)
    time.sleep(10)
    stack.bao.must("POST", "pki/roles/internal", role)


def agent_restarted(stack: Stack, report: Report, metrics: Metrics) -> None:
    """The Nomad agent ends and comes back; its tasks go on without it, but can't be told."""
    without_agent(stack, report, metrics, "Nomad agent restarted", 0)


def task_api_gone(stack: Stack, report: Report, metrics: Metrics) -> None:
    """No agent, so no Task API, for more than one renewal."""
    without_agent(stack, report, metrics, "Task API gone for 45 s", 45)


def without_agent(stack: Stack, report: Report, metrics: Metrics, what: str, seconds: float) -> None:
    tells = Moved(metrics, "certagent_reloads_total", lambda labels: 'outcome="ok"' not in labels)
    began = time.monotonic()
    stack.nomad.stop()
    stack.bao.new_root(f"Loki internal CA, {what}")  # something to tell
    shown(report, what, tells)
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    stack.nomad.start()


def node_ip_changed(stack: Stack, report: Report, metrics: Metrics) -> None:
    """The node is known under another address: certagent asks for it, Loki goes on under the old one."""
    for command in (
        ["ip", "link", "add", "node1", "type", "veth", "peer", "name", "node1-peer"],
        ["ip", "addr", "add", f"{OTHER_IP}/24", "dev", "node1"],
        ["ip", "link", "set", "node1", "up"],
        ["ip", "link", "set", "node1-peer", "up"],
    ):
        subprocess.run(command, check=True)
    stack.nomad.interface = "node1"
    stack.nomad.configure()
    stack.nomad.stop()
    stack.nomad.start()
    started = Moved(metrics, "certagent_start_timestamp_seconds")
    for pid in agents():
        os.kill(pid, signal.SIGTERM)  # as at any restart of the task: the environment is made anew
    started.in_all()
    # A certagent that finds its set on disk orders nothing at its start, unless it has to ask for something else.
    wait_for(
        "every certagent to order anew at its start",
        lambda: min(metrics.of("certagent_issuance_requests_total").values()) > 0,
        30,
    )
    report.check(
        "node address changed: seen in metrics", f"{started.name} and an order at once, in all instances", True
    )

    def all_have_it() -> bool:
        try:
            held = [{value for _, value in facts["subjectAltName"]} for facts in verify_all_served(stack).values()]
        except NotServed:
            return False  # between reading the set and the handshake it was replaced
        return held and all({OTHER_IP, NODE_IP} <= each for each in held)

    wait_for(f"{OTHER_IP} in every certificate", all_have_it, 60)
    report.check("certificates after the node's address changed", f"hold {OTHER_IP} and {NODE_IP}", True)


def allocations_restarted(stack: Stack, report: Report, metrics: Metrics) -> None:
    """Whole allocations: one distributor, one querier."""
    before = len(loki_processes())
    started = Moved(metrics, "certagent_start_timestamp_seconds")
    restarted = set()
    for component in ("distributor", "querier"):
        allocation = stack.nomad.allocations()[component][0]
        stack.nomad.cli("alloc", "restart", "-all-tasks", allocation["ID"])
        restarted.add(allocation["Name"])
        host, port = stack.ports_of(allocation["ID"])["http"]
        wait_for(
            f"{component} to be ready",
            lambda url=f"http://{host}:{port}/ready": http("GET", url, timeout=2, raw=True)[0] == 200,
            90,
        )
    report.check(
        "allocations restarted with all tasks", f"{before} Loki processes as before", len(loki_processes()) == before
    )
    metrics.well()
    seen = started.instances()
    report.check(
        "allocations restarted: seen in metrics", f"{started.name} of {', '.join(sorted(seen))}", seen == restarted
    )
