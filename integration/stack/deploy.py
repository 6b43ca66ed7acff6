"""The deployment of nomad/ on the stack's servers: the same files that users take, with raw_exec.

Never edits a file of nomad/: everything that differs is a job variable or a setting. What stays true:
what runs here is what the repository ships.
"""

import os
import subprocess
from pathlib import Path

from parts import NODE_IP, ROOT, Consul, Nomad, OpenBao, StackError, Weed, certagent_binary, http, tool, wait_for

COMPONENTS = [
    "compactor", "ruler", "distributor", "ingester", "querier", "query-scheduler", "query-frontend", "index-gateway",
]


class Stack:
    """All parts, set up, and the job on them."""

    def __init__(self, base):
        self.base = Path(base)
        self.consul = Consul(base)
        self.bao = OpenBao(base)
        self.s3 = Weed(base)
        self.nomad = Nomad(base)
        self.parts = [self.consul, self.bao, self.s3, self.nomad]

    def start(self, say=print):
        for part in self.parts:
            part.start()
            say(f"{part.name} is ready")
        self.set_up_vault()
        self.set_up_nomad()
        say("Vault and Nomad are set up")

    def stop(self):
        self.nomad.cli("job", "stop", "-purge", "loki", check=False)
        try:
            wait_for("Loki to end", lambda: not self.running("loki"), 60)
        except StackError:
            pass
        for part in reversed(self.parts):
            part.stop()

    def running(self, job):
        status, answer = self.nomad.call("GET", f"/v1/job/{job}/allocations")
        return [a for a in answer or [] if a["ClientStatus"] == "running"] if status == 200 else []

    def set_up_vault(self, job="loki"):
        """By the script that users run."""
        environment = {
            "PATH": os.environ["PATH"], "VAULT_ADDR": self.bao.url, "VAULT_TOKEN": self.bao.keys["root_token"],
            "NOMAD_JWKS_URL": f"{self.nomad.url}/.well-known/jwks.json", "NOMAD_JOB": job,
        }
        done = subprocess.run(
            [ROOT / "nomad/vault/setup.sh"], env=environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise StackError(f"nomad/vault/setup.sh ended with {done.returncode}: {done.stdout}{done.stderr}")

    def set_up_nomad(self, job="loki"):
        self.nomad.cli(
            "var", "put", "-force", f"nomad/jobs/{job}", "s3_access_key_id=loki", "s3_secret_access_key=loki-stack"
        )
        for group in COMPONENTS:
            self.nomad.cli(
                "acl", "policy", "apply", "-namespace", "default", "-job", job, "-group", group, "-task", "certagent",
                f"certagent-{job}-{group}", "nomad/policy.hcl",
            )

    def variables(self, ttl, counts, env, extra=()):
        import json

        s3 = {"endpoint": self.s3.url, "bucket": "loki", "region": "us-east-1", "insecure": True}
        values = {
            "driver": "raw_exec", "loki_command": tool("loki"), "certagent_command": certagent_binary(),
            "vault_address": self.bao.url, "consul_address": "127.0.0.1:8500", "ttl": ttl, "kill_timeout": "10s",
            "counts": json.dumps(counts), "s3": json.dumps(s3), "certagent_env": json.dumps(env), "check_interval": "2s",
            **dict(extra),
        }
        return [f"-var={key}={value}" for key, value in values.items()]

    def run_job(self, ttl="1m", counts=None, env=None, extra=(), file="nomad/loki.nomad.hcl"):
        self.counts = {component: (counts or {}).get(component, 1) for component in COMPONENTS}
        self.nomad.cli("job", "run", "-detach", *self.variables(ttl, counts or {}, env or {}, extra), file)

    def wait_ready(self, seconds=180, job="loki"):
        """Until every Loki answers /ready with 200 and the catalogue has them all."""

        def all_ready():
            allocations = self.nomad.allocations(job)
            for component in COMPONENTS:
                group = [a for a in allocations.get(component, []) if a["ClientStatus"] == "running"]
                if len(group) < self.counts[component]:
                    return False
                for allocation in group:
                    address, port = self.nomad.ports(allocation["ID"])["http"]
                    if http("GET", f"http://{address}:{port}/ready", timeout=2, raw=True)[0] != 200:
                        return False
            return True

        try:
            wait_for("all components to be ready", all_ready, seconds, every=1)
        except StackError as error:
            raise StackError(f"{error}\n{self.explain(job)}") from None

    def address(self, component, label="http", job="loki"):
        allocation = self.nomad.allocations(job)[component][0]
        return "{}:{}".format(*self.nomad.ports(allocation["ID"])[label])

    def explain(self, job="loki"):
        """What runs and the last log lines of what does not."""
        lines = []
        for component, group in sorted(self.nomad.allocations(job).items()):
            for allocation in group:
                lines.append(f"{component} {allocation['ID'][:8]} {allocation['ClientStatus']}")
                for task, state in (allocation.get("TaskStates") or {}).items():
                    lines.append(f"  {task}: {state['State']} failed={state['Failed']} restarts={state['Restarts']}")
                    if state["State"] != "running":
                        lines += [f"    {event['Type']}: {event['DisplayMessage']}" for event in state["Events"][-3:]]
                    logs = self.nomad.dir / "d/alloc" / allocation["ID"] / "alloc/logs"
                    for log in sorted(logs.glob(f"{task}.std*.0")):
                        lines += [f"    | {line[:300]}" for line in log.read_text(errors="replace").splitlines()[-3:]]
        return "\n".join(lines)
