"""What certagent's own /metrics say, of every instance: each fault has to show there, and to be over there.

Never trusts one instance for the others. What stays true: what moved is compared with the values before the fault.
"""

import re

from servers import http, wait_for

LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)(?: .*)?$")


class Metrics:
    """Of all instances that run at this moment; their addresses are kept, so it can be read while Nomad is away."""

    def __init__(self, stack):
        self.addresses = stack.metrics_addresses()

    def read(self):
        """Instance -> {(name, labels): value}; an instance that does not answer is left out."""
        found = {}
        for instance, address in self.addresses.items():
            status, text = http("GET", f"http://{address}/metrics", timeout=3, raw=True)
            if status == 200:
                rows = [LINE.match(line) for line in text.decode().splitlines()]
                found[instance] = {(row[1], row[2] or ""): float(row[3]) for row in rows if row}
        return found

    def of(self, name, wanted=lambda labels: True):
        """Instance -> sum of the samples of that name whose labels are `wanted`."""
        return {
            instance: sum(value for (each, labels), value in rows.items() if each == name and wanted(labels))
            for instance, rows in self.read().items()
        }

    def unwell(self):
        """Instances that are not ready, fail at present, or have an alarm; those that do not answer too."""
        rows = self.read()
        good = {
            "certagent_ready": 1,
            "certagent_attested": 1,
            "certagent_consecutive_failures": 0,
            "certagent_alarm": 0,
        }
        return [
            f"{instance} {name}"
            for instance in self.addresses
            for name, value in good.items()
            if [v for (each, _), v in rows.get(instance, {}).items() if each == name] != [value]
        ]

    def well(self, seconds=90):
        wait_for("every certagent to be well by its own metrics", lambda: not self.unwell(), seconds)


def label(name, value):
    """Labels in which `name` is `value`."""
    return lambda labels: f'{name}="{value}"' in labels


class Moved:
    """One metric of every instance, from now on."""

    def __init__(self, metrics, name, wanted=lambda labels: True):
        self.metrics, self.name, self.wanted = metrics, name, wanted
        self.before = metrics.of(name, wanted)

    def instances(self):
        """Those in which it has changed."""
        now = self.metrics.of(self.name, self.wanted)
        return {instance for instance in now if now[instance] != self.before.get(instance, 0)}

    def in_all(self, seconds=60):
        wait_for(
            f"{self.name} to move in every instance", lambda: self.instances() == set(self.metrics.addresses), seconds
        )
