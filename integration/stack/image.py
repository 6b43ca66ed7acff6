"""The container image: made by the repository's Dockerfile, and run as an operator would.

No registry is asked: the base is made from Debian's packages, the Dockerfile's target `binary` takes the built
program, and Docker's daemon runs in the stack's namespaces with files of its own.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from typing import TYPE_CHECKING

from containers import Docker, base_image, build
from scrape import ended, login_without_nomad
from servers import NODE_IP, OpenBao, StackError, certagent_binary, wait_for

if TYPE_CHECKING:
    from deploy import Stack
    from report import Report

TOOLS = ["openbao", "consul"]
SET = "/certs"
# As strict as a runtime can be: nothing is writable but what is mounted, and no right is left.
LOCKED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=bridge"]


def image(stack: Stack, report: Report) -> None:
    """Built twice, then `--version`, `run`, `status`, `wait` and `exec` in it, with nothing else allowed."""
    docker, (keys, token) = Docker(stack.base), login_without_nomad(stack)
    try:
        docker.start()
        base_image(docker)
        same_twice(docker, report)
        commands(docker, report)
        service(docker, token, report)
    finally:
        docker.stop()
        ended(keys)


def same_twice(docker: Docker, report: Report) -> None:
    """The same files and the same settings; for the same digest the time of making has to be set, by BuildKit."""
    built = [build(docker, tag) for tag in ("certagent", "certagent:again")]
    files = [content(docker, tag) for tag in ("certagent", "certagent:again")]
    report.check("files of two builds", len(files[0]), files[0] == files[1])
    # `Image` is the step before, whose time of making the old builder records.
    settings = [{**each["Config"], "Image": ""} for each in built]
    report.check("settings of two builds", len(settings[0]), settings[0] == settings[1])
    own = built[0]["Size"] - docker.inspect("base")["Size"]
    report.numbers["image_bytes"] = own
    report.check("image without its base", f"{own / 1e6:.2f} MB", own == os.path.getsize(certagent_binary()))
    report.check("user", settings[0]["User"], settings[0]["User"] == "10001:10001")


def content(docker: Docker, image: str) -> dict[str, tuple[object, ...]]:
    """Mode, owner, time and hash of each file of an image. A directory's time is that of the build."""
    container = docker.must("create", image)
    archive = docker.dir / "files.tar"
    docker.must("export", f"--output={archive}", container)
    docker.must("rm", container)
    with tarfile.open(archive) as files:
        return {
            each.name: (
                each.mode,
                each.uid,
                each.gid,
                each.linkname,
                each.mtime if each.isfile() else 0,
                hashlib.sha256(files.extractfile(each).read()).hexdigest() if each.isfile() else "",
            )
            for each in files
        }


def commands(docker: Docker, report: Report) -> None:
    """What needs no Vault; a shell is not there."""
    version = docker.must("run", "--rm", *LOCKED, "certagent", "--version")
    report.check("--version", version, version.startswith("certagent "))
    shell = docker.run("run", "--rm", "--entrypoint=/bin/sh", "certagent", "-c", "true")
    report.check("a shell", "none", shell.returncode != 0 and "no such file" in shell.stderr)
    ended = docker.run("run", "--rm", *LOCKED, "certagent", "run")
    last = (ended.stderr.strip().splitlines() or [""])[-1]
    report.check("run without any setting", f"{ended.returncode}: {last[:60]}", ended.returncode == 2)


def service(docker: Docker, token: str, report: Report) -> None:
    """An agent in a container of its own, and what others ask it."""
    files = docker.dir / "certs"
    files.mkdir()
    os.chown(files, 10001, 10001)
    files.chmod(0o750)
    settings = {
        "VAULT_ADDR": OpenBao.url,
        "VAULT_TOKEN": token,
        **OpenBao.PLAIN,
        "CERTAGENT_COMMON_NAME": "loki-read.service.consul",
        "CERTAGENT_IP_SANS": NODE_IP,
        "CERTAGENT_TTL": "1h",
        "CERTAGENT_DIR": f"{SET}/live",
        "CERTAGENT_READY_FILE": f"{SET}/ready.json",
        "CERTAGENT_STATUS_SOCKET": "/run/certagent/status.sock",
    }
    (docker.dir / "env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    with_files = [*LOCKED, f"--env-file={docker.dir}/env", f"--volume={files}:{SET}"]
    place = "--tmpfs=/run/certagent:mode=0700,uid=10001,gid=10001"
    docker.must("run", "--detach", "--name=agent", "--health-interval=1s", place, *with_files, "certagent", "run")
    gate = docker.run("run", "--rm", *with_files, "certagent", "wait", "--timeout", "60s", seconds=90)
    report.check("wait in a second container", gate.returncode, gate.returncode == 0)
    if gate.returncode:
        raise StackError(docker.run("logs", "agent").stderr[-2000:])
    key = files / "live/key.pem"
    mode = f"{key.stat().st_mode & 0o777:o} of {key.stat().st_uid}"
    report.check("the key", mode, mode == "600 of 10001")
    health = wait_for("a health check", lambda: healthy(docker), 60)
    report.check("health check", health, health == "healthy")
    status = docker.run("exec", "agent", "/usr/local/bin/certagent", "status")
    report.check("status in the container", status.returncode, status.returncode == 0)
    inside = ["/usr/local/bin/certagent", "inspect", f"{SET}/exec"]
    child = docker.run("run", "--rm", place, *with_files, "certagent", "exec", "--dir", f"{SET}/exec", "--", *inside)
    report.check("exec as PID 1", child.returncode, child.returncode == 0)
    docker.must("stop", "--time=10", "agent")
    state = docker.inspect("agent")["State"]
    report.check("stopped", f"exit code {state['ExitCode']}", state["ExitCode"] == 0)
    report.check("the files stay", key.exists(), key.exists())


def healthy(docker: Docker) -> str:
    status = docker.inspect("agent")["State"]["Health"]["Status"]
    return "" if status == "starting" else status
