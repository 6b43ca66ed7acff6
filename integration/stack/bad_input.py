"""What an operator gets wrong in the job: each fault says so in one line, where an operator looks.

No Loki is needed, for none is started. What stays true: the job is the shipped one but for the one fault, and the
line is read from Nomad's events, certagent's log or its doctor, never from the driver itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from containers import base_image, build
from deploy import COMPONENTS
from docker_driver import DockerStack, version
from scale_and_migration import as_json, submit
from servers import NODE_IP, StackError, wait_for

if TYPE_CHECKING:
    from typing import Any

    from report import Report

GROUP = "query-scheduler"  # one is enough: all groups have the same tasks
ONE = {component: int(component == GROUP) for component in COMPONENTS}
SAYS = 60  # seconds for the line to be there


@dataclass(frozen=True)
class Fault:
    """What is wrong, and the words that say it. `config`: what the certagent task's own configuration gets."""

    what: str
    words: str
    where: str = "event"  # event, log or doctor
    task: str = "certagent"
    variables: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


FAULTS = [
    Fault(
        "image without certagent",
        'exec: "run": executable file not found in $PATH',
        variables={"certagent_image": "base:stack"},
    ),
    Fault("image that is nowhere", "connection refused", variables={"certagent_image": f"{NODE_IP}:5000/certagent:1"}),
    Fault("user that the image lacks", "unable to find user loki", variables={"user": "loki"}),
    Fault(
        "path of the host, with volumes disabled",
        "volumes are not enabled; cannot mount host path",
        config={"volumes": ["/etc/ssl:/etc/ssl:ro"]},
    ),
    Fault(
        "directory mounted read-only: log",
        "could not lock /secrets/certs: Read-only file system",
        where="log",
        config={"volumes": ["secrets/certs:/secrets/certs:ro"]},
    ),
    Fault(
        "directory mounted read-only: doctor",
        "the certificate directory is on a read-only mount",
        where="doctor",
        config={"volumes": ["secrets/certs:/secrets/certs:ro"]},
    ),
    Fault(
        "image without Loki",
        'exec: "-config.file=/local/loki.yaml": ',
        task="loki",
        variables={"image": "base", "version": "stack"},
    ),
    Fault(
        "raw_exec: no certagent on the client",
        "/usr/local/bin/nothing",
        variables={"driver": "raw_exec", "certagent_command": "/usr/local/bin/nothing"},
    ),
]


class NoLoki(DockerStack):
    """With certagent's image alone."""

    def images(self) -> None:
        base_image(self.docker)
        self.docker.must("tag", "base", "base:stack")  # Nomad asks a registry for `latest`
        build(self.docker, f"certagent:{version()}")


def bad_input(stack: NoLoki, report: Report) -> None:
    wrong_driver(stack, report)
    for fault in FAULTS:
        shown(stack, report, fault)
    daemon_away(stack, report)


def wrong_driver(stack: NoLoki, report: Report) -> None:
    """Refused before anything is placed."""
    arguments = stack.variables("10m", ONE, {}, {"driver": "podman"}.items())
    try:
        stack.nomad.cli("job", "run", "-detach", *arguments, "nomad/loki.nomad.hcl")
        said = "it was accepted"
    except StackError as refused:
        said = str(refused)
    words = "The driver is docker or raw_exec."
    report.check("wrong driver: nomad job run", words if words in said else said[-300:], words in said)


def shown(stack: NoLoki, report: Report, fault: Fault) -> None:
    """The job with the fault, until the line is there; Loki must not have run."""
    arguments = stack.variables("10m", ONE, {}, fault.variables.items())
    job = as_json(stack, [*arguments, "nomad/loki.nomad.hcl"])
    group = next(each for each in job["TaskGroups"] if each["Name"] == GROUP)
    next(each for each in group["Tasks"] if each["Name"] == "certagent")["Config"].update(fault.config)
    submit(stack, job)
    found = ""

    def said() -> bool:
        nonlocal found
        found = next((line for line in lines(stack, fault) if fault.words in line), "")
        return bool(found)

    try:
        wait_for(f"the {fault.where} to say {fault.words!r}", said, SAYS, every=1)
    except StackError as error:
        found = f"{error}: {lines(stack, fault)[-6:]}"
    report.check(f"{fault.what}: {fault.where}", found.strip(), fault.words in found and "in vain" not in found)
    report.none(f"{fault.what}: Loki started", started(stack))
    stack.stop_job()


def tasks(stack: NoLoki) -> list[tuple[str, dict[str, Any]]]:
    """(allocation, states of its tasks), replaced allocations too."""
    answer = stack.nomad.must("GET", "/v1/job/loki/allocations?all=true")
    return [(each["ID"], each["TaskStates"]) for each in answer if each.get("TaskStates")]


def lines(stack: NoLoki, fault: Fault) -> list[str]:
    """What an operator reads there."""
    if fault.where == "log":
        return [line for log in stack.agent_logs() for line in log.read_text(errors="replace").splitlines()]
    if fault.where == "doctor":
        command = ["alloc", "exec", "-task", "certagent"]
        answers = [
            stack.nomad.cli(*command, allocation, stack.certagent, "doctor", check=False)
            for allocation, states in tasks(stack)
            if states["certagent"]["State"] == "running"
        ]
        return [line for answer in answers for line in answer.splitlines()]
    return [
        event["DisplayMessage"]
        for _, states in tasks(stack)
        for event in states.get(fault.task, {}).get("Events") or []
    ]


def started(stack: NoLoki) -> list[str]:
    """Allocations in which the task loki ran."""
    return [allocation for allocation, states in tasks(stack) if states.get("loki", {}).get("StartedAt")]


def daemon_away(stack: NoLoki, report: Report) -> None:
    """A client whose Docker does not answer has no such driver: Nomad places nothing there, and says why."""
    stack.docker.stop()
    wait_for("Nomad to miss Docker", lambda: not stack.nomad.node()["Drivers"]["docker"]["Healthy"], 90, every=1)
    plan = stack.nomad.cli("job", "plan", *stack.variables("10m", ONE, {}), "nomad/loki.nomad.hcl", check=False)
    said = [line.strip(" *") for line in plan.splitlines() if "missing drivers" in line]
    report.check("no Docker on the client: nomad job plan", said[:1] or plan[-300:], said)
    stack.docker.start()
