"""The job with `connect = true`: bridge networks by CNI, an Envoy beside each Loki, Traefik in front.

Everything is real: Nomad makes the bridge with the reference plug-ins, Consul's CA signs for the proxies,
and the load goes through Traefik with basic auth. gRPC stays with certagent. What stays true: nothing is
mounted, bridged or filtered outside of the stack's own namespaces.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import COMPONENTS, agents
from load import Load
from report import load_checks
from scenarios import COUNTS, Run, debugging
from scrape import scraped
from servers import NODE_IP, Part, StackError, http, tool, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deploy import Stack
    from report import Report
    from servers import Json

TOOLS = ["envoy", "traefik", "cni"]
PORT = 8443
USER, PASSWORD = "promtail", "pushes-here"
ROTATIONS = 4
# Traefik has its own default certificate: not what is looked at here.
UNCHECKED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNCHECKED.check_hostname, UNCHECKED.verify_mode = False, ssl.CERT_NONE


def prepare() -> None:
    """Before Nomad starts: places for what CNI and Nomad write, and a resolver that bridges reach."""
    for directory in ("/run", "/var/lib"):  # network namespaces and leases, results
        if Path(__file__).is_relative_to(directory):
            raise StackError(f"connect mounts over {directory}: run it from another place")
        subprocess.run(["mount", "-t", "tmpfs", "stack", directory], check=True)
    conf = Path("/etc/resolv.conf").resolve()  # with systemd it is a link to /run
    conf.parent.mkdir(parents=True, exist_ok=True)
    conf.write_text(f"nameserver {NODE_IP}\noptions timeout:1 attempts:2\n")


class Traefik(Part):
    """Ingress on the node: finds services in Consul and speaks to their proxies as the service `traefik`."""

    name = "traefik"

    def command(self) -> list[str]:
        return [
            tool("traefik"),
            f"--entrypoints.https.address={NODE_IP}:{PORT}",
            "--entrypoints.https.http.tls=true",
            "--entrypoints.ping.address=127.0.0.1:8082",
            "--ping.entrypoint=ping",
            "--providers.consulcatalog.connectaware=true",
            "--providers.consulcatalog.exposedbydefault=false",
            "--providers.consulcatalog.servicename=traefik",
            "--providers.consulcatalog.endpoint.address=127.0.0.1:8500",
            "--providers.consulcatalog.refreshinterval=1s",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--log.level=INFO",
        ]

    def ready(self) -> bool:
        return http("GET", "http://127.0.0.1:8082/ping", timeout=2, raw=True)[0] == 200


def basic(password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()}


def ingress(
    method: str,
    component: str,
    path: str,
    body: Json = None,
    headers: dict[str, str] | None = None,
    timeout: float = 10,
) -> tuple[int, Json]:
    """One request as a user sends it: to the component's name, through Traefik."""
    url = f"https://loki-{component}.service.consul:{PORT}{path}"
    return http(
        method,
        url,
        body,
        {"Content-Type": "application/json", **(basic() if headers is None else headers)},
        timeout,
        context=UNCHECKED,
    )


class IngressLoad(Load):
    """The load of all scenarios, through Traefik."""

    def targets(self, component: str) -> list[str]:
        return [component]

    def send(self, method: str, address: str, path: str, body: Json = None, timeout: float = 10) -> tuple[int, Json]:
        return ingress(method, address, path, body, timeout=timeout)


def intention(stack: Stack, destination: str, sources: dict[str, str]) -> None:
    """Who may speak to a service of the mesh: source -> allow or deny."""
    entry = {
        "Kind": "service-intentions",
        "Name": destination,
        "Sources": [{"Name": n, "Action": a} for n, a in sources.items()],
    }
    status, answer = http("PUT", f"{stack.consul.url}/v1/config", entry)
    if status != 200:
        raise StackError(f"Consul did not take the intention for {destination}: {status} {answer}")


def settings() -> Iterable[tuple[str, str]]:
    """Variables of the job for the mesh."""
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = {
        "connect": "true",
        "envoy_command": tool("envoy"),
        "basic_auth": f"{USER}:{hashed}",
        "consul_address": f"{NODE_IP}:8500",
    }
    return found.items()


def connect(stack: Stack, report: Report) -> None:
    """Closed at first, opened by intentions, loaded while certificates rotate and faults come, gone at the end."""
    extra, stack.ready_port = settings(), "health"
    intention(stack, "*", {"*": "deny"})
    traefik = Traefik(stack.base).start()
    # With containers the agent of Nomad takes longer to take up again what runs.
    ttl = "1m" if stack.nomad.docker else "30s"
    try:
        env = {"CERTAGENT_LOG_LEVEL": "debug"}
        stack.run_job(ttl=ttl, extra=extra, counts=COUNTS, env=env)
        stack.wait_ready()
        closed(stack, report)
        opened(stack, report)
        # The same job once more changes nothing: its load begins now.
        run = Run(stack, report, ttl=ttl, extra=extra, env=env, load=IngressLoad)
        run.rotated(ROTATIONS, 300)
        shaken(stack, run)
        tail(stack, report)
        status, answer = ingress("GET", "ruler", "/prometheus/api/v1/rules")
        report.check(
            "rules, for which the ruler asks all of its ring", f"{status} {str(answer).strip()[:100]}", status == 200
        )
        load_checks(report, run.end())
        rotations = run.watch.rotations()
        report.check(
            "rotations of each instance",
            f"{min(rotations.values())} to {max(rotations.values())}",
            min(rotations.values()) >= ROTATIONS,
        )
        report.check("instances", len(rotations), len(rotations) == sum(stack.counts.values()))
        run.certificate_checks()
        run.restart_checks()
        report.none("renewals for which certagent could not ask Loki for its version", unasked(stack))
        scraped(stack, report)
        debugging(stack, report)
        doctor(stack, report)
        gone(stack, report)
    finally:
        traefik.stop()
        stack.ready_port = "http"


def each_instance(stack: Stack) -> Iterator[tuple[str, str, str, dict[str, tuple[str, int]]]]:
    """(name, component, address in the bridge, label -> (address, port) on the node) of every instance."""
    for component, group in stack.nomad.allocations().items():
        for each in group:
            whole = stack.nomad.must("GET", f"/v1/allocation/{each['ID']}")
            yield each["Name"], component, whole["NetworkStatus"]["Address"], stack.nomad.ports(each["ID"])


def opens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 2).close()
        return True
    except OSError:
        return False


def leaf(stack: Stack, service: str) -> ssl.SSLContext:
    """A client of the mesh under that name, as Consul's agent hands it to everyone on the node (no ACLs here)."""
    directory = stack.base / "tmp"
    status, answer = http("GET", f"{stack.consul.url}/v1/agent/connect/ca/leaf/{service}")
    roots = http("GET", f"{stack.consul.url}/v1/agent/connect/ca/roots")[1]
    if status != 200:
        raise StackError(f"Consul gave no certificate for {service}: {status} {answer}")
    file = directory / f"{service}.pem"
    file.write_text(answer["CertPEM"] + answer["PrivateKeyPEM"])
    context = ssl.create_default_context(cadata="".join(root["RootCert"] for root in roots["Roots"]))
    context.check_hostname = False  # its name is a SPIFFE id
    context.load_cert_chain(file)
    return context


def through_proxy(address: str, port: int, context: ssl.SSLContext) -> str:
    """What a proxy of the mesh answers to GET /ready: the status, or why there is none."""
    try:
        with (
            socket.create_connection((address, port), 5) as plain,
            context.wrap_socket(plain, server_hostname=address) as tls,
        ):
            tls.sendall(b"GET /ready HTTP/1.1\r\nHost: loki\r\nConnection: close\r\n\r\n")
            first = tls.recv(200).split(b"\r\n")[0].decode()
            return first or "closed"
    except OSError as error:
        return f"refused: {error.__class__.__name__}"


def closed(stack: Stack, report: Report) -> None:
    """Every way to Loki's HTTP but the exposed paths."""
    exposed, shut, stranger = [], [], leaf(stack, "stranger")
    count = 0
    for name, component, inner, ports in each_instance(stack):
        count += 1
        node, port = ports["http"]
        metrics = http("GET", f"http://{node}:{port}/metrics", raw=True)
        ready = http("GET", "http://{}:{}/ready".format(*ports["health"]), raw=True)[0]
        if metrics[0] != 200 or b"loki_build_info" not in metrics[1] or ready != 200:
            exposed.append((name, metrics[0], ready))
        for label in ("http", "health"):
            for path in ("/config", "/services", "/loki/api/v1/push"):
                answer = http("GET", "http://{}:{}{}".format(*ports[label], path), raw=True)
                if answer != (404, b""):  # Envoy's own; Loki's has words
                    shut.append((name, label, path, answer))
        if opens(inner, 80) or opens(node, 80):
            shut.append((name, "port 80 is open"))
        proxy = ports[f"connect-proxy-loki-{component}"]
        for who, context in (("nobody", UNCHECKED), ("stranger", stranger)):
            answer = through_proxy(*proxy, context)
            if answer.startswith("HTTP"):
                shut.append((name, f"the proxy answers {who}", answer))
    report.check(
        "instances with /metrics and /ready on the node's address",
        count,
        count == sum(stack.counts.values()) and not exposed,
    )
    report.none("ways past the proxies to Loki's HTTP", shut)

    # 404 is Traefik's own, until it has taken the route up.
    def push() -> tuple[int, Json]:
        return ingress("POST", "distributor", "/loki/api/v1/push", {"streams": []})

    wait_for("Traefik to know the distributor", lambda: push()[0] not in (0, 404), 30)
    status, answer = push()
    report.check(
        "a push through Traefik without an intention", f"{status} {str(answer).strip()}", status in (500, 502, 503)
    )


def opened(stack: Stack, report: Report) -> None:
    """By intentions: Traefik to every component. Then only with a password."""
    for component in COMPONENTS:
        intention(stack, f"loki-{component}", {"traefik": "allow"})
    ready = {}

    def every() -> bool:
        ready.update({component: ingress("GET", component, "/ready")[0] for component in COMPONENTS})
        return set(ready.values()) == {200}

    try:  # Traefik takes a new route up within some seconds
        wait_for("Traefik to reach every component", every, 30)
    except StackError:
        pass
    report.check(
        "components that answer through Traefik",
        f"{list(ready.values()).count(200)} of {ready}",
        set(ready.values()) == {200},
    )
    unauthorized = [ingress("GET", "distributor", "/ready", headers=headers)[0] for headers in ({}, basic("wrong"))]
    report.check("through Traefik with no and a wrong password", unauthorized, unauthorized == [401, 401])
    inside, outside = leaf(stack, "traefik"), leaf(stack, "stranger")
    answers = {
        who: [
            through_proxy(*ports[f"connect-proxy-loki-{component}"], context)
            for _, component, _, ports in each_instance(stack)
        ]
        for who, context in (("traefik", inside), ("stranger", outside))
    }
    report.check(
        "proxies that let traefik in",
        answers["traefik"][0],
        all(a.startswith("HTTP/1.1 200") for a in answers["traefik"]),
    )
    report.check(
        "proxies that refuse a stranger",
        answers["stranger"][0],
        not any(a.startswith("HTTP") for a in answers["stranger"]),
    )


def shaken(stack: Stack, run: Run) -> None:
    """Every certagent killed, the Nomad agent restarted: bridges, Task API and Consul's socket are found again."""
    for pid in agents():
        os.kill(pid, signal.SIGKILL)
    stack.nomad.stop()
    stack.nomad.start()
    run.rotated(1, 120)


def doctor(stack: Stack, report: Report) -> None:
    """What `certagent doctor` finds inside of each component's bridge: login, Task API, what Loki serves there."""
    ill = []
    for component, group in stack.nomad.allocations().items():
        command = ["alloc", "exec", "-task", "certagent", group[0]["ID"], stack.certagent, "doctor", "-o", "json"]
        found = json.loads(stack.nomad.cli(*command, check=False))
        served = [each["status"] for each in found["checks"] if each["code"] == "not-served"]
        if not found["ok"] or served != ["ok"]:
            ill.append((component, served, [each["code"] for each in found["checks"] if each["status"] == "fail"]))
    report.none("components in whose bridge certagent doctor finds a failure", ill)


def unasked(stack: Stack) -> list[str]:
    """What certagent's logs say of that, the first publication excepted: Loki starts after it.

    Before 3.2 a restart depends on it."""
    found = []
    for log in (stack.nomad.dir / "d/alloc").glob("*/alloc/logs/certagent.stderr.*"):
        text = log.read_text(errors="replace")
        found += [
            line[-160:] for line in text.partition("verified: ")[2].splitlines() if "version is not known" in line
        ]
    return found


def tailed(seconds: float = 15) -> tuple[str, bool]:
    """First words of the answer to a tail through Traefik, and what came on it.

    query-frontend asks a querier through the mesh."""
    host = "loki-query-frontend.service.consul"
    head = "\r\n".join(
        [
            "GET /loki/api/v1/tail?query=%7Bjob%3D%22stack%22%7D HTTP/1.1",
            f"Host: {host}",
            *(f"{k}: {v}" for k, v in basic().items()),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
            "",
            "",
        ]
    )
    got = b""
    with (
        socket.create_connection((NODE_IP, PORT), seconds) as plain,
        UNCHECKED.wrap_socket(plain, server_hostname=host) as tls,
    ):
        tls.sendall(head.encode())
        try:
            while b"id=" not in got and (part := tls.recv(65536)):
                got += part
        except OSError:
            pass
    return got.split(b"\r\n")[0].decode(), b'"streams"' in got


def tail(stack: Stack, report: Report) -> None:
    """The upstream of query-frontend: shut without its intention, open with it."""
    answer, lines = tailed()
    report.check("tail without an intention", answer, " 101 " not in answer and not lines)
    intention(stack, "loki-querier", {"traefik": "allow", "loki-query-frontend": "allow"})
    wait_for("tail through the upstream", lambda: tailed() if tailed()[1] else None, 60)
    answer, lines = tailed()
    report.check("tail with it", f"{answer}, lines: {lines}", " 101 " in answer and lines)


def networks() -> list[str]:
    """What bridge mode has made for allocations and not taken away: namespaces, links, filter chains, leases."""
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return [
        *(str(each) for each in Path("/run/netns").glob("*")),
        *(each.name for each in Path("/sys/class/net").glob("veth*")),
        *(
            line
            for line in rules.splitlines()
            if line.startswith((":CNI-DN-", ":CNI-HOSTPORT-DNAT-")) or "/32" in line and "127.0.0.1" not in line
        ),
        *(str(each) for each in Path("/run/cni").glob("*/[0-9]*")),
    ]


def gone(stack: Stack, report: Report) -> None:
    """With the job its networks go."""
    before = len(list(Path("/run/cni").glob("*/[0-9]*")))
    report.check("addresses in the bridge while it ran", before, before == sum(stack.counts.values()))
    stack.stop_job()
    try:
        wait_for("the networks to go", lambda: not networks(), 30)
    except StackError:
        pass
    report.none("networks of allocations after the job", networks())
