"""Each variable of nomad/loki.nomad.hcl, with the scenario that gives it another value than its default.

Starts nothing. What stays true: a variable that no scenario sets is named before anything starts, and a scenario
that does not set what it is listed for fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

SET_BY = {
    "basic_auth": "connect",
    "certagent_command": "rotation",
    "certagent_env": "rotation",
    "certagent_image": "docker",
    "certagent_restart_delay": "rotation",
    "check_interval": "rotation",
    "config": "loki-2.7",
    "connect": "connect",
    "consul_address": "rotation",
    "counts": "rotation",
    "datacenters": "scale",
    "dns_servers": "docker",
    "drain": "rotation",
    "driver": "rotation",
    "envoy_command": "connect",
    "image": "docker",
    "kill_timeout": "rotation",
    "loki_command": "rotation",
    "pki_mount": "scale",
    "pki_role": "scale",
    "replication_factor": "ca-rotation",
    "s3": "rotation",
    "splay": "scale",
    "ttl": "rotation",
    "user": "docker",
    "vault_address": "rotation",
    "vault_ca": "scale",
    "vault_role": "scale",
    "version": "docker",
}


def defaults() -> dict[str, str]:
    """Name -> default as it stands in the job, without quotation marks; of a longer one the first line."""
    text = (ROOT / "nomad/loki.nomad.hcl").read_text()
    blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.M | re.S)
    return {name: re.search(r"^  default += (.*)$", block, re.M)[1].strip('"') for name, block in blocks}


def unlisted() -> list[str]:
    """Variables of the job without a scenario, and listed ones that the job does not have."""
    return sorted(defaults().keys() ^ SET_BY.keys())


def unset(scenario: str, given: Mapping[str, str]) -> list[str]:
    """Of those that this scenario is listed for: what it left at the default. `given`: what its jobs were given."""
    usual = defaults()
    return [name for name, who in SET_BY.items() if who == scenario and given.get(name, usual[name]) == usual[name]]
