"""Prometheus itself: what it finds by nomad/prometheus.yml in Consul, and what configs/ makes of that.

`observed` is for every stack with targets. `by_hand` is a scenario without Nomad and Loki: eight small HTTP
servers and certagents, registered in Consul as Nomad does it, with what goes wrong on purpose.
Never edits a file of nomad/ or configs/. What stays true: Prometheus is asked, never a copy of its rules.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from deploy import COMPONENTS
from servers import NODE_IP, ROOT, OpenBao, Part, StackError, certagent_binary, http, tool, wait_for

if TYPE_CHECKING:
    import signal
    from pathlib import Path
    from typing import Any

    from deploy import Stack
    from report import Report
    from servers import Consul, Json, OpenBao

TOOLS = ["openbao", "consul", "prometheus"]
REFRESH = 30  # seconds, at most: how often Prometheus asks Consul again for one service
# Metrics that have samples only in states that neither scenario brings about: a panel on one of these may be empty.
ABSENT = {
    "certagent_issuance_limit_reset_timestamp_seconds": "the issuance limit is not reached",
    "certagent_last_reload_successful": "nothing has to be reloaded",
    "certagent_last_reload_timestamp_seconds": "nothing has to be reloaded",
    "certagent_reloads_total": "nothing has to be reloaded",
}


class Prometheus(Part):
    """With a file such as its owner has: it includes nomad/prometheus.yml and configs/alerts.yaml as they are."""

    name = "prometheus"
    url = "http://127.0.0.1:9090"

    def __init__(self, base: str | Path, every: float = 1) -> None:
        super().__init__(base)
        self.every = every  # seconds between scrapes, and between evaluations
        self.file = self.dir / "prometheus.yml"
        settings = {
            "global": {
                "scrape_interval": f"{every}s",
                "scrape_timeout": f"{every}s",
                "evaluation_interval": f"{every}s",
            },
            "scrape_config_files": [f"{ROOT}/nomad/prometheus.yml"],
            "rule_files": [f"{ROOT}/configs/alerts.yaml"],
        }
        self.file.write_text(json.dumps(settings, indent=1))  # JSON is YAML

    def command(self) -> list[str]:
        return [
            tool("prometheus"),
            f"--config.file={self.file}",
            f"--storage.tsdb.path={self.dir}/data",
            "--web.listen-address=127.0.0.1:9090",
            "--log.level=warn",
        ]

    def ready(self) -> bool:
        return http("GET", f"{self.url}/-/ready", timeout=2, raw=True)[0] == 200

    def get(self, path: str, **query: object) -> Json:
        """The data of one answer of its API; a query that it does not understand ends the scenario."""
        status, answer = http("GET", f"{self.url}/api/v1/{path}?{urlencode(query)}")
        if status != 200:
            raise StackError(f"Prometheus: {path} {query} answered {status}: {answer}")
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.get("query", query=expression)["result"]

    def up(self) -> dict[tuple[str, str, str], bool]:
        """(job, instance, component) -> whether it is up, as alerts see it; what left the catalogue is not there."""
        found = [(row["metric"], row["value"][1] == "1") for row in self.query("up")]
        return {(labels["job"], labels["instance"], labels.get("component", "")): up for labels, up in found}

    def errors(self) -> dict[str, str]:
        """instance -> last error, of the targets that are down."""
        targets = self.get("targets", state="active")["activeTargets"]
        return {each["labels"]["instance"]: each["lastError"] for each in targets if each["health"] == "down"}

    def alerts(self, state: str = "firing") -> set[tuple[str, str]]:
        """(name, instance) of the alerts in that state."""
        found = [each for each in self.get("alerts")["alerts"] if each["state"] == state]
        return {(each["labels"]["alertname"], each["labels"].get("instance", "")) for each in found}

    def fired(self) -> set[str]:
        """Names of all alerts that have fired, by its own record."""
        return {row["metric"]["alertname"] for row in self.query('max_over_time(ALERTS{alertstate="firing"}[1h])')}


def observed(prometheus: Prometheus, report: Report, wanted: dict[tuple[str, str, str], bool]) -> None:
    """Targets as `wanted`, certagent's metrics, alerts and dashboard; `wanted` as Prometheus.up() has it."""
    done = subprocess.run(
        [tool("promtool"), "check", "config", prometheus.file], capture_output=True, text=True, timeout=60
    )
    said = (done.stdout + done.stderr).strip()
    report.check(
        "promtool check config, with all that it includes",
        said.splitlines()[-1].strip() if done.returncode == 0 else said,
        done.returncode == 0,
    )
    targets(prometheus, report, "targets that Prometheus found in Consul", wanted)
    metrics(prometheus, report)
    rules(prometheus, report)
    dashboard(prometheus, report)


def targets(
    prometheus: Prometheus, report: Report, what: str, wanted: dict[tuple[str, str, str], bool], seconds: float = 20
) -> None:
    """Job, `instance` and `component` of all of them, and whether they are up."""
    try:
        wait_for(what, lambda: prometheus.up() == wanted, seconds, every=0.5)
    except StackError:
        found = prometheus.up()
        report.none(f"{what}: wrong or missing", sorted(wanted.items() ^ found.items()))
        report.note(f"down: {prometheus.errors()}")
        return
    report.check(what, f"{sum(wanted.values())} up, {len(wanted) - sum(wanted.values())} down", wanted)


def metrics(prometheus: Prometheus, report: Report) -> None:
    """Those of docs/metrics.md, no less and no more."""
    table = (ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(certagent_\w+)` \|", table, re.MULTILINE))
    names = set(prometheus.get("label/__name__/values", **{"match[]": '{job="certagent",__name__=~"certagent_.*"}'}))
    missing = documented - names
    report.check("certagent's metrics in Prometheus", f"{len(names)} of {len(documented)}", len(names) > len(ABSENT))
    report.none("documented metrics that it has not", sorted(missing - set(ABSENT)))
    report.none("metrics that are not documented", sorted(names - documented))
    for name in sorted(missing & set(ABSENT)):
        report.note(f"{name} has no samples: {ABSENT[name]}")


def rules(prometheus: Prometheus, report: Report) -> None:
    """configs/alerts.yaml is loaded whole and evaluated without an error."""
    names = re.findall(r"^ +- alert: (\w+)$", (ROOT / "configs/alerts.yaml").read_text(), re.MULTILINE)

    def loaded() -> list[dict[str, Any]]:
        return [rule for group in prometheus.get("rules", type="alert")["groups"] for rule in group["rules"]]

    wait_for("the alerts to be evaluated", lambda: all(rule["health"] != "unknown" for rule in loaded()), 20)
    report.check("alerts loaded", f"{len(loaded())} of {len(names)}", [rule["name"] for rule in loaded()] == names)
    report.none(
        "alerts with an error", [(rule["name"], rule.get("lastError")) for rule in loaded() if rule["health"] != "ok"]
    )


def dashboard(prometheus: Prometheus, report: Report) -> None:
    """Every query of configs/dashboard.json as Grafana asks it when All is chosen."""
    board = json.loads((ROOT / "configs/dashboard.json").read_text())
    values = {
        "$instance": ".*",
        "$component": ".*",
        "$certificate": ".*",
        "$__rate_interval": f"{4 * prometheus.every + 1}s",
    }
    queries = []
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in values.items():
                expression = expression.replace(variable, value)
            queries.append((panel["title"], expression))

    def empty() -> list[tuple[str, str]]:
        return [(title, expression) for title, expression in queries if not prometheus.query(expression)]

    def excused(expression: str) -> str | None:
        return next((why for name, why in ABSENT.items() if name in expression), None)

    try:  # an increase needs two samples
        wait_for(
            "the dashboard's data", lambda: all(excused(each) for _, each in empty()), 5 * prometheus.every, every=0.5
        )
    except StackError:
        pass  # reported below
    without = empty()
    report.check("queries of the dashboard that Prometheus takes", len(queries), len(queries) >= 15)
    report.none("panels without data", [title for title, expression in without if not excused(expression)])
    for title, expression in without:
        if excused(expression):
            report.note(f"the panel {title!r} has no data: {excused(expression)}")
    choices = [
        re.fullmatch(r"label_values\((\w+), (\w+)\)", each.get("query", "")) for each in board["templating"]["list"]
    ]
    offered = {
        found[2]: prometheus.get(f"label/{found[2]}/values", **{"match[]": found[1]}) for found in choices if found
    }
    report.check(
        "choices of the dashboard",
        {name: len(found) for name, found in offered.items()},
        len(offered) == 3 and all(offered.values()),
    )


def of_allocations(stack: Stack) -> dict[tuple[str, str, str], bool]:
    """What Prometheus has to find for the job of nomad/: Loki and certagent of every allocation that runs."""
    return {
        (job, allocation["ID"], component): True
        for component, group in stack.nomad.allocations().items()
        for allocation in group
        if allocation["ClientStatus"] == "running"
        for job in ("loki", "certagent")
    }


def scraped(stack: Stack, report: Report) -> None:
    """A Prometheus that runs just for this question: are all targets of the job up?"""
    prometheus = Prometheus(stack.base)
    try:
        prometheus.start()
        targets(prometheus, report, "targets that Prometheus found in Consul", of_allocations(stack))
    finally:
        prometheus.stop()


def served(body: str, kind: str = "text/plain; version=0.0.4") -> ThreadingHTTPServer:
    """An HTTP server that gives that answer to every GET."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server's name)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((NODE_IP, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ended(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


class Certagent(Part):
    """One certagent with an application: a TLS server that reads the files anew at each handshake."""

    ttl = "20s"  # 50 s of life, since Vault lets it begin half a minute earlier
    renew_at = "15s"  # early enough that a late scrape does not see less than a quarter of it

    def __init__(self, base: str | Path, component: str, vault: str, token: str) -> None:
        self.name = f"certagent-{component}"
        super().__init__(base)
        self.component, self.vault = component, vault
        self.certs = self.dir / "certs"
        self.token = self.dir / "token"
        self.token.touch(0o600)
        self.token.write_text(token)
        self.port = free_port()
        self.application = socket.create_server((NODE_IP, 0))
        threading.Thread(target=self.handshakes, daemon=True).start()

    def handshakes(self) -> None:
        while True:
            try:
                peer, _ = self.application.accept()
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certs / "cert.pem", self.certs / "key.pem")
                peer.settimeout(5)
                context.wrap_socket(peer, server_side=True).close()
            except (OSError, ValueError):
                if self.application.fileno() < 0:
                    return

    def environment(self) -> dict[str, str]:
        port = self.application.getsockname()[1]
        return {
            **super().environment(),
            "VAULT_ADDR": self.vault,
            **OpenBao.PLAIN,
            "VAULT_TOKEN_PATH": str(self.token),
            "CERTAGENT_COMPONENT": self.component,
            "CERTAGENT_NODE_IP": NODE_IP,
            "CERTAGENT_TTL": self.ttl,
            "CERTAGENT_RENEW_AT": self.renew_at,
            "CERTAGENT_DIR": str(self.certs),
            "CERTAGENT_READY_FILE": str(self.dir / "ready.json"),
            "CERTAGENT_PROBE_ADDRESS": f"{NODE_IP}:{port}",
            "CERTAGENT_HTTP_LISTEN": f"{NODE_IP}:{self.port}",
            "CERTAGENT_HTTP_ALLOW_REMOTE": "true",
        }

    def command(self) -> list[str]:
        return [certagent_binary(), "run"]

    def ready(self) -> bool:
        return http("GET", f"http://{NODE_IP}:{self.port}/ready", timeout=2, raw=True)[0] == 200

    def stop(self, *how: signal.Signals) -> None:
        super().stop(*how)
        self.application.close()


def free_port() -> int:
    with socket.create_server((NODE_IP, 0)) as listener:
        return listener.getsockname()[1]


class Registered:
    """Services in Consul, as Nomad registers them; taken out again at the end."""

    def __init__(self, consul: Consul) -> None:
        self.consul = consul
        self.ids: list[str] = []

    def put(self, name: str, port: int, component: str | None = None) -> str:
        """The id of the allocation; without a component there is no metadata at all."""
        allocation = str(uuid.uuid4())
        meta = {"alloc_id": allocation, "component": component} if component else {}
        check = {"HTTP": f"http://{NODE_IP}:{port}/ready", "Interval": "1s", "Timeout": "1s"}
        service = {"ID": allocation, "Name": name, "Address": NODE_IP, "Port": port, "Meta": meta, "Check": check}
        status, answer = http("PUT", f"{self.consul.url}/v1/agent/service/register", service)
        if status != 200:
            raise StackError(f"Consul refused the service {name}: {status} {answer}")
        self.ids.append(allocation)
        return allocation

    def remove(self, allocation: str) -> None:
        http("PUT", f"{self.consul.url}/v1/agent/service/deregister/{allocation}")
        self.ids.remove(allocation)

    def clear(self) -> None:
        for allocation in list(self.ids):
            self.remove(allocation)


def login_without_nomad(stack: Stack) -> tuple[ThreadingHTTPServer, str]:
    """Sets up the PKI by nomad/vault/setup.sh; a token, since there is no Nomad whose identities could log in."""
    keys = served('{"keys": []}', "application/json")
    stack.set_up_vault(jwks=f"http://{NODE_IP}:{keys.server_port}")
    made = stack.bao.must("POST", "auth/token/create", {"policies": ["loki-certagent"], "ttl": "1h"})
    return keys, made["auth"]["client_token"]


class ByHand:
    """The eight services and one certagent, each with what Prometheus has to say about it."""

    def __init__(self, stack: Stack) -> None:
        keys, token = login_without_nomad(stack)
        self.services, self.servers, self.wanted = Registered(stack.consul), {"keys": keys}, {}
        for component in COMPONENTS:
            self.loki(component)
        # Nobody has said what this is.
        self.unknown = self.loki("querier", metadata=False)
        self.certagent = Certagent(stack.base, "querier", stack.bao.url, token).start()
        self.allocation = self.services.put("loki-certagent", self.certagent.port, "querier")
        self.wanted["certagent", self.allocation, "querier"] = True

    def loki(self, component: str, metadata: bool = True) -> str:
        """One more of it; the allocation's id."""
        server = served(f'loki_build_info{{version="by hand",target="{component}"}} 1\n')
        allocation = self.services.put(f"loki-{component}", server.server_port, component if metadata else None)
        self.servers[allocation] = server
        # Prometheus puts the address where relabelling leaves no instance.
        named = (allocation, component) if metadata else (f"{NODE_IP}:{server.server_port}", "")
        self.wanted[("loki", *named)] = True
        return allocation

    def end(self) -> None:
        self.services.clear()
        self.certagent.stop()
        for server in self.servers.values():
            ended(server)


def by_hand(stack: Stack, report: Report) -> None:
    """Prometheus on services that were registered by hand: found, named, down, gone; alerts that fire and resolve."""
    hand, prometheus = ByHand(stack), Prometheus(stack.base)
    try:
        prometheus.start()
        observed(prometheus, report, hand.wanted)
        report.none("alerts while all is well", sorted(prometheus.alerts()))
        down_and_others(hand, prometheus, report)
        outage(stack.bao, hand.allocation, prometheus, report)
        targets(prometheus, report, "targets after one came and one went", hand.wanted, REFRESH + 10)
    finally:
        prometheus.stop()
        hand.end()


def down_and_others(hand: ByHand, prometheus: Prometheus, report: Report) -> None:
    """One dies, which must show at once; one comes and one goes, which Prometheus has to notice when it asks Consul."""
    dead = next(key for key in hand.wanted if key[2] == "ruler")
    ended(hand.servers.pop(dead[1]))
    hand.wanted[dead] = False
    targets(prometheus, report, "targets with one that is dead", hand.wanted)

    def refused() -> str:
        # The first scrape may meet the connection that was kept open, which is reset.
        error = prometheus.errors().get(dead[1], "")
        return error if "refused" in error else ""

    report.check("the dead one's error", wait_for("its port to refuse", refused, 20)[-60:], True)
    unknown = next(key for key in hand.wanted if not key[2])
    report.check("instance without metadata", unknown[1], unknown in prometheus.up())
    hand.services.remove(hand.unknown)
    del hand.wanted[unknown]
    hand.loki("ingester")


def outage(bao: OpenBao, allocation: str, prometheus: Prometheus, report: Report) -> None:
    """OpenBao away until the certificate is close to its end: an alert fires, and resolves by the renewal."""
    alert = ("CertagentExpiresSoon", allocation)
    bao.stop()
    began = time.monotonic()
    wait_for(f"{alert[0]} to fire", lambda: alert in prometheus.alerts(), 60, every=0.5)
    report.check("fired", f"{alert[0]} {time.monotonic() - began:.0f} s after OpenBao went away", True)
    bao.start()
    began = time.monotonic()
    wait_for("all alerts to resolve", lambda: not prometheus.alerts(), 60, every=0.5)
    report.check("resolved", f"{time.monotonic() - began:.0f} s after OpenBao came back", True)
    fired = prometheus.fired()
    report.check("alerts of that outage, by Prometheus' own record", sorted(fired), alert[0] in fired)
