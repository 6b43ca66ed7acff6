"""A change of the CA as an operator makes it: by `certagent fleet ca rotate`, or by the commands that it prints.

Never takes certagent's word for what was done. What stays true: when the default issuer was changed and the old one
left is in OpenBao's audit log, restarts are in the supervisor's record, anchors and leaves are on disk and served.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import renew_all
from metrics import Metrics, Moved, label
from report import handshake_failures, load_checks
from scenarios import SETTLE, TLS, Run, all_trust, restarted_for_trust
from servers import StackError, certagent_binary, tool
from watch import verify_all_served

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deploy import Stack
    from etcd import Mesh
    from report import Report

# Two of everything that a client or a name leads to: one is restarted, the other serves.
PAIRS = {"ingester": 3, "distributor": 2, "querier": 2, "query-scheduler": 2, "query-frontend": 2, "index-gateway": 2}
STEP = re.compile(r"next: (?:make a root|make|remove)|waiting until the (?:new root|leaves|old root)")
PATIENCE = "10m"  # for one wait


class Operator:
    """Calls certagent and bao with a token of his own. Where Nomad can't pass a request for a renewal on, he does."""

    def __init__(self, stack: Stack | Mesh) -> None:
        self.stack = stack
        programs = [str(Path(each).parent) for each in (certagent_binary(), tool("bao"))]
        self.environment = {
            "PATH": ":".join([*programs, os.environ["PATH"]]),
            "HOME": str(stack.base),
            "VAULT_ADDR": stack.bao.url,
            "VAULT_TOKEN": stack.bao.keys["root_token"],
            **stack.bao.PLAIN,
            **stack.catalogue(),
        }
        rows = json.loads(self.run(self.command("-o", "json")))["rows"]
        self.old = rows[0]["leaf"]["anchor_sha256"]

    def command(self, *arguments: str) -> list[str]:
        return [certagent_binary(), "fleet", *arguments, "--service", self.stack.service]

    def run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def rotate(self) -> str:
        """Ended by SIGKILL once at each step, and called again."""
        killed: list[str] = []
        while (step := self.until_new_step(killed)) is not None:
            killed.append(step)
            if step.endswith("leaves") and "NOMAD_ADDR" not in self.environment:
                renew_all()
        if len(killed) < 6:
            raise StackError(f"the steps were {killed}")
        return f"`fleet ca rotate`, killed at {len(killed)} steps and called again"

    def until_new_step(self, known: list[str]) -> str | None:
        """One call, killed at the first step that is not known yet; none when it has ended by itself."""
        words = ("--yes", "--from", self.old, "--pace", "1s", "--timeout", PATIENCE)
        command, said = self.command("ca", "rotate", *words), []
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout:
                said.append(line)
                step = STEP.match(line)
                if step and step[0] not in known:
                    process.kill()
                    return step[0]
        if process.returncode != 0:
            raise StackError(f"rotate ended with {process.returncode}:\n{''.join(said[-30:])}")
        return None

    def by_hand(self) -> str:
        """Whatever `fleet ca` prints, in a shell, until there is nothing more to do."""
        made: list[str] = []
        while (found := self.look())["phase"] != "done":
            if not found["commands"]:
                raise StackError(f"no command is printed: {found}")
            for text in found["commands"]:
                made.append(text)
                if "--wait renewed" in text:
                    renew_all()
                self.run(["timeout", PATIENCE, "sh", "-c", text])
        return f"{len(made)} printed commands: {'; '.join(made)}"

    def look(self) -> dict[str, Any]:
        return json.loads(self.run(self.command("ca", "-o", "json", "--from", self.old)))


def replace_root(run: Run, how: Callable[[Operator], str], gap: float = SETTLE) -> None:
    """The whole change in that way, then what it has done and in which order."""
    stack, report, bao = run.stack, run.report, run.stack.bao
    count, began = len(stack.processes()), time.time()
    report.note(how(Operator(stack)))
    report.note(f"from the first step to the last restart: {time.time() - began:.0f} s")
    changed = bao.when("update", "pki/config/issuers", began)
    removed = bao.when("delete", "pki/issuer/", began)
    report.say("before the default issuer was changed:")
    restarted_for_trust(stack, report, count, (began, changed), gap)
    between = [turn for turn in stack.turns() if changed < turn[0] < removed]
    report.none(f"restarts of {stack.application} from then until the old root left", between)
    restarted_for_trust(stack, report, count, (removed, time.time()), gap)
    report.check("anchors, and who signed the leaves", "the new root everywhere", all_of_default(stack))


def all_of_default(stack: Stack | Mesh) -> bool:
    """Whether every CA.pem holds the default issuer alone, and every leaf that is published and served is of it."""
    root = ssl.PEM_cert_to_DER_cert(stack.bao.must("GET", "pki/issuer/default")["data"]["certificate"])
    held = [(stack.certificates(each) / "CA.pem").read_text() for each, _, _ in stack.instances().values()]
    alone = all(text.count("BEGIN") == 1 and ssl.PEM_cert_to_DER_cert(text) == root for text in held)
    return alone and len(verify_all_served(stack)) == sum(stack.counts.values())


def no_trouble(run: Run) -> None:
    """No restart out of turn, no leaf that was not served, no refused handshake."""
    stack, report = run.stack, run.report
    report.none("restarts out of turn", told_out_of_turn(stack))
    report.none("published leaves that were not served", run.watch.unverified())
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


def ca_rotation(stack: Stack, report: Report) -> None:
    """Loki on two hosts: the root is changed by one command, and once more by the printed ones.

    The ttl is ten minutes: with a minute or less nobody would have time to wait for his turn to restart.
    A query that is inside a scheduler when it stops gets no answer from Loki, and is asked again."""
    env = {
        "CERTAGENT_CA_POLL_INTERVAL": "5s",
        "CERTAGENT_CA_RETENTION": "20s",
        "CERTAGENT_RELOAD_MIN_HEALTHY_TIME": f"{SETTLE}s",
    }
    with stack.second_host():
        run = Run(stack, report, ttl="10m", env=env, counts=PAIRS, patience=20, extra={"replication_factor": 3}.items())
        metrics = Metrics(stack)
        metrics.well()
        for how in (Operator.rotate, Operator.by_hand):
            told = Moved(metrics, "certagent_reloads_total", label("action", "nomad_restart"))
            replace_root(run, how)
            everyone = told.instances() == set(metrics.addresses)
            report.check("seen in metrics", f"{told.name} of all {len(metrics.addresses)}", everyone)
            stack.wait_ready()
            metrics.well()
        result = run.end()
        load_checks(report, result, strict=False)
        shown = f"{result['queries_given_up']} of {result['queries']}"
        report.check("queries given up", shown, result["queries_given_up"] == 0)
        report.none("lines not found within 3 s", result["lines_late"])
        no_trouble(run)


def emergency(run: Run) -> dict[str, int]:
    """As docs/ca-rotation.md has it when the key of the old root is known to others. How many seconds it takes."""
    stack, bao, began = run.stack, run.stack.bao, time.time()
    operator, old = Operator(stack), bao.default()
    bao.must("POST", "pki/config/issuers", {"default": bao.new_root("root of the emergency")})
    renew_all()
    bao.must("POST", f"pki/issuer/{old}/revoke")
    all_trust(stack, 1, 60)
    distrusted = time.time() - began
    operator.run(operator.command("ca", "--from", operator.old, "--wait", "removed", "--timeout", PATIENCE))
    return {"out of every CA.pem": round(distrusted), "loaded everywhere": round(time.time() - began)}
