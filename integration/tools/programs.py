#!/usr/bin/env python3
"""The programs that tests and stack start: where each is found, and what is said when it will not do.

usage: integration/tools/programs.py NAME   prints its path; else one line that says what to do, and exit code 2

The one place that looks for them: the Rust tests ask it by this command, the stack imports it. It installs nothing.
What stays true: of a program with an oldest version, none is returned that has not shown its version.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

INSTALLED = Path(__file__).resolve().parents[2] / ".cache/tools/bin"
STAGES = ("stack", "mesh", "image")  # of .ci/run: CERTAGENT_SKIP and CERTAGENT_REQUIRE may name them too
PATIENCE = 10  # seconds for a program to print its version
Version = tuple[int, ...]


class Unusable(Exception):
    """One line: which program, what was tried, what needs it, what to do. `asked`: a variable names it."""

    def __init__(self, line: str, asked: bool) -> None:
        super().__init__(line)
        self.asked = asked


@dataclass(frozen=True)
class Program:
    """A name as in CERTAGENT_SKIP and `#[ignore = "needs NAME"]`."""

    name: str
    command: str  # file name
    variable: str  # takes a path, goes before every other place
    used_by: str  # which tests and scenarios
    remedy: str  # how to get it
    installed: bool = True  # by integration/tools/install; else it is the operator's or the system's own
    try_with: tuple[str, ...] = ()  # arguments that prove that it works here; without any it is not started
    oldest: Version = ()  # first version that will do; its output must then have one
    below: Version = ()  # first version that is too new
    holds: Optional[Callable[[], bool]] = None  # no program, but something that must be true here


def _installed(name: str, command: str, used_by: str, variable: str = "") -> Program:
    return Program(
        name, command, variable or f"CERTAGENT_{name.upper()}", used_by, f"run integration/tools/install {name}"
    )


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            "nomad",
            "nomad",
            "CERTAGENT_NOMAD",
            "the tests cases::{reload,readme,fleet::catalogues} and every scenario of integration/stack/run with Loki",
            "install its maker's release or package (nothing here does)",
            False,
            ("version",),
            (1, 10),
        ),
        Program(
            "loki",
            "loki",
            "CERTAGENT_LOKI",
            "the tests apps::loki and every scenario of integration/stack/run with Loki",
            "install its maker's release or package (nothing here does)",
            False,
            ("-version",),
            (3, 2),
        ),
        Program(
            "consul",
            "consul",
            "CERTAGENT_CONSUL",
            "the test cases::fleet::catalogues, integration/stack/run",
            "run integration/tools/install consul",
            True,
            ("version",),
            (1, 14),
        ),
        _installed("openbao", "bao", "the tests with a real Vault, integration/stack/run", "CERTAGENT_BAO"),
        Program(
            "vault",
            "vault",
            "CERTAGENT_VAULT",
            "the tests that need openbao, when CERTAGENT_VAULT is set: they run on it instead",
            "take a HashiCorp Vault of your own (nothing here installs one)",
            False,
            ("version",),
            (1, 14),
        ),
        _installed("nginx", "nginx", "the test apps::nginx"),
        _installed("postgresql", "postgres", "the test apps::postgres", "CERTAGENT_POSTGRES"),
        _installed("prometheus", "prometheus", "the scenarios prometheus and rotation"),
        Program(
            "promtool",
            "promtool",
            "CERTAGENT_PROMTOOL",
            "the tests of configs/alerts.yaml, the scenarios prometheus and rotation",
            "run integration/tools/install prometheus",
        ),
        _installed("consul-template", "consul-template", "benches/figures.rs", "CERTAGENT_CONSUL_TEMPLATE"),
        _installed("etcd", "etcd", "the scenario mesh"),
        _installed("etcdctl", "etcdctl", "the scenario mesh"),
        _installed("seaweedfs", "weed", "every scenario of integration/stack/run with Loki", "CERTAGENT_WEED"),
        _installed("envoy", "envoy", "the scenario connect"),
        _installed("traefik", "traefik", "the scenario connect"),
        Program(
            "openssl",
            "openssl",
            "CERTAGENT_OPENSSL",
            "the tests cases::hierarchies",
            "install your distribution's package openssl",
            False,
            ("version",),
            (3, 0),
        ),
        Program(
            "go",
            "go",
            "CERTAGENT_GO",
            "the test of cases::hierarchies with Go's verifier",
            "install Go from go.dev or your distribution",
            False,
            ("version",),
            (1, 20),
        ),
        Program(
            "chromium",
            "chromium",
            "CERTAGENT_CHROMIUM",
            "the test of the fleet's page",
            "install your distribution's package chromium",
            False,
            ("--version",),
        ),
        Program(
            "iptables",
            "iptables",
            "CERTAGENT_IPTABLES",
            "the scenario connect",
            "install your distribution's package iptables",
            False,
            ("--version",),
        ),
        Program(
            "docker",
            "docker",
            "CERTAGENT_DOCKER",
            "the scenario image",
            "install your distribution's package docker.io",
            False,
            ("--version",),
        ),
        Program(
            "dockerd",
            "dockerd",
            "CERTAGENT_DOCKERD",
            "the scenario image",
            "install your distribution's package docker.io",
            False,
            ("--version",),
        ),
        Program(
            "systemd",
            "systemd-analyze",
            "CERTAGENT_SYSTEMD_ANALYZE",
            "the test of the units in configs/",
            "run it on a machine with systemd",
            False,
            ("--version",),
        ),
        Program(
            "root",
            "root",
            "CERTAGENT_ROOT",
            "the tests cases::hostile",
            "run them as root",
            False,
            holds=lambda: os.geteuid() == 0,
        ),
        Program(
            "root",
            "setpriv",
            "CERTAGENT_SETPRIV",
            "the tests cases::hostile and what_belongs_to_somebody_else, which play another user",
            "run them as root, and install util-linux",
            False,
            ("--reuid", "65534", "--regid", "65534", "--clear-groups", "true"),
        ),
        Program(
            "userns",
            "unshare",
            "CERTAGENT_UNSHARE",
            "the tests of PID 1 and of a full file system",
            "allow user namespaces (as root, or sysctl user.max_user_namespaces), and install util-linux",
            False,
            ("-Urmpf", "--mount-proc", "true"),
        ),
    )
}


def find(program: Program) -> Path:
    """Path of a program that works here, or Unusable; of a condition that holds, `/`."""
    if program.holds:
        if program.holds():
            return Path("/")
        raise Unusable(_line(program, "not so here"), False)
    path = where(program)
    if program.try_with:
        _check(program, path)
    return path


def where(program: Program) -> Path:
    """Its path, or Unusable: the variable, .cache/tools/bin for what is installed there, PATH. Starts nothing."""
    named = os.environ.get(program.variable, "")
    cached = INSTALLED / program.command
    if named:
        path = Path(named).absolute()
        _is_program(program, path)
    elif program.installed and os.access(cached, os.X_OK):
        path = cached
    elif found := shutil.which(program.command):
        path = Path(found)
    else:
        raise Unusable(
            _line(program, f"not found ({program.variable} is not set, PATH has no {program.command})"), False
        )
    return path


def is_skipped(name: str) -> bool:
    """True when CERTAGENT_SKIP, a comma list, names it."""
    return name in names("CERTAGENT_SKIP")


def check_names(*variables: str) -> None:
    """Unusable when one of these comma lists has a name that means nothing here."""
    for variable in variables:
        if unknown := [name for name in names(variable) if name not in PROGRAMS and name not in STAGES]:
            known = ", ".join(sorted((*PROGRAMS, *STAGES)))
            raise Unusable(f"{variable} names {', '.join(unknown)}, which is not one of: {known}", True)


def names(variable: str) -> "list[str]":
    """The entries of a comma list."""
    return [entry.strip() for entry in os.environ.get(variable, "").split(",") if entry.strip()]


def _line(program: Program, what: str) -> str:
    version = f"{program.command} {_text(program.oldest)} or later" if program.oldest else program.command
    if program.below:
        version = f"{program.command} {_text(program.oldest)}"
    where = (
        f", or set {program.variable} to its path"
        if program.oldest
        else f", or leave it out with CERTAGENT_SKIP={program.name}"
    )
    return f"{program.name}: {what}. {version} is needed by {program.used_by}: {program.remedy}{where}"


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _named(program: Program, path: Path) -> str:
    return f"{program.variable} names {path}" if os.environ.get(program.variable) else str(path)


def _unusable(program: Program, path: Path, what: str) -> Unusable:
    return Unusable(_line(program, f"{_named(program, path)}, which {what}"), bool(os.environ.get(program.variable)))


def _is_program(program: Program, path: Path) -> None:
    if not path.exists():
        raise _unusable(program, path, "does not exist")
    if not path.is_file():
        raise _unusable(program, path, "is no file")
    if not os.access(path, os.X_OK):
        raise _unusable(program, path, "is not executable")


def _check(program: Program, path: Path) -> None:
    """Starts it as `try_with` says and reads its version; it is gone when this returns."""
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")}
    shown = " ".join((program.command, *program.try_with))
    try:
        process = subprocess.Popen(
            [path, *program.try_with],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise _unusable(program, path, f"does not start: {error.strerror}") from None
    try:
        output = process.communicate(timeout=PATIENCE)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        raise _unusable(program, path, f"does not end within {PATIENCE} s as `{shown}`") from None
    finally:
        _end(process)
    if process.returncode != 0:
        last = (output.strip().splitlines() or [""])[-1][:200]
        raise _unusable(program, path, f"ends with {process.returncode} as `{shown}`: {last}")
    if program.oldest:
        _check_version(program, path, output, shown)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stdout:
        process.stdout.close()


def _check_version(program: Program, path: Path, output: str, shown: str) -> None:
    first = output.strip().split("\n")[0][:200]
    match = re.search(rf"{program.command}\D*?(\d+)\.(\d+)", first, re.IGNORECASE)
    if not match:
        raise _unusable(program, path, f"prints no version as `{shown}`, but: {first or 'nothing'}")
    version = tuple(map(int, match.groups()))
    if version < program.oldest:
        raise _unusable(program, path, f"is {_text(version)}, too old")
    if program.below and version >= program.below:
        raise _unusable(program, path, f"is {_text(version)}, too new")


def main(arguments: "list[str]") -> int:
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(f"{__doc__}\nnames: {' '.join(sorted(PROGRAMS))}", file=sys.stderr)
        return 2
    try:
        print(find(PROGRAMS[arguments[0]]))
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
