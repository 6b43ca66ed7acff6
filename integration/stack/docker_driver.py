"""The job as it is by default: every task in a container of Docker.

Variables that a user need not set are not set here. The images are made on this machine: certagent's by the
repository's Dockerfile, Loki's from your own Loki. What stays true: what Docker loses at a restart and a node
loses at a reboot is really lost before it is looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from containers import Docker, base_image, build
from deploy import IN_IMAGE, Stack, agents, renew_all
from metrics import Metrics
from report import load_checks
from scenarios import ROTATIONS, Run, all_from, all_trust, debugging, restarted_for_trust
from servers import NODE_IP, ROOT, http, tool, wait_for
from watch import NotServed, verify_all_served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from report import Report

KILLS = 10
DENIED = "could not lock /secrets/certs: Permission denied"


class DockerStack(Stack):
    """With a daemon of Docker, and a Consul agent that containers reach at the node's address."""

    def __init__(self, base: str | Path, cgroup: str) -> None:
        self.docker = Docker(base, dns=NODE_IP)
        super().__init__(base, cgroup, mesh=True, docker=self.docker.socket)
        self.parts.insert(0, self.docker)
        self.certagent = IN_IMAGE["certagent"]

    def set_up_nomad(self, job: str = "loki") -> None:
        super().set_up_nomad(job)
        self.images()

    def images(self) -> None:
        base_image(self.docker)
        build(self.docker, f"certagent:{version()}")
        loki_image(self.docker)

    def variables(
        self, ttl: str, counts: dict[str, int], env: dict[str, str], extra: Iterable[tuple[str, object]] = ()
    ) -> list[str]:
        """What every user has to say, and what makes the run short."""
        s3 = {"endpoint": self.s3.url, "bucket": "loki", "region": "us-east-1", "insecure": True}
        values = {
            "vault_address": self.bao.url,
            "s3": json.dumps(s3),
            "image": "loki",
            "version": "stack",
            "certagent_env": json.dumps({**self.bao.PLAIN, **env}),
            "counts": json.dumps(counts),
            "ttl": ttl,
            "kill_timeout": "10s",
            "drain": "2s",
            "check_interval": "1s",
            **dict(extra),
        }
        return [f"-var={key}={value}" for key, value in values.items()]


def version() -> str:
    """Of certagent, as its manifest says it: the tag that the job takes by default."""
    line = next(each for each in (ROOT / "Cargo.toml").read_text().splitlines() if each.startswith("version"))
    return line.split('"')[1]


def loki_image(docker: Docker) -> None:
    """`loki:stack`, from the Loki that is here."""
    context = docker.dir / "loki"
    context.mkdir()
    shutil.copy2(tool("loki"), context / "loki")
    (context / "Dockerfile").write_text(
        f'FROM base\nCOPY loki {IN_IMAGE["loki"]}\nUSER 10001\nENTRYPOINT ["{IN_IMAGE["loki"]}"]\n'
    )
    docker.must("build", "--no-cache", "--tag=loki:stack", str(context), seconds=300)
    shutil.rmtree(context)


def docker_driver(stack: DockerStack, report: Report) -> None:
    """Rotation, help inside a container, another certagent, then what ends containers: a kill, a new root, the
    daemon, the node."""
    rotation(stack, report)
    stack.stop_job()
    env = {
        "CERTAGENT_CA_POLL_INTERVAL": "5s",
        "CERTAGENT_RELOAD_MIN_HEALTHY_TIME": "5s",
    }
    counts = {"ingester": 2, "distributor": 2}
    names = {"user": "10002:10002", "dns_servers": json.dumps([NODE_IP]), "certagent_image": other_image(stack, "a")}
    stack.run_job(ttl="10m", env=env, counts=counts, extra=names.items())
    stack.wait_ready()
    report.check("user of each certagent", users(), users() == {10002})
    restarted_with_another(stack, report)
    names["certagent_image"] = other_image(stack, "b")
    replaced_by_job(stack, report, lambda: stack.run_job(ttl="10m", env=env, counts=counts, extra=names.items()))
    changed_root(stack, report)
    daemon_restarted(stack, report)
    rebooted(stack, report)


def rotation(stack: DockerStack, report: Report) -> None:
    run = Run(stack, report, ttl="30s", extra={"certagent_restart_delay": "1s"}.items())
    run.rotated(ROTATIONS, 600)
    killed(stack, report)
    run.rotated(1, 120)
    load_checks(report, run.end())
    report.check("instances", len(run.watch.serials), len(run.watch.serials) == sum(stack.counts.values()))
    rotations = run.watch.rotations().values()
    report.check("rotations of each instance", f"{min(rotations)} to {max(rotations)}", min(rotations) >= ROTATIONS)
    run.certificate_checks()
    run.restart_checks()
    debugging(stack, report)


def killed(stack: DockerStack, report: Report) -> None:
    """certagent's containers, by Docker; Nomad starts them again."""
    for container in containers(stack, "certagent")[:KILLS]:
        stack.docker.must("kill", container)
    metrics = Metrics(stack)
    wait_for("every certagent to run again", lambda: len(agents()) == len(metrics.addresses), 90)
    metrics.well()
    restarts = stack.restarts("certagent")
    report.check(f"{KILLS} containers of certagent killed", f"{restarts} started again", restarts == KILLS)


def users() -> set[int]:
    """Under which certagent runs."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in agents()]
    return {int(line.split()[1]) for text in status for line in text.splitlines() if line.startswith("Uid:")}


def other_image(stack: DockerStack, label: str, tag: str = "") -> str:
    """Another image with the same program, by a label, and its name."""
    context, name = stack.docker.dir / "other", f"certagent:{tag or label}"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM certagent:{version()}\nLABEL which={label}\n")
    stack.docker.must("build", f"--tag={name}", str(context))
    return name


def restarted_with_another(stack: DockerStack, report: Report) -> None:
    """docs/operating.md: the tag means another image now, and the task alone is started again."""
    group = stack.nomad.allocations()["querier"][0]["ID"]
    loki, issued = stack.processes(), stack.bao.issuances()
    other_image(stack, "a2", tag="a")
    began = time.monotonic()
    stack.nomad.cli("alloc", "restart", "-task", "certagent", group)

    def another() -> bool:
        found = stack.docker.run("inspect", "--format={{.Config.Labels.which}}", f"certagent-{group}").stdout.strip()
        return found == "a2"

    wait_for("a container of the new image", another, 60)
    seconds = f"{time.monotonic() - began:.1f} s"
    Metrics(stack).well()
    same = stack.processes() == loki
    report.check("another image behind the tag", f"runs after {seconds}, Loki is the same", same)
    report.none("certificates asked for since", stack.bao.issuances() - issued)


def replaced_by_job(stack: DockerStack, report: Report, run: Callable[[], None]) -> None:
    """The same by the job's own update: every allocation is replaced, so every Loki too."""
    began, loki, issued = time.monotonic(), set(stack.processes()), stack.bao.issuances()
    run()
    wait_for("every Loki to be another one", lambda: not loki & set(stack.processes()), 240, every=1)
    stack.wait_ready()
    count, seconds = stack.bao.issuances() - issued, f"{time.monotonic() - began:.0f} s"
    found = f"every Loki another one, {count} certificates, {seconds}"
    report.check("another image by the job", found, count == sum(stack.counts.values()))


def containers(stack: DockerStack, task: str) -> list[str]:
    """Those of one task, in every allocation."""
    return stack.docker.must("ps", "--quiet", f"--filter=name=^{task}-").split()


def changed_root(stack: DockerStack, report: Report) -> None:
    """Trusted everywhere, then used."""
    new = stack.bao.new_root("Loki internal CA 2")
    all_trust(stack, 2, 60)
    restarted_for_trust(stack, report, sum(stack.counts.values()))
    stack.wait_ready()
    stack.bao.must("POST", "pki/config/issuers", {"default": new})
    renew_all()

    def from_new_root() -> bool:
        try:
            return all_from(stack, "Loki internal CA 2")
        except (NotServed, OSError, ValueError):
            return False  # between reading a set and the handshake it was replaced

    wait_for("every leaf to be from the new root, and served", from_new_root, 90, every=1)
    report.check("leaves since the new default", "all from the new root, all served", True)


def daemon_restarted(stack: DockerStack, report: Report) -> None:
    """Every container ends with it. The daemon is back before Nomad starts the tasks again, so the allocations stay."""
    before, issued, running = serials(stack), stack.bao.issuances(), set(agents())
    stack.docker.stop()
    stack.docker.start()
    wait_for("every container to be another one", lambda: agents() and not running & set(agents()), 90)
    back(stack, report, "Docker's daemon restarted")
    report.none("certificates asked for since", stack.bao.issuances() - issued)
    report.check("leaves", "the same as before", serials(stack) == before)


def rebooted(stack: DockerStack, report: Report) -> None:
    """As after a reboot: no process of Docker's or Nomad's, and what was in memory is gone.

    Nomad takes the allocations up again without mounting their secrets directories anew; what is below belongs
    to root, so the user of the containers can't write there. New allocations have what they need."""
    before = serials(stack)
    stack.nomad.stop()
    for pid in plugins():
        os.kill(pid, signal.SIGKILL)
    stack.docker.must("kill", *stack.docker.must("ps", "--quiet").split())
    stack.docker.stop()
    lost = [each for each in mounts() if each.endswith(("/secrets", "/private")) and str(stack.nomad.dir) in each]
    subprocess.run(["umount", *lost], check=True)
    report.check("file systems in memory that are gone", len(lost), len(lost) > 0)
    stack.docker.start()
    stack.nomad.start()
    wait_for("every certagent to say what is wrong", lambda: said(stack, DENIED) >= len(before), 120, every=1)
    report.check("after a reboot", f"every certagent says {DENIED!r}, and Nomad is to replace them", True)
    for group in stack.nomad.allocations().values():
        for allocation in group:
            stack.nomad.cli("alloc", "stop", "-detach", allocation["ID"])
    # Those that were killed stay in Loki's rings, as after any crash: an operator forgets them there.
    http("DELETE", f"{stack.consul.url}/v1/kv/loki/?recurse=true")
    back(stack, report, "the node rebooted")
    after = serials(stack)
    report.none("instances with a leaf of before", [name for name in after if after[name] == before.get(name)])


def back(stack: DockerStack, report: Report, what: str) -> None:
    """All instances are ready, and serve what they publish."""
    began = time.monotonic()
    stack.wait_ready(seconds=300)
    Metrics(stack).well()
    verify_all_served(stack)
    report.check(f"{what}: all ready and well", f"after {time.monotonic() - began:.0f} s", True)


def said(stack: DockerStack, words: str) -> int:
    """How many of certagent's logs have these words."""
    return sum(words in log.read_text(errors="replace") for log in stack.agent_logs())


def serials(stack: DockerStack) -> dict[str, str]:
    return {name: facts["serialNumber"] for name, facts in verify_all_served(stack).items()}


def plugins() -> list[int]:
    """What an agent of Nomad leaves running for the next one: a reboot ends it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if command[0] == tool("nomad"):
            found.append(int(entry.name))
    return found


def mounts() -> list[str]:
    return [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
