"""docs/first-certificate.md, word by word: its commands, in their order, on this cluster.

What stays true: only what the page leaves to the reader is filled in (addresses, tokens, keys, paths), by the
table below; a word of that table that the page no longer has fails the run.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from servers import ROOT, StackError, certagent_binary, tool, wait_for

if TYPE_CHECKING:
    from deploy import Stack
    from report import Report

PAGE = ROOT / "docs/first-certificate.md"


def first_certificate(stack: Stack, report: Report) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    report.check("blocks of commands on the page", len(blocks), len(blocks) == 3)
    certificate, component, look = (filled(stack, block) for block in blocks)
    said = typed(stack, certificate)
    report.check("the first certificate", last(said), "loki-query-scheduler.service.consul" in said)
    stack.nomad.cli("var", "purge", "nomad/jobs/loki")  # as on a cluster that has none of it
    typed(stack, component)
    allocation = wait_for("the component to be placed", lambda: running(stack), 60, every=1)

    def serving() -> str:
        found = typed(stack, look.replace("ALLOCATION", allocation), check=False)
        return found if re.search(r"^\S+ +ready .*current", found, re.M) else ""

    try:
        said = wait_for("status to say that Loki serves what is published", serving, 90, every=2)
    except StackError as error:
        said = f"{error}: {typed(stack, look.replace('ALLOCATION', allocation), check=False)[-1500:]}"
    report.check("the first component", last(said), "in vain" not in said)
    report.none("restarts of Loki", stack.restarts())


def filled(stack: Stack, block: str) -> str:
    """With what the page leaves to the reader. Each word is on the page once at least, or it is not that page."""
    values = {
        "https://vault.example:8200": stack.bao.secure_url,
        "VAULT_TOKEN=...": f"VAULT_TOKEN={stack.bao.keys['root_token']}",
        "s3_access_key_id=...": "s3_access_key_id=loki",
        "s3_secret_access_key=...": "s3_secret_access_key=loki-stack",
        "FILE": f"{stack.bao.dir}/ca.pem",
        "-var driver=raw_exec": f"-var driver=raw_exec -var loki_command={tool('loki')} "
        f"-var certagent_command={certagent_binary()}",
        "/usr/local/bin/certagent": certagent_binary(),
    }
    page = PAGE.read_text()
    if missing := [word for word in values if word not in page]:
        raise StackError(f"docs/first-certificate.md lacks {missing}")
    for word, value in values.items():
        block = block.replace(word, value)
    return block


def typed(stack: Stack, commands: str, check: bool = True) -> str:
    """What a shell with these commands prints; Nomad's address and token are the reader's environment."""
    programs = ":".join(str(Path(each).parent) for each in (certagent_binary(), tool("nomad")))
    given = stack.nomad.environment()
    environment = {
        **given,
        "PATH": f"{programs}:{given['PATH']}",
        "NOMAD_ADDR": stack.nomad.url,
        "NOMAD_TOKEN": stack.nomad.bootstrap,
        "VAULT_ADDR": stack.bao.secure_url,
        "VAULT_CACERT": f"{stack.bao.dir}/ca.pem",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    if check and done.returncode:
        raise StackError(f"{commands}\nended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout + done.stderr


def running(stack: Stack) -> str:
    """Id of the one allocation, once its tasks run."""
    found = stack.nomad.allocations().get("query-scheduler", [])
    return next((each["ID"] for each in found if each["ClientStatus"] == "running"), "")


def last(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
