"""What certagent's own /metrics say, of every instance: each fault has to show there, and to be over there.

Never trusts one instance for the others. What stays true: what moved is compared with the values before the fault.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from servers import http, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy import Stack
    from etcd import Mesh

LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)(?: .*)?$")


class Metrics:
    """Of all instances that run at this moment; their addresses are kept, so it can be read while Nomad is away."""

    def __init__(self, stack: Stack | Mesh) -> None:
        self.addresses = stack.metrics_addresses()

    def read(self) -> dict[str, dict[tuple[str, str], float]]:
        """Instance -> {(name, labels): value}; an instance that does not answer is left out."""
        found = {}
        for instance, address in self.addresses.items():
            status, text = http("GET", f"http://{address}/metrics", timeout=3, raw=True)
            if status == 200:
                rows = [LINE.match(line) for line in text.decode().splitlines()]
                found[instance] = {(row[1], row[2] or ""): float(row[3]) for row in rows if row}
        return found

    def of(self, name: str, wanted: Callable[[str], bool] = lambda labels: True) -> dict[str, float]:
        """Instance -> sum of the samples of that name whose labels are `wanted`."""
        return {
            instance: sum(value for (each, labels), value in rows.items() if each == name and wanted(labels))
            for instance, rows in self.read().items()
        }

    def unwell(self) -> list[str]:
        """Instances that are not ready, fail at present, or have an alarm; those that do not answer too."""
        rows = self.read()
        good = {
            "certagent_ready": 1,
            "certagent_application_serves_current": 1,
            "certagent_consecutive_failures": 0,
            "certagent_reload_exhausted": 0,
        }
        return [
            f"{instance} {name}"
            for instance in self.addresses
            for name, value in good.items()
            if [v for (each, _), v in rows.get(instance, {}).items() if each == name] != [value]
        ]

    def well(self, seconds: float = 90) -> None:
        wait_for("every certagent to be well by its own metrics", lambda: not self.unwell(), seconds)


def label(name: str, value: str) -> Callable[[str], bool]:
    """Labels in which `name` is `value`."""
    return lambda labels: f'{name}="{value}"' in labels


class Moved:
    """One metric of every instance, from now on."""

    def __init__(self, metrics: Metrics, name: str, wanted: Callable[[str], bool] = lambda labels: True) -> None:
        self.metrics, self.name, self.wanted = metrics, name, wanted
        self.before = metrics.of(name, wanted)

    def instances(self) -> set[str]:
        """Those in which it has changed."""
        now = self.metrics.of(self.name, self.wanted)
        return {instance for instance in now if now[instance] != self.before.get(instance, 0)}

    def in_all(self, seconds: float = 60) -> None:
        wait_for(
            f"{self.name} to move in every instance", lambda: self.instances() == set(self.metrics.addresses), seconds
        )
