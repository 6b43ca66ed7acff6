"""certagent beside the three template blocks that it replaces: the same load, ttl, servers and Loki.

Writes what it has measured into docs/comparison.md, between markers. Never changes a number by hand; what
stays true: both sides go through the same steps of the same function.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

from scenarios import Run
from servers import ROOT, StackError, tool, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from deploy import Stack
    from report import Report

TTL = "2m"
SECONDS = 330  # at least two renewals by either way
BOUND = 15  # seconds after Vault's return within which all have renewed
PAGE = ROOT / "docs/comparison.md"


def comparison(stack: Stack, report: Report) -> None:
    """Failed requests, restarts and issuances of both, side by side."""
    stack.set_up_templates()
    rows = {}
    for name, templates in (("certagent", False), ("three template blocks", True)):
        run = Run(stack, report, ttl=TTL, templates=templates, patience=60)
        time.sleep(SECONDS)
        load = run.end()
        rows[name] = {
            **load,
            "issuances": report.numbers["issuances"],
            "restarts": stack.restarts(),
            "renewals": sum(run.watch.rotations().values()),
        }
        report.say(f"{name}: {rows[name]}")
        stack.stop_job()
    report.numbers["rows"] = rows
    agent = rows["certagent"]
    report.check(
        "certagent: failed pushes and queries",
        f"{agent['failed_pushes']} and {agent['failed_queries']}",
        agent["failed_pushes"] + agent["failed_queries"] == 0,
    )
    report.check("certagent: restarts of Loki", agent["restarts"], agent["restarts"] == 0)
    report.check(
        "template blocks: renewals",
        rows["three template blocks"]["renewals"],
        rows["three template blocks"]["renewals"] > 0,
    )
    intro = (
        f"Ten instances (two ingesters, two distributors), ttl {TTL}, splay 5 s for the template blocks, "
        "replication factor 1."
    )
    write("comparison", intro, markdown(rows, RENEWAL_LINES))


def outage(stack: Stack, report: Report) -> None:
    """Vault away when renewal is due; the template runner's patience shortened to see it in minutes."""
    retry = 'vault_retry {\n      attempts = 2\n      backoff = "250ms"\n      max_backoff = "1s"\n    }'
    rows = {"certagent": without_vault(stack, report, "5m", 150, 130)}
    stack.stop_job()
    rows["three template blocks"] = templates_without_vault(stack, report, "5m", 150, 150, retry)
    verdict(stack, report, rows)
    intro = (
        "Certificates of 5 min. The template runner's patience was shortened to `attempts = 2` "
        "(its own is in the next section)."
    )
    write("outage", intro, markdown(rows, OUTAGE_LINES))


def outage_long(stack: Stack, report: Report) -> None:
    """The template runner's own patience, seven and a half minutes without Vault and a restart of the agent."""
    env = {"CERTAGENT_RENEW_AT": "20%"}  # due while Vault is away, twelve minutes before the end
    rows = {"certagent": without_vault(stack, report, "15m", 30, 450, env=env, agent=True)}
    stack.stop_job()
    rows["three template blocks"] = templates_without_vault(stack, report, "15m", 30, 450, "", agent=True)
    verdict(stack, report, rows)
    intro = (
        "Certificates of 15 min, all settings of the template runner its own. "
        "With Vault away the Nomad agent is restarted once, so that\n"
        "the runner asks Vault while the certificates have many minutes left "
        "(its own renewal at 90 % of the life would come too late to show that)."
    )
    write("outage-long", intro, markdown(rows, OUTAGE_LINES))


def without_vault(
    stack: Stack,
    report: Report,
    ttl: str,
    stop_at: float,
    away: float,
    env: dict[str, str] | None = None,
    agent: bool = False,
) -> dict[str, Any]:
    """certagent's side: what was seen while Vault was away, and when the last instance had renewed."""
    run = Run(stack, report, ttl=ttl, env=env)
    row = absent(stack, report, run, stop_at, away, agent, math.inf)
    try:
        wait_for(
            "every instance to renew",
            lambda: len(run.watch.renewed) and min(run.watch.renewed.values()) > row["stopped"],
            120,
            every=0.5,
        )
        # Some have renewed before our own look saw Vault as ready.
        row["renewed"] = max(0, round(max(run.watch.renewed.values()) - row["back"]))
    except StackError:
        row["renewed"] = None
    return finish(stack, run, row)


def templates_without_vault(
    stack: Stack, report: Report, ttl: str, stop_at: float, away: float, retry: str, agent: bool = False
) -> dict[str, Any]:
    """The template runner's side: Vault comes back early when every task has been killed."""
    stack.set_up_templates()
    stack.nomad.vault_retry = retry
    stack.nomad.configure()
    stack.nomad.stop()
    stack.nomad.start()
    run = Run(stack, report, ttl=ttl, templates=True)
    row = absent(stack, report, run, stop_at, away, agent, sum(stack.counts.values()))
    row["renewed"] = None
    return finish(stack, run, row)


def absent(
    stack: Stack, report: Report, run: Run, stop_at: float, away: float, agent: bool, enough: float
) -> dict[str, Any]:
    """Stops Vault `stop_at` seconds after the start for `away` seconds, or until `enough` tasks were killed."""
    time.sleep(stop_at)
    stack.bao.stop()
    stopped = time.time()
    report.say("Vault is stopped")
    if agent:
        stack.nomad.stop()
        stack.nomad.start()
        report.say("the Nomad agent was restarted")
    killed = {}
    while True:
        for name, (when, why) in stack.failed_tasks().items():
            if name not in killed:
                killed[name] = {
                    "after": round(when - stopped),
                    "left": round(run.watch.ends.get(name, when) - when),
                    "why": why[:160],
                }
                report.say(
                    f"{name} was killed {killed[name]['after']} s after Vault had stopped, "
                    f"its leaf valid for {killed[name]['left']} s more: {why[:160]}"
                )
        if time.time() - stopped >= away or len(killed) >= enough:
            break
        time.sleep(1)
    stack.bao.start()
    report.say("Vault is back")
    back = time.time()
    left = round(min(run.watch.ends.values()) - back)
    return {"away": round(back - stopped), "stopped": stopped, "back": back, "left": left, "killed": killed}


def finish(stack: Stack, run: Run, row: dict[str, Any]) -> dict[str, Any]:
    load = run.load
    load.stop()
    run.watch.stop()
    row.update(
        failed_pushes=load.counted[0],
        failed_queries=load.counted[1],
        pushes=load.counted[2],
        queries=load.counted[3],
        restarts=stack.restarts(),
    )
    if not row["killed"]:
        row["lost"] = len(load.missing())
    return row


def verdict(stack: Stack, report: Report, rows: dict[str, dict[str, Any]]) -> None:
    report.numbers["rows"] = rows
    agent, templates = rows["certagent"], rows["three template blocks"]
    report.check(
        "certagent: killed, restarted, failed pushes, failed queries, lines lost",
        f"{len(agent['killed'])}, {agent['restarts']}, {agent['failed_pushes']}, {agent['failed_queries']}, "
        f"{agent.get('lost')}",
        not agent["killed"]
        and not agent["restarts"]
        and not agent["failed_pushes"]
        and not agent["failed_queries"]
        and agent.get("lost") == 0,
    )
    in_time = agent["renewed"] is not None and agent["renewed"] <= BOUND
    report.check(
        "certagent: all renewed after Vault's return",
        f"within {agent['renewed']} s, {agent['left']} s were left",
        in_time,
    )
    every = sum(stack.counts.values())
    report.check(
        "template blocks: tasks killed", f"{len(templates['killed'])} of {every}", len(templates["killed"]) > 0
    )


def spread(values: Iterable[int]) -> str:
    values = sorted(values)
    return f"{values[0]} to {values[-1]} s" if values else "-"


RENEWAL_LINES = [
    ("length of the run", lambda row: f"{row['seconds']} s"),
    ("new leaves on disk", lambda row: row["renewals"]),
    ("issuances counted by OpenBao", lambda row: row["issuances"]),
    ("restarts of Loki", lambda row: row["restarts"]),
    ("restarts per renewal", lambda row: f"{row['restarts'] / max(1, row['renewals']):.1f}"),
    ("failed pushes (of attempts)", lambda row: f"{row['failed_pushes']} of {row['pushes']}"),
    ("pushes given up after 60 s of repeats", lambda row: row["pushes_given_up"]),
    ("failed queries", lambda row: f"{row['failed_queries']} of {row['queries']}"),
    ("accepted lines that a query did not show 3 s later", lambda row: row["lines_late"]),
    ("accepted lines lost in the end", lambda row: f"{row['lines_missing']} of {row['lines_accepted']}"),
]

OUTAGE_LINES = [
    ("Vault away for", lambda row: f"{row['away']} s"),
    ("Loki tasks killed by Nomad", lambda row: len(row["killed"])),
    ("killed, after Vault had stopped", lambda row: spread(k["after"] for k in row["killed"].values())),
    ("validity left when killed", lambda row: spread(k["left"] for k in row["killed"].values())),
    ("restarts of Loki", lambda row: row["restarts"]),
    ("failed pushes", lambda row: f"{row['failed_pushes']} of {row['pushes']}"),
    ("failed queries", lambda row: f"{row['failed_queries']} of {row['queries']}"),
    ("validity left at Vault's return", lambda row: f"{row['left']} s"),
    ("all renewed after Vault's return", lambda row: "-" if row["renewed"] is None else f"within {row['renewed']} s"),
]


def markdown(rows: dict[str, dict[str, Any]], lines: list[tuple[str, Callable[[dict[str, Any]], object]]]) -> str:
    head = "| | " + " | ".join(rows) + " |\n|---|" + "---|" * len(rows)
    return "\n".join(
        [head, *(f"| {what} | " + " | ".join(str(of(row)) for row in rows.values()) + " |" for what, of in lines)]
    )


def versions() -> str:
    """What the run used, by the programs' own words: `Nomad 2.0.5, Loki 3.7.6, ...`."""
    asked = {
        "Nomad": ("nomad", "version"),
        "Loki": ("loki", "-version"),
        "OpenBao": ("bao", "version"),
        "Consul": ("consul", "version"),
    }
    found = []
    for name, (program, how) in asked.items():
        said = subprocess.run([tool(program), how], capture_output=True, text=True, timeout=30)
        number = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
        found.append(f"{name} {number.group() if number else 'of unknown version'}")
    return ", ".join(found)


def write(block: str, intro: str, text: str) -> None:
    """Replaces one generated block of docs/comparison.md."""
    page = PAGE.read_text()
    stamp = (
        f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores (load average {os.getloadavg()[2]:.0f}), "
        f"with {versions()}."
    )
    start, end = f"<!-- made by integration/stack/run {block} -->", "<!-- end -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise StackError(f"{PAGE} has no block for {block}")
    PAGE.write_text(pattern.sub(lambda _: f"{start}\n{stamp}\n{intro}\n\n{text}\n{end}", page))
