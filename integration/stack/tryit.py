"""What `integration/stack/run up` tells its reader: addresses and commands that work as they are printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from servers import ROOT, TOOLS, certagent_binary

if TYPE_CHECKING:
    from deploy import Stack


def text(stack: Stack) -> str:
    addresses = stack.addresses("http")
    grpc = stack.addresses("grpc")
    allocation = stack.nomad.allocations()["ingester"][0]["ID"]
    certs = stack.nomad.task_dir(allocation, "certagent") / "secrets/certs"
    path = f"{TOOLS}:{os.path.dirname(certagent_binary())}"
    return f"""
Loki runs: eight components, ten instances, certificates of 2 minutes. It lives in namespaces of its own;
enter them from another shell, as root, with

  nsenter --target $(cat {stack.base}/pid) --all --wd={ROOT} bash

and there:

  export NOMAD_ADDR={stack.nomad.url} NOMAD_TOKEN={stack.nomad.bootstrap} PATH={path}:$PATH
  nomad job status loki
  nomad alloc logs -f -stderr -task certagent {allocation}
  nomad alloc exec -task certagent {allocation} {certagent_binary()} issue

  certagent inspect {certs}
  watch -n1 ls -l {certs}

  openssl s_client -connect {grpc["ingester"][0]} -alpn h2 -CAfile {certs}/CA.pem \\
    -cert {certs}/cert.pem -key {certs}/key.pem </dev/null 2>/dev/null | openssl x509 -noout -serial -dates

  curl -s -H 'Content-Type: application/json' http://{addresses["distributor"][0]}/loki/api/v1/push \\
    -d '{{"streams":[{{"stream":{{"job":"me"}},"values":[["'$(date +%s%N)'","hello"]]}}]}}'
  curl -sG http://{addresses["query-frontend"][0]}/loki/api/v1/query_range --data-urlencode 'query={{job="me"}}'

Ctrl-C here stops everything.
"""
