"""What a scenario has found: numbers, checks with their verdict, a table for people, JSON for programs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from typing import Any

    from deploy import Stack
    from etcd import Mesh

TLS_TROUBLE = re.compile(r"tls: |x509: |bad certificate|unknown certificate", re.IGNORECASE)


class Report:
    """Of one scenario."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[tuple[str, object, bool]] = []
        self.numbers: dict[str, Any] = {}
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        print(f"  {self.name}: {text}", flush=True)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def check(self, what: str, value: object, ok: object) -> None:
        self.rows.append((what, value, bool(ok)))
        self.say(f"{'ok    ' if ok else 'FAILED'} {what}: {value}")

    def none(self, what: str, found: int | Collection[object]) -> None:
        """`found` is a number, or a list of which the first few are shown."""
        count = found if isinstance(found, int) else len(found)
        shown = "" if isinstance(found, int) or not found else f" {list(found)[:4]}"
        self.check(what, f"{count}{shown}", count == 0)

    def passed(self) -> bool:
        return bool(self.rows) and all(ok for _, _, ok in self.rows)

    def as_json(self) -> dict[str, Any]:
        rows = [{"what": what, "value": value, "ok": ok} for what, value, ok in self.rows]
        return {
            "scenario": self.name,
            "passed": self.passed(),
            "checks": rows,
            "numbers": self.numbers,
            "notes": self.notes,
        }


def table(reports: list[Report]) -> str:
    """All checks of all scenarios, as text."""
    rows = [
        (report.name, what, str(value)[:90], "ok" if ok else "FAILED")
        for report in reports
        for what, value, ok in report.rows
    ]
    if not rows:
        return "nothing was checked"
    width = [max(len(row[column]) for row in rows) for column in range(3)]
    lines, last = [], ""
    for name, what, value, verdict in rows:
        lines.append(f"{name if name != last else '':{width[0]}}  {what:{width[1]}}  {value:{width[2]}}  {verdict}")
        last = name
    return "\n".join(lines)


def write(path: Path, reports: list[Report]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([report.as_json() for report in reports], indent=1, default=str) + "\n")


def handshake_failures(stack: Stack | Mesh) -> list[str]:
    """Lines about refused handshakes and certificates in the application's logs."""
    found = []
    for log in stack.logs():
        for line in log.read_text(errors="replace").splitlines():
            if TLS_TROUBLE.search(line):
                found.append(line[:220])
    return found


def load_checks(report: Report, result: dict[str, Any], strict: bool = True) -> None:
    """What every load must have shown; strict: not one attempt failed."""
    report.numbers["load"] = result
    report.say(f"load: {result}")
    if strict:
        report.check(
            "failed pushes",
            f"{result['failed_pushes']} of {result['pushes']} {result['first_failures'] or ''}",
            result["failed_pushes"] == 0,
        )
        report.check(
            "failed queries", f"{result['failed_queries']} of {result['queries']}", result["failed_queries"] == 0
        )
        report.none("connections refused by an instance that was healthy a second ago", result["moved_on"])
        report.none("lines not found within 3 s", result["lines_late"])
    else:
        report.check(
            "pushes given up", f"{result['pushes_given_up']} of {result['pushes']}", result["pushes_given_up"] == 0
        )
        report.say(f"repeated: {result['failed_pushes']} pushes, {result['failed_queries']} queries")
    report.check("lines lost", f"{result['lines_missing']} of {result['lines_accepted']}", result["lines_missing"] == 0)
