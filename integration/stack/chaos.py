"""Everything around Loki breaks, one thing after the other, under load: Loki goes on, nothing is lost.

Kills only processes of this namespace. What stays true: until the last step, which restarts whole
allocations, not one Loki process ends.
"""

import os
import random
import signal
import ssl
import subprocess
import time

from deploy import agents, loki_processes
from parts import NODE_IP, http, wait_for
from report import handshake_failures, load_checks
from scenarios import Run
from seen import Unattested, attest, attest_all

TTL = "40s"
OTHER_IP = "10.214.0.1"


def short(stack, report):
    """Under three minutes: for CI."""
    chaos(stack, report, kills=40, steps=[token_revoked, agent_restarted])


def long(stack, report):
    """A hundred kills and every step."""
    chaos(stack, report, kills=100, steps=[token_revoked, role_removed, agent_restarted, task_api_gone, node_ip_changed])


def chaos(stack, report, kills, steps):
    run = Run(stack, report, ttl=TTL, patience=90)
    killed(stack, report, kills)
    settled(run, report, "after the kills")
    for step in steps:
        step(stack, report)
        settled(run, report, step.__name__.replace("_", " "))
    run.restart_checks()
    report.none("published leaves that were not served", run.watch.unattested())
    allocations_restarted(stack, report)
    run.rotated(1, 120)
    load_checks(report, run.end(), strict=False)
    result = report.numbers["load"]
    report.check("failed attempts before allocations were restarted", attempts_before(run, report), attempts_before(run, report) == 0)
    report.none("TLS errors in Loki's logs", handshake_failures(stack))
    report.note(f"{result['failed_pushes']} pushes were repeated and {result['failed_queries']} queries failed while allocations restarted")


def settled(run, report, what):
    """Every instance gets a new leaf again and serves it."""
    began = time.monotonic()
    run.rotated(1, 150)
    seconds = time.monotonic() - began
    end = shortest_left(run.stack)
    report.check(f"all renewed: {what}", f"in {seconds:.0f} s, no set ended (shortest left: {end:.0f} s)", end > 0)
    run.load.mark = (len(run.load.failed_pushes), len(run.load.failed_queries))


def attempts_before(run, report):
    del report
    return sum(run.load.mark)


def shortest_left(stack):
    """Seconds until the first published leaf ends."""
    return min(ssl.cert_time_to_seconds(facts["notAfter"]) for facts in attest_all(stack).values()) - time.time()


def killed(stack, report, times):
    """SIGKILL at random moments, spread over all; after each kill the victim's set is whole."""
    chance = random.Random(times)
    broken, done = [], 0
    while done < times:
        time.sleep(chance.uniform(0.1, 0.8))
        running = agents()
        if not running:
            continue
        try:
            os.kill(chance.choice(running), signal.SIGKILL)
        except ProcessLookupError:
            continue
        done += 1
        if done % 5 == 0:
            broken += not_whole(stack)
    report.none(f"sets that were not whole and served during {done} kills of certagent", broken)
    wait_for("every certagent to run again", lambda: len(agents()) == sum(stack.counts.values()), 60)


def not_whole(stack):
    """Instances whose set is not whole, or not served; looked at twice, as a set may be replaced meanwhile."""
    found = []
    for name, (allocation, address, port) in stack.instances().items():
        directory = stack.nomad.task_dir(allocation, "certagent") / "secrets/certs"
        try:
            attest(address, port, directory)
        except (Unattested, OSError, ValueError):
            try:
                attest(address, port, directory)
            except (Unattested, OSError, ValueError) as error:
                found.append((name, str(error)))
    return found


def token_revoked(stack, report):
    """All of certagent's logins at once."""
    stack.bao.must("PUT", "sys/leases/revoke-prefix/auth/jwt-nomad/login")
    report.say("all tokens are revoked")


def role_removed(stack, report):
    """The PKI role is gone while renewals are due, and put back."""
    role = stack.bao.must("GET", "pki/roles/internal")["data"]
    stack.bao.must("DELETE", "pki/roles/internal")
    time.sleep(20)
    stack.bao.must("POST", "pki/roles/internal", role)
    report.say("the role was gone for 20 s")


def agent_restarted(stack, report):
    """The Nomad agent ends and comes back; its tasks go on without it."""
    stack.nomad.stop()
    stack.nomad.start()
    report.say("the Nomad agent was restarted")


def task_api_gone(stack, report):
    """No agent, so no Task API, for more than one renewal."""
    stack.nomad.stop()
    time.sleep(45)
    stack.nomad.start()
    report.say("the Nomad agent was away for 45 s")


def node_ip_changed(stack, report):
    """The node is known under another address: certagent asks for it, Loki goes on under the old one."""
    for command in (
        ["ip", "link", "add", "node1", "type", "veth", "peer", "name", "node1-peer"],
        ["ip", "addr", "add", f"{OTHER_IP}/24", "dev", "node1"], ["ip", "link", "set", "node1", "up"], ["ip", "link", "set", "node1-peer", "up"],
    ):
        subprocess.run(command, check=True)
    stack.nomad.interface = "node1"
    stack.nomad.configure()
    stack.nomad.stop()
    stack.nomad.start()
    for pid in agents():
        os.kill(pid, signal.SIGTERM)  # as at any restart of the task: the environment is made anew

    def all_have_it():
        try:
            held = [{value for _, value in facts["subjectAltName"]} for facts in attest_all(stack).values()]
        except Unattested:
            return False  # between reading the set and the handshake it was replaced
        return held and all({OTHER_IP, NODE_IP} <= each for each in held)

    wait_for(f"{OTHER_IP} in every certificate", all_have_it, 60)
    report.check("certificates after the node's address changed", f"hold {OTHER_IP} and {NODE_IP}", True)


def allocations_restarted(stack, report):
    """Whole allocations: one distributor, one querier."""
    before = len(loki_processes())
    for component in ("distributor", "querier"):
        allocation = stack.nomad.allocations()[component][0]["ID"]
        stack.nomad.cli("alloc", "restart", "-all-tasks", allocation)
        host, port = stack.ports_of(allocation)["http"]
        wait_for(f"{component} to be ready", lambda: http("GET", f"http://{host}:{port}/ready", timeout=2, raw=True)[0] == 200, 90)
    report.check("allocations restarted with all tasks", f"{before} Loki processes as before", len(loki_processes()) == before)
