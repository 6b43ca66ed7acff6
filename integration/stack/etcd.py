"""Three etcd members, each with its own certagent, on OpenBao and Consul: no Nomad, no Loki.

Client and peer ports want client certificates. The login is a JWT that this file signs, with keys that it serves.
Has the same methods as deploy.Stack, so that load, watch, chaos and report work on both. What stays true: certagent
runs with configs/etcd.hcl as it is shipped; what differs here is in `agent_settings`, nowhere else.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from servers import NODE_IP, ROOT, Consul, OpenBao, Part, StackError, certagent_binary, tool, wait_for
from servers import http as request
from watch import HTTP1, HTTP2, NotServed, verify_all_served

TOOLS = ["openbao", "consul", "etcd"]
MEMBERS = ["etcd-1", "etcd-2", "etcd-3"]
DOMAIN = "service.consul"
AUDIENCE = "openbao"
LOGIN_SECONDS = 3600  # life of a member's JWT, longer than any run
TURNS = "24s"  # in this time each member may restart once: slots of 8 s, begun in their first half
RESTART_DELAY = 0.3  # seconds between the end of a supervised process and its next start


def client_port(member: str) -> int:
    return 2379 + 10 * MEMBERS.index(member)


def peer_port(member: str) -> int:
    return client_port(member) + 1


def client_url(member: str) -> str:
    return f"https://{member}.{DOMAIN}:{client_port(member)}"


def peer_url(member: str) -> str:
    return f"https://{member}.{DOMAIN}:{peer_port(member)}"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Logins:
    """Signs one JWT for each member (RS256, by openssl) and serves the public key (JWKS, RFC 7517)."""

    def __init__(self, base: Path) -> None:
        self.dir = base / "logins"
        self.dir.mkdir(parents=True, exist_ok=True)
        self.key = self.dir / "key.pem"
        self.server: http.server.ThreadingHTTPServer | None = None

    def openssl(self, *arguments: object, data: bytes = b"") -> bytes:
        done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise StackError(f"openssl {arguments[0]} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
        return done.stdout

    def start(self) -> None:
        self.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.key)
        modulus = self.openssl("rsa", "-in", self.key, "-noout", "-modulus").decode().strip().partition("=")[2]
        number = base64url(bytes.fromhex(modulus))
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "stack", "e": "AQAB", "n": number}
        body = json.dumps({"keys": [key]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self) -> str:
        assert self.server
        return f"http://127.0.0.1:{self.server.server_address[1]}/jwks.json"

    def jwt(self, member: str) -> Path:
        """The file with the member's JWT."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": "stack"}
        claims = {
            "iss": "stack",
            "aud": AUDIENCE,
            "sub": member,
            "iat": now,
            "nbf": now - 5,
            "exp": now + LOGIN_SECONDS,
        }
        parts = [base64url(json.dumps(each).encode()) for each in (header, claims)]
        signature = self.openssl("dgst", "-sha256", "-sign", self.key, data=".".join(parts).encode())
        path = self.dir / f"{member}.jwt"
        path.write_text(".".join([*parts, base64url(signature)]))
        path.chmod(0o600)
        return path

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()


class Supervised(Part):
    """A process that is started again whenever it ends, as systemd and Nomad do it."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.pid_file = self.dir / "pid"
        self.turns: list[tuple[float, float]] = []  # (when it ended, when it was started again)
        self.stopping = threading.Event()
        self.changing = threading.Lock()
        self.thread: threading.Thread | None = None

    def launch(self) -> None:
        super().launch()
        fresh = self.pid_file.with_suffix(".new")
        fresh.write_text(str(self.process.pid))
        fresh.rename(self.pid_file)

    def start(self, seconds: float = 60) -> Supervised:
        self.stopping.clear()
        super().start(seconds)
        self.thread = threading.Thread(target=self.supervise, daemon=True)
        self.thread.start()
        return self

    def supervise(self) -> None:
        while True:
            self.process.wait()
            ended = time.time()
            self.stopping.wait(RESTART_DELAY)
            with self.changing:
                if self.stopping.is_set():
                    return
                self.launch()
                self.turns.append((ended, time.time()))

    def stop(self, *how: int) -> None:
        with self.changing:
            self.stopping.set()
        super().stop(*how)
        if self.thread:
            self.thread.join(10)

    def identity(self) -> tuple[int, str] | None:
        """(pid, start time) of the process, when it runs."""
        if self.process is None:
            return None
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return None
        return None if stat[0] == "Z" else (self.process.pid, stat[19])


class Agent(Supervised):
    """The certagent of one member."""

    def __init__(self, base: Path, member: str, bao: OpenBao, login: Path) -> None:
        self.name = f"agent-{member}"
        super().__init__(base)
        self.member, self.bao, self.login = member, bao, login
        self.certs = self.dir / "certs"
        self.metrics = f"127.0.0.1:{9464 + MEMBERS.index(member)}"
        self.extra: dict[str, str] = {}

    def command(self) -> list[str]:
        return [certagent_binary(), "run", "-c", str(ROOT / "configs/etcd.hcl")]

    def agent_settings(self) -> dict[str, str]:
        """All settings that differ from configs/etcd.hcl: names, addresses, paths, and times that fit into a test."""
        pid_file = self.dir.parent / self.member / "pid"
        return {
            "VAULT_ADDR": self.bao.url,
            **self.bao.PLAIN,
            "CERTAGENT_AUTH_PATH": str(self.login),
            "CERTAGENT_NAME": self.member,
            "CERTAGENT_COMMON_NAME": f"{self.member}.{DOMAIN}",
            "CERTAGENT_IP_SANS": NODE_IP,
            "CERTAGENT_DIR": str(self.certs),
            "CERTAGENT_READY_FILE": str(self.dir / "ready.json"),
            "CERTAGENT_STATUS_SOCKET": str(self.dir / "run/status.sock"),
            "CERTAGENT_HTTP_LISTEN": self.metrics,
            "CERTAGENT_SPLAY_SEED": self.member,
            "CERTAGENT_PROBE_ADDRESS": f"{NODE_IP}:{client_port(self.member)}",
            "CERTAGENT_RELOAD_COMMAND": f"{ROOT / 'integration/stack/restart.sh'},{pid_file}",
            "CERTAGENT_STAGGER_WINDOW": TURNS,
            "CERTAGENT_STAGGER_INDEX": str(MEMBERS.index(self.member)),
        }

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.agent_settings(), **self.extra}

    def ready(self) -> bool:
        lives = request("GET", f"http://{self.metrics}/live", timeout=2, raw=True)[0] == 200
        return lives and (self.certs / "cert.pem").exists()


class Member(Supervised):
    """One etcd. It gets the directory of its certagent and nothing else of it."""

    def __init__(self, base: Path, member: str, certs: Path) -> None:
        self.name = member
        super().__init__(base)
        self.certs = certs

    def command(self) -> list[str]:
        cluster = ",".join(f"{each}={peer_url(each)}" for each in MEMBERS)
        certs = self.certs
        return [
            tool("etcd"),
            f"--name={self.name}",
            f"--data-dir={self.dir}/data",
            "--logger=zap",
            "--log-level=warn",
            f"--listen-client-urls=https://{NODE_IP}:{client_port(self.name)}",
            f"--advertise-client-urls={client_url(self.name)}",
            f"--listen-peer-urls=https://{NODE_IP}:{peer_port(self.name)}",
            f"--initial-advertise-peer-urls={peer_url(self.name)}",
            f"--initial-cluster={cluster}",
            "--initial-cluster-state=new",
            # For disks and processors that others use too; with the defaults a busy machine elects new leaders.
            "--heartbeat-interval=200",
            "--election-timeout=2000",
            "--client-cert-auth",
            f"--trusted-ca-file={certs}/CA.pem",
            f"--cert-file={certs}/cert.pem",
            f"--key-file={certs}/key.pem",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={certs}/CA.pem",
            f"--peer-cert-file={certs}/cert.pem",
            f"--peer-key-file={certs}/key.pem",
        ]

    def ready(self) -> bool:
        return True  # only with a second one: see Mesh.wait_ready


class Mesh:
    """The servers and the members, with the methods of deploy.Stack."""

    application = "etcd"
    service = "etcd-certagent"

    def __init__(self, base: str) -> None:
        self.base = Path(base)
        self.logins = Logins(self.base)
        self.consul, self.bao = Consul(base), OpenBao(base)
        self.parts: list[Part] = [self.consul, self.bao]
        self.counts = {"client": len(MEMBERS), "peer": len(MEMBERS)}
        self.agents: dict[str, Agent] = {}
        self.members: dict[str, Member] = {}

    def start(self, say: Callable[[str], None] = print) -> None:
        self.logins.start()
        for part in self.parts:
            part.start()
            say(f"{part.name} is ready")
        self.set_up_vault()
        for member in MEMBERS:
            agent = self.agents[member] = Agent(self.base, member, self.bao, self.logins.jwt(member))
            self.members[member] = Member(self.base, member, agent.certs)
        self.set_up_names()
        say("OpenBao and Consul are set up")

    def set_up_vault(self) -> None:
        """What docs/etcd.md does with `bao write`."""
        must = self.bao.must
        must("POST", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        self.bao.new_root("etcd internal CA 1")
        must(
            "POST",
            "pki/roles/etcd",
            {
                "allowed_domains": [f"{member}.{DOMAIN}" for member in MEMBERS],
                "allow_bare_domains": True,
                "allow_localhost": False,
                "server_flag": True,
                "client_flag": True,
                "key_type": "ec",
                "key_bits": 256,
                "max_ttl": "720h",
                "no_store": True,
            },
        )
        must("PUT", "sys/policies/acl/etcd", {"policy": 'path "pki/sign/etcd" { capabilities = ["update"] }'})
        must("POST", "sys/auth/jwt", {"type": "jwt"})
        must("POST", "auth/jwt/config", {"jwks_url": self.logins.url(), "jwt_supported_algs": ["RS256"]})
        must(
            "POST",
            "auth/jwt/role/etcd",
            {
                "role_type": "jwt",
                "bound_audiences": [AUDIENCE],
                "user_claim": "sub",
                "bound_claims": {"sub": MEMBERS},
                "token_policies": ["etcd"],
                "token_ttl": "10m",
                "token_max_ttl": "30m",
            },
        )

    def set_up_names(self) -> None:
        """Without health checks: the members look each other up before the first of them is healthy."""
        for member, agent in self.agents.items():
            self.register({"Name": member, "Address": NODE_IP, "Port": client_port(member)})
            host, port = agent.metrics.split(":")
            self.register({"Name": self.service, "ID": agent.name, "Address": host, "Port": int(port)})

    def register(self, service: dict[str, object]) -> None:
        status, answer = request("PUT", f"{self.consul.url}/v1/agent/service/register", service)
        if status != 200:
            raise StackError(f"Consul: registering {service} answered {status}: {answer}")

    def catalogue(self) -> dict[str, str]:
        """Where an operator finds the agents."""
        return {"CONSUL_HTTP_ADDR": self.consul.url}

    def run_job(self, ttl: str = "1m", env: dict[str, str] | None = None, **_: object) -> None:
        """Every certagent anew, with these settings; every member, where it does not run yet."""
        for agent in self.agents.values():
            agent.stop()
            agent.extra = {"CERTAGENT_TTL": ttl, **(env or {})}
            agent.start()
        for member in self.members.values():
            if not member.identity():
                member.start()

    def wait_ready(self, seconds: float = 60) -> None:
        def served() -> bool:
            try:
                return len(verify_all_served(self)) == sum(self.counts.values())
            except (NotServed, OSError, ValueError):
                return False

        try:
            wait_for("every member to serve at both ports", served, seconds)
        except StackError as error:
            raise StackError(f"{error}\n{self.explain()}") from None

    def stop_job(self) -> None:
        for part in [*self.members.values(), *self.agents.values()]:
            part.stop()

    def revive(self) -> None:
        for part in self.parts:
            if part.process.poll() is not None:
                part.start()

    def stop(self) -> None:
        self.stop_job()
        for part in reversed(self.parts):
            part.stop()
        self.logins.stop()

    def instances(self) -> dict[str, tuple[str, str, int]]:
        """Name of each port -> (member, address, port)."""
        return {
            f"{member} {what}": (member, NODE_IP, port(member))
            for member in self.members
            for what, port in (("client", client_port), ("peer", peer_port))
        }

    def component(self, name: str) -> str:
        return name.split(" ")[0]

    def protocol(self, name: str) -> str:
        return HTTP1 if name.endswith(" peer") else HTTP2

    def certificates(self, member: str, task: str = "certagent") -> Path:
        return self.agents[member].certs

    def processes(self) -> dict[tuple[int, str], str]:
        """(pid, start time) -> member, of those that run."""
        return {found: name for name, member in self.members.items() if (found := member.identity())}

    def restarts(self) -> int:
        return sum(len(member.turns) for member in self.members.values())

    def turns(self, task: str = "etcd") -> list[tuple[float, float]]:
        """(when it ended, when it was started again), of all members, in order."""
        return sorted(turn for member in self.members.values() for turn in member.turns)

    def logs(self) -> list[Path]:
        return [member.log for member in self.members.values()]

    def agent_logs(self) -> list[Path]:
        return [agent.log for agent in self.agents.values()]

    def metrics_addresses(self) -> dict[str, str]:
        return {name: agent.metrics for name, agent in self.agents.items()}

    def explain(self) -> str:
        """The last log lines of everything."""
        parts = [*self.members.values(), *self.agents.values()]
        return "\n".join(f"{part.name}:\n{part.tail(6)}" for part in parts)


def etcdctl(members: list[str], certs: list[Path], *arguments: str, seconds: int = 6) -> tuple[bool, str, list[str]]:
    """One command to those members with those files (CA, certificate, key): whether it succeeded, its output, and the
    connections that failed on the way: etcdctl makes them again in silence, so a success alone hides them."""
    command = [
        tool("etcdctl"),
        "--debug",
        f"--endpoints={','.join(client_url(each) for each in members)}",
        f"--cacert={certs[0]}",
        f"--cert={certs[1]}",
        f"--key={certs[2]}",
        "--dial-timeout=3s",
        f"--command-timeout={seconds}s",
        *arguments,
    ]
    environment = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 10, env=environment)
    except subprocess.TimeoutExpired:
        return False, f"etcdctl did not end in {seconds + 10} s", []
    good = done.returncode == 0
    return good, done.stdout if good else (done.stdout + done.stderr)[-200:], failed_connections(done.stderr)


def failed_connections(debug: str) -> list[str]:
    """Why each connection failed, by etcdctl's debug output (etcd 3.4). In TLS 1.3 a client that the server refuses
    is told after its handshake: such a connection has no reason here, it has one in the server's log."""
    lines = debug.splitlines()
    failed = len([line for line in lines if "Subchannel Connectivity change to TRANSIENT_FAILURE" in line])
    # A warning is written twice.
    reasons = list(dict.fromkeys(line.partition("Err: ")[2] for line in lines if "createTransport failed" in line))
    return reasons + ["closed by the server"] * (failed - len(reasons))
