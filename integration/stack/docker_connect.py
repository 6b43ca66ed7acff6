"""The job with docker and `connect = true`: Docker's pause container makes the bridge's network namespace.

The pause and Envoy images are made here, from this machine's `sleep` and the Envoy of integration/tools.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from docker_driver import DockerStack
from servers import NODE_IP, TOOLS, tool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Nomad's pause container only has to stay.
ENTRYPOINTS = {"pause": ["/pause", "infinity"], "envoy": ["/envoy"]}


class DockerConnectStack(DockerStack):
    """Bridge mode by CNI, with containers."""

    def __init__(self, base: str | Path, cgroup: str) -> None:
        super().__init__(base, cgroup)
        self.nomad.cni = (
            f'cni_path = "{TOOLS / "cni"}"\n  bridge_network_hairpin_mode = true\n'
            '  meta { "connect.sidecar_image" = "envoy:stack" }'
        )
        self.nomad.configure()

    def images(self) -> None:
        super().images()
        programs = {"pause": shutil.which("sleep"), "envoy": tool("envoy")}
        for name, entrypoint in ENTRYPOINTS.items():
            context = self.docker.dir / name
            context.mkdir()
            shutil.copy2(programs[name], context / name)
            (context / "Dockerfile").write_text(
                f"FROM base\nCOPY {name} /{name}\nENTRYPOINT {json.dumps(entrypoint)}\n"
            )
            self.docker.must("build", "--no-cache", f"--tag={name}:stack", str(context), seconds=300)
            shutil.rmtree(context)

    def variables(
        self, ttl: str, counts: dict[str, int], env: dict[str, str], extra: Iterable[tuple[str, object]] = ()
    ) -> list[str]:
        # Short certificates end while a killed certagent waits for the usual delay.
        more = {"dns_servers": json.dumps([NODE_IP]), "certagent_restart_delay": "1s"}
        return super().variables(ttl, counts, env, {**more, **dict(extra)}.items())
