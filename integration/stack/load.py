"""The load: log lines pushed and queried back all the time, each line unique.

Pushes go to the distributors in turn, queries to the query-frontends, as a load balancer in front of them does
it: to those that Consul has as healthy, and to the next one where a connection is refused. Every request that is
not answered as it should is counted and kept with its time and reason. What stays true: a line counts as accepted
only when Loki said so, and every accepted line is looked for at the end.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
import uuid
from typing import TYPE_CHECKING

from servers import StackError, http

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from deploy import Stack
    from servers import Json

STREAMS = 8  # so that every ingester gets some
LOOK_BACK = 20  # seconds that a running query covers
SETTLED = 3  # seconds after which an accepted line must be found
SLICE = 20  # seconds of one query when all is read back


class Steady:
    """Steps that are taken again and again, each in a thread of its own, at a steady rate, from start() to stop()."""

    def __init__(self, steps: list[tuple[Callable[[], None], float]]) -> None:
        self.steps = steps  # [(function, seconds from one call to the next)]
        self.run = uuid.uuid4().hex[:12]
        self.stopping = threading.Event()

    def start(self) -> Self:
        self.began = time.time()
        self.threads = [threading.Thread(target=self.work, args=each, daemon=True) for each in self.steps]
        for thread in self.threads:
            thread.start()
        return self

    def work(self, step: Callable[[], None], pause: float) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            step()
            self.stopping.wait(max(0.0, pause - (time.monotonic() - began)))

    def note(self, failures: list[tuple[float, str]], reason: object) -> None:
        failures.append((round(time.time() - self.began, 1), str(reason)[:200]))

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
        self.ended = time.time()


class Load(Steady):
    """Runs from start() to finish(). `patience`: how long one push is repeated, as every log shipper
    does, and whether a query is asked once more, as a person does; 0: one attempt, for scenarios in
    which nothing may fail."""

    def __init__(self, stack: Stack, patience: float = 0, pushes_per_second: float = 4, lines: int = 3) -> None:
        super().__init__([(self.push, 1 / pushes_per_second), (self.query, 1.0)])
        self.stack, self.patience, self.lines = stack, patience, lines
        self.accepted: dict[str, tuple[float, float]] = {}  # id -> (time of the line, time when it was accepted)
        self.push_attempts = self.query_attempts = self.given_up = self.queries_given_up = self.lines_late = 0
        self.failed_pushes: list[tuple[float, str]] = []  # (seconds since start, reason)
        self.failed_queries: list[tuple[float, str]] = []
        self.moved_on: list[
            tuple[float, str]
        ] = []  # connections that were refused, so that the next instance got the request
        self.lock = threading.Lock()
        self.where: dict[str, tuple[float, list[str]]] = {}  # component -> (when it was looked up, addresses)

    def targets(self, component: str) -> list[str]:
        """Where a load balancer sends the component's requests; it looks once a second."""
        with self.lock:
            looked_at, found = self.where.get(component, (-1.0, []))
            if time.monotonic() - looked_at > 1:
                # With none healthy it goes on with those it knew: an overloaded machine misses checks of them all.
                found = self.stack.in_service(component) or found
                self.where[component] = (time.monotonic(), found)
            return found

    def request(
        self, component: str, number: int, method: str, path: str, body: Json = None, timeout: float = 10
    ) -> tuple[int, Json]:
        """One request as a load balancer passes it on; the first instance is chosen by `number`."""
        status, answer = 0, f"no {component} is healthy"
        targets = self.targets(component)
        for place in range(len(targets)):
            address = targets[(number + place) % len(targets)]
            status, answer = self.send(method, address, path, body, timeout)
            if status or "refused" not in answer:
                break
            self.note(self.moved_on, f"{component} {address}")
        return status, answer

    def send(self, method: str, address: str, path: str, body: Json = None, timeout: float = 10) -> tuple[int, Json]:
        return http(method, f"http://{address}{path}", body, {"Content-Type": "application/json"}, timeout)

    def push(self) -> None:
        number = self.push_attempts
        moment = time.time()
        ids = [f"{self.run}-{number}-{line}" for line in range(self.lines)]
        values = [[str(int(moment * 1e9) + place), f"id={name} stack"] for place, name in enumerate(ids)]
        stream = {"stream": {"job": "stack", "part": str(number % STREAMS)}, "values": values}
        for attempt in range(1000):
            self.push_attempts += 1
            status, answer = self.request(
                "distributor", number + attempt, "POST", "/loki/api/v1/push", {"streams": [stream]}
            )
            if status == 204:
                now = time.time()
                self.accepted.update({name: (moment, now) for name in ids})
                return
            self.note(self.failed_pushes, f"{status} {answer}")
            if time.time() - moment > self.patience or self.stopping.wait(0.5):
                self.given_up += self.patience > 0 and not self.stopping.is_set()
                return

    def ask(self, since: float, until: float) -> set[str] | None:
        """Ids of the lines between two times, or None when the query failed."""
        self.query_attempts += 1
        query = urllib.parse.urlencode(
            {
                "query": f'{{job="stack"}} |= "{self.run}"',
                "start": int(since * 1e9),
                "end": int(until * 1e9),
                "limit": 5000,
            }
        )
        status, answer = self.request(
            "query-frontend", self.query_attempts, "GET", f"/loki/api/v1/query_range?{query}", timeout=15
        )
        if status != 200:
            self.note(self.failed_queries, f"{status} {answer}")
            return None
        return {line[3:].split(" ", 1)[0] for stream in answer["data"]["result"] for _, line in stream["values"]}

    def query(self) -> None:
        now = time.time()
        expected = {
            name
            for name, (moment, accepted) in list(self.accepted.items())
            if moment > now - LOOK_BACK + 1 and accepted < now - SETTLED
        }
        found = self.ask(now - LOOK_BACK, now)
        if found is None and self.patience and not self.stopping.wait(0.5):
            found = self.ask(now - LOOK_BACK, now)
            self.queries_given_up += found is None
        if found is not None:
            self.lines_late += len(expected - found)

    def stop(self) -> None:
        super().stop()
        # What follows is counted apart: it may be repeated until Loki has settled.
        self.counted = (len(self.failed_pushes), len(self.failed_queries), self.push_attempts, self.query_attempts)

    def missing(self, seconds: float = 60) -> set[str]:
        """Accepted lines that cannot be read back: the whole run, slice by slice."""
        end = time.monotonic() + seconds
        missing = set(self.accepted)
        while missing and time.monotonic() < end:
            since = min(self.accepted[name][0] for name in missing) - 1
            while since < self.ended:
                missing -= self.ask(since, since + SLICE) or set()
                since += SLICE
            if missing:
                time.sleep(2)
        return missing

    def finish(self, seconds: float = 60) -> dict[str, Any]:
        """Ends the load. The result as numbers, failures with their times; lines count as missing after `seconds`."""
        self.stop()
        missing = self.missing(seconds)
        pushes, queries, push_attempts, query_attempts = self.counted
        if not self.accepted:
            raise StackError(f"not one push was accepted: {self.failed_pushes[:3]}")
        return {
            "seconds": round(self.ended - self.began),
            "pushes": push_attempts,
            "failed_pushes": pushes,
            "moved_on": len(self.moved_on),
            "pushes_given_up": self.given_up,
            "queries_given_up": self.queries_given_up,
            "queries": query_attempts,
            "failed_queries": queries,
            "lines_accepted": len(self.accepted),
            "lines_late": self.lines_late,
            "lines_missing": len(missing),
            "first_failures": self.failed_pushes[: min(pushes, 3)]
            + self.failed_queries[: min(queries, 3)]
            + self.moved_on[:3],
        }
