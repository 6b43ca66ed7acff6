"""Whether the files of nomad/ are accepted by the programs that they are for, in every variant.

Starts nothing. What stays true: the program itself is asked, never a copy of its rules.
"""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

from deploy import COMPONENTS
from servers import ROOT, tool

if TYPE_CHECKING:
    from deploy import Stack
    from report import Report

VARIABLES = [
    "CERTS",
    "DATA",
    "HTTP_ADDRESS",
    "HTTP_PORT",
    "TAIL_PROXY_URL",
    "GRPC_ADDRESS",
    "GRPC_PORT",
    "NODE_IP",
    "INSTANCE_ID",
    "CONSUL_HTTP_ADDR",
    "REPLICATION_FACTOR",
    "S3_ENDPOINT",
    "S3_BUCKET",
    "S3_REGION",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "S3_INSECURE",
]


def accepted(stack: Stack, report: Report) -> None:
    """Nomad's word on the job for each driver, with and without Connect, and Loki's on its configuration."""
    refused = []
    for driver, connect in itertools.product(("docker", "raw_exec"), ("false", "true")):
        variables = [f"-var=driver={driver}", f"-var=connect={connect}", "-var=version=3.7.8"]
        out = stack.nomad.cli("job", "validate", *variables, "nomad/loki.nomad.hcl", check=False)
        if "Job validation successful" not in out:
            refused.append((driver, connect, out[-300:]))
    report.none("variants of the job that Nomad refuses (docker, raw_exec; with and without Connect)", refused)
    answers = [answer for component in COMPONENTS if (answer := verified("nomad/loki.yaml", component))]
    report.none("components for which Loki refuses nomad/loki.yaml", answers)


def verified(file: str, component: str) -> str:
    """What Loki has against a file, or nothing."""
    values = {name: "1" for name in VARIABLES} | {"S3_INSECURE": "true", "S3_ENDPOINT": "http://127.0.0.1:1"}
    command = [
        tool("loki"),
        f"-config.file={ROOT / file}",
        "-config.expand-env=true",
        f"-target={component}",
        "-verify-config",
    ]
    done = subprocess.run(command, env=values, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else f"{component}: {done.stdout[-200:]}{done.stderr[-400:]}"
