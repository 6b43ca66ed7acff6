"""The servers of the stack, each a real one: Consul, OpenBao, Nomad, SeaweedFS.

Starts each with its data below one directory, waits until it is ready, ends it by its own process id.
Never talks to anything but addresses of this network namespace. What stays true: a part that does not
get ready ends the run with the last lines of its log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "integration/tools"))

from programs import PROGRAMS, Unusable, where  # noqa: E402

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from typing import Self

TOOLS = ROOT / ".cache" / "tools" / "bin"
NODE_IP = "10.213.0.1"


Json = Any  # a decoded document
T = TypeVar("T")


class StackError(Exception):
    """Something did not happen: what, where to look."""


def tool(command: str) -> str:
    """Path of a program; its version was looked at when the run began."""
    try:
        return str(where(next(each for each in PROGRAMS.values() if each.command == command)))
    except Unusable as problem:
        raise StackError(str(problem)) from None


def certagent_binary() -> str:
    """The binary under test."""
    for path in filter(
        None, [os.environ.get("CERTAGENT_BIN"), ROOT / "target/release/certagent", ROOT / "target/debug/certagent"]
    ):
        if Path(path).exists():
            return str(path)
    raise StackError("certagent is not built: cargo build --release --locked")


def http(
    method: str,
    url: str,
    body: Json = None,
    headers: dict[str, str] | None = None,
    timeout: float = 10,
    raw: bool = False,
    context: ssl.SSLContext | None = None,
) -> tuple[int, Json]:
    """One request. Returns (status, decoded JSON or text); status 0 when nothing answered."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    except (OSError, TimeoutError) as error:
        return 0, str(error)
    if raw:
        return status, content
    try:
        return status, json.loads(content) if content else None
    except ValueError:
        return status, content.decode(errors="replace")


def wait_for(what: str, condition: Callable[[], T], seconds: float, every: float = 0.2) -> T:
    """The first true value of `condition`, or StackError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise StackError(f"waited {seconds} s in vain for {what}")
        time.sleep(every)


class Part:
    """One server process with a log file of its own."""

    name = "part"
    patience = 20  # seconds between SIGTERM and SIGKILL

    def __init__(self, base: str | Path) -> None:
        self.dir = Path(base) / self.name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.log = self.dir / "log"
        self.process = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG")}
        scratch = self.dir.parent / "tmp"
        scratch.mkdir(exist_ok=True)
        return {**keep, "HOME": str(self.dir), "TMPDIR": str(scratch)}

    def launch(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=self.dir,
                start_new_session=True,  # Ctrl-C is for the run, which stops it in order
            )

    def start(self, seconds: float = 60) -> Self:
        self.launch()

        def up() -> bool:
            if self.process.poll() is not None:
                raise StackError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            return self.ready()

        try:
            wait_for(f"{self.name} to be ready", up, seconds)
        except StackError as error:
            raise StackError(f"{error}\n{self.tail()}") from None
        return self

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class Consul(Part):
    """Service catalogue, DNS on port 53 of this namespace, and the store of Loki's rings."""

    name = "consul"
    url = "http://127.0.0.1:8500"

    def __init__(self, base: str | Path, mesh: bool = False) -> None:
        super().__init__(base)
        # What is in a bridge has a loopback of its own and comes to the node's address.
        self.client = f"127.0.0.1 {NODE_IP}" if mesh else "127.0.0.1"

    def command(self) -> list[str]:
        return [
            tool("consul"),
            "agent",
            "-dev",
            "-bind=127.0.0.1",
            f"-client={self.client}",
            "-node=stack",
            "-dns-port=53",
            "-log-level=warn",
            "-hcl=disable_update_check = true",
            '-hcl=dns_config { service_ttl { "*" = "0s" } }',
        ]

    def ready(self) -> bool:
        status, leader = http("GET", f"{self.url}/v1/status/leader")
        return status == 200 and bool(leader)


class SecondConsul(Consul):
    """The agent of the second host: each Nomad client needs one of its own, and takes away what it does not know."""

    name = "consul2"
    url = "http://10.213.1.1:8500"

    def command(self) -> list[str]:
        return [
            tool("consul"),
            "agent",
            "-node=host1",
            f"-data-dir={self.dir}/data",
            "-bind=10.213.1.1",
            "-client=10.213.1.1",
            "-retry-join=127.0.0.1",
            "-log-level=warn",
            "-hcl=disable_update_check = true",
            "-hcl=leave_on_terminate = true",
        ]


class OpenBao(Part):
    """With storage on disk, so that it can be stopped and comes back with everything it had."""

    name = "bao"
    url = f"http://{NODE_IP}:8200"
    secure_url = f"https://{NODE_IP}:8202"  # the same, by TLS of a CA that nobody knows
    # Without TLS, and not on loopback: this network has no others on it.
    PLAIN = {"CERTAGENT_VAULT_ALLOW_PLAIN_HTTP": "true"}

    def __init__(self, base: str | Path) -> None:
        super().__init__(base)
        (self.dir / "data").mkdir(exist_ok=True)
        self.audit = self.dir / "audit.log"
        self.ca = self.own_ca()
        (self.dir / "bao.hcl").write_text(
            f'storage "raft" {{\n  path = "{self.dir}/data"\n  node_id = "stack"\n}}\n'
            f'listener "tcp" {{\n  address = "{NODE_IP}:8200"\n  tls_disable = true\n}}\n'
            f'listener "tcp" {{\n  address = "{NODE_IP}:8202"\n'
            f'  tls_cert_file = "{self.dir}/tls.pem"\n  tls_key_file = "{self.dir}/tls.key"\n}}\n'
            f'api_addr = "{self.url}"\ncluster_addr = "http://{NODE_IP}:8201"\n'
            f'audit "file" "stack" {{\n  options {{\n    file_path = "{self.audit}"\n  }}\n}}\n'
        )
        self.keys = {}

    def own_ca(self) -> str:
        """A certificate for the listener with TLS. The PEM text of the CA that signed it."""
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days=1"]
        for name, more in (
            ("ca", ["-subj=/CN=Vault's CA"]),
            ("tls", ["-subj=/CN=vault", f"-addext=subjectAltName=IP:{NODE_IP}", "-addext=basicConstraints=CA:FALSE"]),
        ):
            signer = [f"-CA={self.dir}/ca.pem", f"-CAkey={self.dir}/ca.key"] if name == "tls" else []
            files = [f"-keyout={self.dir}/{name}.key", f"-out={self.dir}/{name}.pem"]
            subprocess.run([*new, *more, *signer, *files], check=True, capture_output=True)
        return (self.dir / "ca.pem").read_text()

    def command(self) -> list[str]:
        return [tool("bao"), "server", f"-config={self.dir}/bao.hcl", "-log-level=warn"]

    def call(self, method: str, path: str, body: Json = None) -> tuple[int, Json]:
        # A minute: the first write to a new raft store waits for the disk.
        return http(
            method, f"{self.url}/v1/{path}", body, {"X-Vault-Token": self.keys.get("root_token", "")}, timeout=60
        )

    def must(self, method: str, path: str, body: Json = None) -> Json:
        status, answer = self.call(method, path, body)
        if status not in (200, 204):
            raise StackError(f"OpenBao: {method} {path} answered {status}: {answer}")
        return answer

    def ready(self) -> bool:
        status, health = http("GET", f"{self.url}/v1/sys/health?standbyok=true", timeout=5)
        if status == 501 and not self.keys:
            self.keys = self.must("POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        if status == 503 and self.keys:
            self.must("POST", "sys/unseal", {"key": self.keys["keys"][0]})
        return status == 200 and not health.get("standby", True)

    def new_root(self, name: str) -> str:
        """Id of a new root of the mount; the first one is the default issuer, others sign nothing yet."""
        wanted = {"common_name": name, "key_type": "ec", "key_bits": 256, "ttl": "87600h"}
        return self.must("POST", "pki/root/generate/internal", wanted)["data"]["issuer_id"]

    def default(self) -> str:
        """Id of the issuer that signs what names none."""
        return self.must("GET", "pki/config/issuers")["data"]["default"]

    def audited(self, kind: str) -> Iterator[Json]:
        """Requests or responses that concern the PKI, by the audit log."""
        with open(self.audit, encoding="utf-8", errors="replace") as log:
            for line in log:
                if f'"type":"{kind}"' in line and '"pki/' in line and "error" not in (entry := json.loads(line)):
                    yield entry

    def answered(self) -> Iterator[Json]:
        """What was done."""
        return self.audited("response")

    def issuances(self) -> int:
        """Certificates issued since the beginning: what the issuer itself has counted."""
        return sum(entry["request"]["path"].startswith(("pki/issue/", "pki/sign/")) for entry in self.answered())

    def when(self, operation: str, path: str, since: float) -> float:
        """When the first such change was asked for.

        Who is killed while he waits gets an error for an answer, and the change may be made all the same."""
        for entry in self.audited("request"):
            asked, (day, _, fraction) = entry["request"], entry["time"].rstrip("Z").partition(".")
            at = datetime.fromisoformat(f"{day}+00:00").timestamp() + float(f"0.{fraction or 0}")
            if at >= since and asked["operation"] == operation and asked["path"].startswith(path):
                return at
        raise StackError(f"the audit log has no {operation} of {path}")


class Weed(Part):
    """S3: one process, one bucket, anybody may (loopback of this namespace)."""

    name = "s3"
    patience = 2

    def __init__(self, base: str | Path, mesh: bool = False) -> None:
        super().__init__(base)
        self.address = NODE_IP if mesh else "127.0.0.1"
        self.url = f"http://{self.address}:8333"
        (self.dir / "data").mkdir(exist_ok=True)
        identity = {
            "identities": [
                {
                    "name": "loki",
                    "credentials": [{"accessKey": "loki", "secretKey": "loki-stack"}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
        (self.dir / "s3.json").write_text(json.dumps(identity))

    def command(self) -> list[str]:
        return [
            tool("weed"),
            f"-logdir={self.dir}",
            "server",
            f"-ip={self.address}",
            f"-ip.bind={self.address}",
            f"-dir={self.dir}/data",
            "-s3",
            "-s3.port=8333",
            f"-s3.config={self.dir}/s3.json",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=50",
            "-master.telemetry=false",
        ]

    def ready(self) -> bool:
        return http("GET", f"{self.url}/status", timeout=2, raw=True)[0] in (200, 403) and self.bucket()

    def bucket(self) -> bool:
        shell = subprocess.run(
            [tool("weed"), "shell", f"-master={self.address}:9333"],
            input="s3.bucket.create -name loki\n",
            text=True,
            capture_output=True,
            env=self.environment(),
            timeout=60,
        )
        return "create bucket" in shell.stdout or "exist" in shell.stdout + shell.stderr


class Nomad(Part):
    """Server and client in one agent, ACLs on, raw_exec, with a data directory (so it can be restarted)."""

    name = "n"  # short: the path of api.sock has at most 108 bytes
    host = "host0"  # network interface
    consul = "127.0.0.1:8500"
    url = "http://127.0.0.1:4646"
    own_ports = ""
    server = 'server {\n  enabled = true\n  bootstrap_expect = 1\n  heartbeat_grace = "30s"\n}'
    bootstrap = "5e1f0d0a-0000-4000-8000-000000000001"

    def __init__(
        self, base: str | Path, cgroup: str = "certagent-stack", mesh: bool = False, docker: str | Path = ""
    ) -> None:
        super().__init__(base)
        self.cgroup = cgroup
        self.docker = docker  # socket of a daemon, if jobs may use one
        # For bridge mode. Nomad itself runs `consul connect envoy -bootstrap`, by PATH.
        self.cni = f'cni_path = "{TOOLS / "cni"}"\n  bridge_network_hairpin_mode = true' if mesh else ""
        self.interface = self.host
        self.vault_retry = ""  # empty: the template runner's own patience
        self.configure()

    def configure(self) -> None:
        """Writes the agent's configuration from the settings above; in force from the next start."""
        (self.dir / "nomad.hcl").write_text(f"""
name = "{self.host}"
data_dir = "{self.dir}/d"
bind_addr = "127.0.0.1"
log_level = "info"
disable_update_check = true
advertise {{
  http = "127.0.0.1"
  rpc = "127.0.0.1"
  serf = "127.0.0.1"
}}
ui {{ enabled = false }}
acl {{ enabled = true }}
{self.server}
{self.own_ports}
client {{
  enabled = true
  servers = ["127.0.0.1:4647"]
  network_interface = "{self.interface}"
  cpu_total_compute = 8000
  cgroup_parent = "{self.cgroup}"
  {self.cni}
  {self.chroot()}
  options {{
    "driver.allowlist" = "{",".join(self.drivers())}"
    "fingerprint.denylist" = "env_aws,env_azure,env_gce,env_digitalocean"
  }}
  template {{
    disable_file_sandbox = true
    {self.vault_retry}
  }}
}}
consul {{ address = "{self.consul}" }}
# For the job with template blocks only: certagent logs in by itself.
vault {{
  enabled = true
  address = "http://{NODE_IP}:8200"
  jwt_auth_backend_path = "jwt-nomad"
  default_identity {{
    aud = ["vault.io"]
    ttl = "1h"
  }}
}}
plugin "raw_exec" {{ config {{ enabled = true }} }}
{self.docker_plugin()}
""")

    def drivers(self) -> list[str]:
        return ["raw_exec", "exec", *(["docker"] if self.docker else [])]

    def chroot(self) -> str:
        """What a task of the exec driver finds: the two programs and what they are linked with, no more."""
        programs = [certagent_binary(), tool("loki")]
        listed = "".join(subprocess.run(["ldd", each], capture_output=True, text=True).stdout for each in programs)
        libraries = [word for word in listed.split() if word.startswith("/")]
        found = [*programs, *libraries, "/etc/passwd", "/etc/resolv.conf"]
        # The file behind a link, since its target would not be there.
        rows = "".join(f'    "{Path(each).resolve()}" = "{each}"\n' for each in found)
        return f"chroot_env {{\n{rows}  }}"

    def docker_plugin(self) -> str:
        """Volumes stay disabled, as by default. Images come from no registry, so none is removed."""
        return (
            f"""
plugin "docker" {{
  config {{
    endpoint = "unix://{self.docker}"
    gc {{ image = false }}
    infra_image = "pause:stack"
  }}
}}
"""
            if self.docker
            else ""
        )

    def environment(self) -> dict[str, str]:
        found = super().environment()
        return {**found, "PATH": f"{found['PATH']}:{Path(tool('consul')).parent}"}

    def command(self) -> list[str]:
        return [tool("nomad"), "agent", f"-config={self.dir}/nomad.hcl"]

    def call(self, method: str, path: str, body: Json = None, timeout: float = 30) -> tuple[int, Json]:
        return http(method, f"{self.url}{path}", body, {"X-Nomad-Token": self.bootstrap}, timeout)

    def must(self, method: str, path: str, body: Json = None) -> Json:
        status, answer = self.call(method, path, body)
        if status != 200:
            raise StackError(f"Nomad: {method} {path} answered {status}: {answer}")
        return answer

    def ready(self) -> bool:
        status, leader = http("GET", f"{self.url}/v1/status/leader")
        if status != 200 or not leader:
            return False
        http("PUT", f"{self.url}/v1/acl/bootstrap", {"BootstrapSecret": self.bootstrap})
        node = self.node()
        return (
            node
            and node["Status"] == "ready"
            and all(node["Drivers"].get(each, {}).get("Healthy") for each in self.drivers())
        )

    def node(self) -> dict[str, Any] | None:
        """What the servers know of this agent as a client."""
        status, nodes = self.call("GET", "/v1/nodes")
        return next((each for each in nodes if each["Name"] == self.host), None) if status == 200 and nodes else None

    def cli(self, *arguments: str, check: bool = True, timeout: float = 120) -> str:
        environment = {**self.environment(), "NOMAD_ADDR": self.url, "NOMAD_TOKEN": self.bootstrap}
        try:
            done = subprocess.run(
                [tool("nomad"), *arguments], capture_output=True, text=True, env=environment, cwd=ROOT, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"nomad {' '.join(arguments)} did not end in {timeout} s") from None
        if check and done.returncode != 0:
            raise StackError(f"nomad {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def allocations(self, job: str = "loki") -> dict[str, list[dict[str, Any]]]:
        """Those that shall run, by group."""
        status, answer = self.call("GET", f"/v1/job/{job}/allocations")
        found = {}
        for allocation in answer if status == 200 else []:
            if allocation["DesiredStatus"] == "run":
                found.setdefault(allocation["TaskGroup"], []).append(allocation)
        return found

    def ports(self, allocation_id: str) -> dict[str, tuple[str, int]]:
        answer = self.must("GET", f"/v1/allocation/{allocation_id}")
        return {
            port["Label"]: (port["HostIP"], port["Value"]) for port in answer["AllocatedResources"]["Shared"]["Ports"]
        }

    def task_dir(self, allocation_id: str, task: str) -> Path:
        """On whichever host it is."""
        found = list(self.dir.parent.glob(f"n*/d/alloc/{allocation_id}"))
        return (found[0] if found else self.dir / "d/alloc" / allocation_id) / task

    def logs(self, task: str, allocation_id: str = "*") -> list[Path]:
        """Log files of a task, on all hosts."""
        return sorted(self.dir.parent.glob(f"n*/d/alloc/{allocation_id}/alloc/logs/{task}.std*.*"))


class SecondHost(Nomad):
    """Another client, with an address of its own: so that two instances can have the same fixed port."""

    name = "n2"
    host = "host1"
    consul = "10.213.1.1:8500"
    own_ports = "ports {\n  http = 4656\n  rpc = 4657\n  serf = 4658\n}"
    server = ""

    def leave(self) -> None:
        """Its allocations are gone already; the servers forget it."""
        node = self.node()
        self.stop()
        if node:
            self.call("POST", f"/v1/node/{node['ID']}/purge")
