"""Every alert of configs/alerts.yaml, seen firing in a real Prometheus: one certagent for each fault.

Never edits the rules: a copy waits seconds where they wait minutes (`for`), everything else is theirs. What
stays true: each fault is brought about in real parts, and each agent is one that Prometheus found in Consul.
"""

from __future__ import annotations

import re
import signal
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from scrape import Certagent, Prometheus, Registered, dashboard, ended, login_without_nomad
from servers import NODE_IP, ROOT, certagent_binary, http, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from deploy import Stack
    from report import Report
    from servers import OpenBao

RULES = ROOT / "configs/alerts.yaml"
MINUTE = 1  # seconds that a minute of `for` takes here


def names() -> set[str]:
    return set(re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE))


def severities() -> dict[str, str]:
    blocks = RULES.read_text().split("- alert: ")[1:]
    return {block.split()[0]: re.search(r"severity: (\w+)", block)[1] for block in blocks}


class Impatient(Prometheus):
    """As Prometheus, by rules whose `for` is shorter."""

    def __init__(self, base: str | Path) -> None:
        super().__init__(base)
        rules = self.dir / "alerts.yaml"
        text = RULES.read_text()
        rules.write_text(re.sub(r"\bfor: (\d+)m$", lambda found: f"for: {int(found[1]) * MINUTE}s", text, flags=re.M))
        self.file.write_text(self.file.read_text().replace(str(RULES), str(rules)))


class Faulty(Certagent):
    """A certagent with settings of its own."""

    def __init__(self, base: str | Path, component: str, vault: str, token: str, **settings: str) -> None:
        super().__init__(base, component, vault, token)
        self.settings = settings

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.settings}

    def ready(self) -> bool:
        return http("GET", f"http://{NODE_IP}:{self.port}/live", timeout=2, raw=True)[0] == 200


class Stubborn(Faulty):
    """Its application reads the files at its start only."""

    context = None

    def handshakes(self) -> None:
        while self.application.fileno() >= 0:
            try:
                peer, _ = self.application.accept()
                peer.settimeout(5)
                self.answer(peer)
            except (OSError, ValueError):
                pass

    def answer(self, peer: socket.socket) -> None:
        if self.context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certs / "cert.pem", self.certs / "key.pem")
            self.context = context
        self.context.wrap_socket(peer, server_side=True).close()


class Allergic(Stubborn):
    """Its application closes each connection while the files are not those of its start."""

    first = None

    def answer(self, peer: socket.socket) -> None:
        text = (self.certs / "cert.pem").read_text()
        self.first = self.first or text
        if text != self.first:
            peer.close()
            return
        super().answer(peer)


class Mute(Faulty):
    """Whatever reads its stderr has stopped."""

    def command(self) -> list[str]:
        return ["bash", "-c", f"exec {certagent_binary()} run 2> >(exec sleep 600)"]


def late_clock(vault: str, seconds: int) -> ThreadingHTTPServer:
    """Vault with another clock: a proxy that changes the date of its answers."""

    class Answer(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            headers = {name: self.headers[name] for name in ("X-Vault-Token", "Content-Type") if name in self.headers}
            status, content = http(self.command, vault + self.path, body, headers, raw=True)
            content = content if isinstance(content, bytes) else b""
            self.send_response_only(status or 502)
            self.send_header("Date", self.date_time_string(time.time() + seconds))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = forward  # noqa: N815 (http.server's names)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((NODE_IP, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def old_root(bao: OpenBao) -> None:
    """A mount whose root expires in twenty days."""
    bao.must("POST", "sys/mounts/old", {"type": "pki", "config": {"max_lease_ttl": "480h"}})
    bao.must("POST", "old/root/generate/internal", {"common_name": "old root", "key_type": "ec", "ttl": "480h"})
    role = {"allow_any_name": True, "key_type": "ec", "max_ttl": "1h", "no_store": True}
    bao.must("POST", "old/roles/internal", role)


class Faults:
    """One agent for each fault, as Prometheus finds them."""

    def __init__(self, stack: Stack) -> None:
        keys, token = login_without_nomad(stack)
        self.bao, self.services = stack.bao, Registered(stack.consul)
        self.clock = late_clock(stack.bao.url, 60)
        self.servers = [keys, self.clock]
        old_root(stack.bao)
        late = f"http://{NODE_IP}:{self.clock.server_port}"
        root, base, bao = stack.bao.keys["root_token"], stack.base, stack.bao.url
        quick = {"CERTAGENT_VERIFY_TIMEOUT": "2s", "CERTAGENT_PROBE_INTERVAL": "1s"}
        hook = {"CERTAGENT_ON_CERT_CHANGE": "exec"}
        refuse = {**quick, **hook, "CERTAGENT_RELOAD_COMMAND": "/bin/false"}
        shout = {
            **hook,
            "CERTAGENT_PROBE": "false",
            "CERTAGENT_RELOAD_COMMAND": f"/usr/bin/env,python3,{base}/shout.py",
        }
        (stack.base / "shout.py").write_text("for line in range(100): print(str(line) + 990 * 'x')\n")
        self.agents = {
            "querier": Certagent(base, "querier", bao, token),
            "ruler": Faulty(base, "ruler", bao, root, CERTAGENT_ROLE="none"),
            "compactor": Faulty(base, "compactor", bao, root, CERTAGENT_MAX_ISSUANCES_PER_HOUR="1"),
            "ingester": Stubborn(base, "ingester", bao, token, CERTAGENT_ROLLBACK="false", **refuse),
            "distributor": Allergic(
                base, "distributor", bao, token, CERTAGENT_ROLLBACK_MIN_PREVIOUS_VALIDITY="1s", **refuse
            ),
            "index-gateway": Faulty(base, "index-gateway", bao, root, CERTAGENT_MOUNT="old"),
            "query-frontend": Faulty(base, "query-frontend", late, token),
            "query-scheduler": Mute(base, "query-scheduler", bao, token, **shout),
        }
        self.allocations = {}

    def start(self) -> None:
        for component, agent in self.agents.items():
            agent.start()
            self.allocations[component] = self.services.put("loki-certagent", agent.port, component)

    def disturb(self) -> None:
        """What has to be done to a running agent."""
        changed = self.agents["querier"].certs / "..data/cert.pem"
        changed.chmod(0o600)
        changed.write_text("not a certificate\n")
        for _ in range(9):
            self.agents["query-scheduler"].process.send_signal(signal.SIGUSR1)
            time.sleep(1)

    def end(self) -> None:
        self.services.clear()
        for agent in self.agents.values():
            agent.stop()
        for server in self.servers:
            ended(server)


def alerts(stack: Stack, report: Report) -> None:
    """Each alert fires for its fault; the dashboard has data of all of them."""
    faults, prometheus = Faults(stack), Impatient(stack.base)
    wanted, began = names(), time.monotonic()
    try:
        prometheus.start()
        faults.start()
        wait_for("all agents in Prometheus", lambda: agents_up(prometheus) == len(faults.agents), 60, every=0.5)
        faults.disturb()
        awaited = wanted - {"CertagentExpired", "CertagentExpiresSoon", "CertagentRenewalFailing", "CertagentDown"}
        fired(prometheus, awaited, 90, report, "alerts while Vault is up")
        dashboard(prometheus, report)
        faults.agents["index-gateway"].stop(signal.SIGKILL)
        stack.bao.stop()
        fired(prometheus, wanted, 120, report, "alerts of an outage, and of an agent that was killed")
        told = severities()
        pages = {name for name, instance in prometheus.alerts() if instance == faults.allocations["querier"]}
        critical = sorted(name for name in pages if told[name] == "critical")
        report.check("critical alerts for one certificate that expired", critical, critical == ["CertagentExpired"])
        report.check("all of them", f"{len(wanted)} in {time.monotonic() - began:.0f} s", prometheus.fired() == wanted)
    finally:
        prometheus.stop()
        faults.end()


def agents_up(prometheus: Prometheus) -> int:
    return sum(up for (job, _, _), up in prometheus.up().items() if job == "certagent")


def fired(prometheus: Prometheus, wanted: set[str], seconds: float, report: Report, what: str) -> None:
    try:
        wait_for(what, lambda: wanted <= prometheus.fired(), seconds, every=0.5)
    except Exception:  # reported with what is missing
        pass
    found = prometheus.fired()
    report.check(what, f"{len(found & wanted)} of {len(wanted)}", wanted <= found)
    report.none(f"{what}: not seen", sorted(wanted - found))
