"""The deployment of nomad/ on the stack's servers: the same files that users take, with raw_exec.

Never edits a file of nomad/: everything that differs is a job variable or a setting. What stays true:
what runs here is what the repository ships.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from servers import (
    ROOT,
    Consul,
    Nomad,
    OpenBao,
    SecondConsul,
    SecondHost,
    StackError,
    Weed,
    certagent_binary,
    http,
    tool,
    wait_for,
)
from watch import HTTP2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

COMPONENTS = [
    "compactor",
    "ruler",
    "distributor",
    "ingester",
    "querier",
    "query-scheduler",
    "query-frontend",
    "index-gateway",
]


# Where a program is in its image.
IN_IMAGE = {"certagent": "/usr/local/bin/certagent", "loki": "/usr/bin/loki"}


def loki_processes() -> dict[tuple[int, str], str]:
    """(pid, start time) -> target of every Loki in this process namespace."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            started = (entry / "stat").read_text().rsplit(")", 1)[1].split()[19]
        except OSError:
            continue
        target = [word[8:] for word in command if word.startswith("-target=")]
        if target and command[0] in (tool("loki"), IN_IMAGE["loki"]):
            found[(int(entry.name), started)] = target[0]
    return found


def agents() -> list[int]:
    """Pids of all running certagents."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if command[0] in (certagent_binary(), IN_IMAGE["certagent"]) and command[1:2] == ["run"]:
            found.append(int(entry.name))
    return found


def renew_all() -> None:
    """Every certagent asked for a new leaf at once, as an operator does by SIGUSR1 or `certagent renew`."""
    for pid in agents():
        os.kill(pid, signal.SIGUSR1)


class Stack:
    """All parts, set up, and the job on them."""

    application = "Loki"
    service = "loki-certagent"

    def __init__(
        self,
        base: str | Path,
        cgroup: str = "certagent-stack",
        mesh: bool = False,
        nomad: bool = True,
        docker: str | Path = "",
    ) -> None:
        self.base = Path(base)
        self.counts: dict[str, int] = {}
        self.given: dict[str, str] = {}  # variables of its jobs, each with a value that it had
        self.certagent = certagent_binary()  # its path where the task runs
        self.known_ports: dict[str, dict[str, tuple[str, int]]] = {}
        self.ready_port = "http"
        self.consul = Consul(base, mesh)
        self.bao = OpenBao(base)
        self.nomad = None
        self.parts = [self.consul, self.bao]
        if nomad:
            self.s3 = Weed(base, mesh)
            self.nomad = Nomad(base, cgroup, mesh and not docker, docker)
            self.parts += [self.s3, self.nomad]

    def start(self, say: Callable[[str], None] = print) -> None:
        for part in self.parts:
            part.start()
            say(f"{part.name} is ready")
        if self.nomad:
            self.set_up_vault()
            self.set_up_nomad()
            say("Vault and Nomad are set up")

    def stop_job(self, seconds: float = 90) -> None:
        """Ends the job; its allocations are removed from this machine, and its rings from Consul: an ingester
        that was killed stays in them, and with it there no other one gets ready."""
        if not self.nomad:
            return
        self.nomad.cli("job", "stop", "-purge", "loki", check=False)
        wait_for("Loki to end", lambda: not loki_processes(), seconds)
        http("DELETE", f"{self.consul.url}/v1/kv/loki/?recurse=true")
        self.nomad.call("PUT", "/v1/system/gc")

    @contextlib.contextmanager
    def second_host(self) -> Iterator[None]:
        """Another Nomad client with its Consul agent; whatever runs on it is stopped before it leaves."""
        consul, nomad = SecondConsul(self.base), SecondHost(self.base, f"{self.nomad.cgroup}-2")
        self.parts += [consul, nomad]
        try:
            consul.start()
            nomad.start()
            yield
        finally:
            self.stop_job()
            self.removed()
            nomad.leave()
            consul.stop()
            self.parts = self.parts[:-2]

    def revive(self) -> None:
        """A scenario that did not end may have left a part stopped; the next one needs it."""
        for part in self.parts:
            if part.process.poll() is not None:
                part.start()

    def stop(self) -> None:
        try:
            if self.nomad and self.nomad.process and self.nomad.process.poll() is None:
                self.stop_job()
                self.removed()
        except StackError as error:
            print(f"stack: {error}")
        for part in reversed(self.parts):
            part.stop()

    def removed(self) -> None:
        wait_for("the allocations to be removed", lambda: not any(self.base.glob("n*/d/alloc/*-*")), 20)

    def catalogue(self) -> dict[str, str]:
        """Where an operator finds the agents, and by whom he has them renew."""
        nomad = {"NOMAD_ADDR": self.nomad.url, "NOMAD_TOKEN": self.nomad.bootstrap}
        return {"CONSUL_HTTP_ADDR": self.consul.url, **nomad}

    def set_up_vault(self, job: str = "loki", jwks: str | None = None, names: Mapping[str, str] | None = None) -> None:
        """By the script that users run. `jwks`: where the keys of those who log in are, when not at Nomad.

        `names`: variables of the script for other names than its own."""
        environment = {
            "PATH": os.environ["PATH"],
            "VAULT_ADDR": self.bao.url,
            "VAULT_TOKEN": self.bao.keys["root_token"],
            "NOMAD_JWKS_URL": jwks or f"{self.nomad.url}/.well-known/jwks.json",
            "NOMAD_JOB": job,
            **(names or {}),
        }
        done = subprocess.run(
            [ROOT / "nomad/vault/setup.sh"], env=environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise StackError(f"nomad/vault/setup.sh ended with {done.returncode}: {done.stdout}{done.stderr}")

    def set_up_nomad(self, job: str = "loki") -> None:
        self.nomad.cli(
            "var", "put", "-force", f"nomad/jobs/{job}", "s3_access_key_id=loki", "s3_secret_access_key=loki-stack"
        )
        for group in COMPONENTS:
            self.nomad.cli(
                "acl",
                "policy",
                "apply",
                "-namespace",
                "default",
                "-job",
                job,
                "-group",
                group,
                "-task",
                "certagent",
                f"certagent-{job}-{group}",
                "nomad/policy.hcl",
            )

    def set_up_templates(self) -> None:
        """A login for Nomad's template runner, which must have Vault make the keys, for loki-templates.nomad.hcl."""
        rule = 'path "pki/issue/internal" { capabilities = ["update"] }'
        self.bao.must("PUT", "sys/policies/acl/loki-templates", {"policy": rule})
        status, role = self.bao.call("GET", "auth/jwt-nomad/role/loki-certagent")
        data = {**role["data"], "bound_claims": {**role["data"]["bound_claims"], "nomad_task": "loki"}}
        keep = (
            "role_type",
            "bound_audiences",
            "user_claim",
            "user_claim_json_pointer",
            "bound_claims",
            "claim_mappings",
            "token_type",
        )
        own = {"token_policies": ["loki-templates"], "token_period": "30m"}
        self.bao.must("POST", "auth/jwt-nomad/role/loki-templates", {**{k: data[k] for k in keep}, **own})

    def variables(
        self, ttl: str, counts: dict[str, int], env: dict[str, str], extra: Iterable[tuple[str, object]] = ()
    ) -> list[str]:
        s3 = {"endpoint": self.s3.url, "bucket": "loki", "region": "us-east-1", "insecure": True}
        values = {
            "driver": "raw_exec",
            "loki_command": tool("loki"),
            "certagent_command": certagent_binary(),
            "vault_address": self.bao.url,
            "consul_address": "127.0.0.1:8500",
            "ttl": ttl,
            "kill_timeout": "10s",
            # A load balancer here looks every second, so Loki need not wait long for it.
            "drain": "2s",
            "counts": json.dumps(counts),
            "s3": json.dumps(s3),
            "certagent_env": json.dumps({**self.bao.PLAIN, **env}),
            "check_interval": "1s",
            "certagent_restart_delay": "1s",
            **dict(extra),
        }
        return [f"-var={key}={value}" for key, value in values.items()]

    def run_job(
        self,
        ttl: str = "1m",
        counts: dict[str, int] | None = None,
        env: dict[str, str] | None = None,
        extra: Iterable[tuple[str, object]] = (),
        file: str = "nomad/loki.nomad.hcl",
    ) -> None:
        self.counts = {component: (counts or {}).get(component, 1) for component in COMPONENTS}
        variables = self.variables(ttl, counts or {}, env or {}, extra)
        self.given.update(each.removeprefix("-var=").split("=", 1) for each in variables)
        self.nomad.cli("job", "run", "-detach", *variables, file)

    def run_templates(
        self,
        ttl: str,
        counts: dict[str, int] | None = None,
        splay: str = "5s",
        extra: Iterable[tuple[str, object]] = (),
    ) -> None:
        self.counts = {component: (counts or {}).get(component, 1) for component in COMPONENTS}
        self.nomad.cli("job", "run", "-detach", *self.template_job(ttl, counts or {}, splay, extra))

    def template_job(
        self, ttl: str, counts: dict[str, int], splay: str = "5s", extra: Iterable[tuple[str, object]] = ()
    ) -> list[str]:
        """The job with template blocks, as arguments of `nomad job run`: only the variables that it has."""
        mine = ("loki_command", "consul_address", "ttl", "kill_timeout", "drain", "counts", "s3", "check_interval")
        chosen = [
            each for each in self.variables(ttl, counts, {}, extra) if each[5:].split("=")[0] in (*mine, *dict(extra))
        ]
        return [*chosen, f"-var=splay={splay}", "integration/stack/loki-templates.nomad.hcl"]

    def wait_ready(self, seconds: float = 180, job: str = "loki") -> None:
        """Until every Loki answers /ready with 200 and the catalogue has them all as healthy."""

        def all_ready() -> bool:
            allocations = self.nomad.allocations(job)
            for component in COMPONENTS:
                group = [a for a in allocations.get(component, []) if a["ClientStatus"] == "running"]
                if len(group) < self.counts[component]:
                    return False
                for allocation in group:
                    address, port = self.nomad.ports(allocation["ID"])[self.ready_port]
                    if http("GET", f"http://{address}:{port}/ready", timeout=2, raw=True)[0] != 200:
                        return False
                if len(self.in_service(component) or []) < self.counts[component]:
                    return False
            return True

        try:
            wait_for("all components to be ready", all_ready, seconds, every=1)
        except StackError as error:
            raise StackError(f"{error}\n{self.explain(job)}") from None

    def ports_of(self, allocation_id: str) -> dict[str, tuple[str, int]]:
        if allocation_id not in self.known_ports:
            self.known_ports[allocation_id] = self.nomad.ports(allocation_id)
        return self.known_ports[allocation_id]

    def addresses(self, label: str = "http", job: str = "loki") -> dict[str, list[str]]:
        """host:port of every running instance, by component."""
        return {
            component: ["{}:{}".format(*self.ports_of(a["ID"])[label]) for a in group if a["ClientStatus"] == "running"]
            for component, group in self.nomad.allocations(job).items()
        }

    def in_service(self, component: str) -> list[str] | None:
        """host:port of the instances that Consul calls healthy, as a load balancer asks; None without an answer."""
        status, answer = http("GET", f"{self.consul.url}/v1/health/service/loki-{component}?passing=1", timeout=2)
        return [f"{each['Service']['Address']}:{each['Service']['Port']}" for each in answer] if status == 200 else None

    def instances(self, job: str = "loki") -> dict[str, tuple[str, str, int]]:
        """Allocation name -> (id, address and port of gRPC), of those that run."""
        try:
            return {
                a["Name"]: (a["ID"], *self.ports_of(a["ID"])["grpc"])
                for group in self.nomad.allocations(job).values()
                for a in group
                if a["ClientStatus"] == "running"
            }
        except StackError:
            return {}

    def component(self, name: str) -> str:
        """Of an allocation, by its name: job.group[index]."""
        return name.split(".", 1)[1].split("[")[0]

    def protocol(self, name: str) -> str:
        """What the watched port of an instance speaks: gRPC."""
        return HTTP2

    def certificates(self, allocation: str, task: str = "certagent") -> Path:
        """The directory with an allocation's certificate files."""
        return self.nomad.task_dir(allocation, task) / "secrets/certs"

    def processes(self) -> dict[tuple[int, str], str]:
        """(pid, start time) -> name, of every process of the application."""
        return loki_processes()

    def logs(self) -> list[Path]:
        """Log files of the application."""
        return self.nomad.logs("loki")

    def agent_logs(self) -> list[Path]:
        return self.nomad.logs("certagent")

    def metrics_addresses(self) -> dict[str, str]:
        """Allocation name -> host:port of certagent's metrics, of those that run."""
        return {
            a["Name"]: "{}:{}".format(*self.ports_of(a["ID"])["metrics"])
            for group in self.nomad.allocations().values()
            for a in group
            if a["ClientStatus"] == "running"
        }

    def restarts(self, task: str = "loki", job: str = "loki") -> int:
        """How often Nomad has started the task again, over all allocations of the job."""
        answer = self.nomad.must("GET", f"/v1/job/{job}/allocations?all=true")
        return sum((a.get("TaskStates") or {}).get(task, {}).get("Restarts", 0) for a in answer)

    def turns(self, task: str = "loki", job: str = "loki") -> list[tuple[float, float]]:
        """(when a restart was asked for, when it had started again) of every restart that Nomad remembers, in order."""
        found = []
        for a in self.nomad.must("GET", f"/v1/job/{job}/allocations"):
            asked = None
            for event in a["TaskStates"][task]["Events"]:
                if event["Type"] == "Restart Signaled":
                    asked = event["Time"] / 1e9
                elif event["Type"] == "Started" and asked:
                    found.append((asked, event["Time"] / 1e9))
                    asked = None
        return sorted(found)

    def failed_tasks(self, task: str = "loki", job: str = "loki") -> dict[str, tuple[float, str]]:
        """Allocation name -> (when Nomad ended it for good, the reason it names), of tasks that it has failed."""
        found = {}
        for a in self.nomad.must("GET", f"/v1/job/{job}/allocations?all=true"):
            state = (a.get("TaskStates") or {}).get(task) or {}
            if state.get("Failed") and state.get("FinishedAt"):
                reasons = [
                    e["DisplayMessage"]
                    for e in state["Events"]
                    if "emplate" in e["DisplayMessage"] or e.get("FailsTask")
                ]
                ended = datetime.datetime.fromisoformat(state["FinishedAt"][:19] + "+00:00").timestamp()
                found.setdefault(a["Name"], (ended, " / ".join(reasons[-2:]) or state["Events"][-1]["DisplayMessage"]))
        return found

    def explain(self, job: str = "loki") -> str:
        """What runs and the last log lines of what does not."""
        if not self.nomad:
            return "\n".join(f"{part.name}:\n{part.tail(5)}" for part in self.parts)
        lines = []
        for component, group in sorted(self.nomad.allocations(job).items()):
            for allocation in group:
                lines.append(f"{component} {allocation['ID'][:8]} {allocation['ClientStatus']}")
                for task, state in (allocation.get("TaskStates") or {}).items():
                    lines.append(f"  {task}: {state['State']} failed={state['Failed']} restarts={state['Restarts']}")
                    if state["State"] != "running":
                        lines += [f"    {event['Type']}: {event['DisplayMessage']}" for event in state["Events"][-3:]]
                    for log in self.nomad.logs(task, allocation["ID"]):
                        lines += [f"    | {line[:300]}" for line in log.read_text(errors="replace").splitlines()[-3:]]
        return "\n".join(lines)
