"""Docker for the stack: a daemon of its own, and images without any registry.

The base is made from Debian's packages on this machine. What stays true: the daemon's files, socket, network and
control groups are this run's own, and it leaves the packet filter alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from servers import ROOT, Part, StackError, certagent_binary, tool

if TYPE_CHECKING:
    from servers import Json

BASE_PACKAGES = ["libc6", "libgcc-s1", "ca-certificates"]


class Docker(Part):
    """A daemon whose files, socket and network are this run's own; it leaves the packet filter alone."""

    name = "docker"

    def __init__(self, base: str | Path, dns: str = "") -> None:
        super().__init__(base)
        self.socket = self.dir / "d.sock"
        # Now: a scenario may hide /var/lib later.
        done = subprocess.run(["dpkg-query", "-L", *BASE_PACKAGES], capture_output=True, text=True, check=True)
        self.base_files = done.stdout.split()
        self.dns = dns  # what containers ask; Docker's own choice where the node's is on loopback: one on the Internet

    def command(self) -> list[str]:
        return [
            tool("dockerd"),
            "--storage-driver=vfs",
            "--iptables=false",
            "--ip6tables=false",
            "--bip=172.30.213.1/24",
            f"--data-root={self.dir}/data",
            f"--exec-root={self.dir}/exec",
            f"--pidfile={self.dir}/pid",
            f"--host=unix://{self.socket}",
            *([f"--dns={self.dns}"] if self.dns else []),
        ]

    def ready(self) -> bool:
        return self.run("version").returncode == 0

    def run(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """One command of the client, to its end."""
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            [tool("docker"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def must(self, *arguments: str, seconds: float = 60) -> str:
        done = self.run(*arguments, seconds=seconds)
        if done.returncode:
            raise StackError(f"docker {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def inspect(self, what: str) -> Json:
        return json.loads(self.must("inspect", what))[0]


def base_image(docker: Docker) -> None:
    """Imports `base`: glibc, libgcc and CA certificates as this machine's Debian has them."""
    root = docker.dir / "base"
    for directory in ("usr/lib", "usr/local/bin"):
        (root / directory).mkdir(parents=True)
    for link in ("lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    for name in [*docker.base_files, "/etc/ssl/certs/ca-certificates.crt"]:
        source = Path(name)
        if source.is_file() and (".so" in source.name or "ca-certificates" in source.name) and "gconv" not in name:
            target = root / str(source.parent.resolve() / source.name).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    archive = docker.dir / "base.tar"
    subprocess.run(
        ["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", root, "-cf", archive, "."], check=True
    )
    docker.must("import", str(archive), "base")


def build(docker: Docker, tag: str) -> Json:
    """The Dockerfile's target that takes a binary, without any cache."""
    context = docker.dir / "context"
    context.mkdir(exist_ok=True)
    shutil.copy2(certagent_binary(), context / "certagent")
    arguments = ["--no-cache", "--target=binary", "--build-arg=BASE=base", f"--file={ROOT}/Dockerfile"]
    docker.must("build", *arguments, f"--tag={tag}", str(context), seconds=120)
    return docker.inspect(tag)
