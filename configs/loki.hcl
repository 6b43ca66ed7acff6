# certagent for a component of Loki.
#
#   certagent run -c configs/loki.hcl
#
# On Nomad nothing of this is needed: the component is the group's name, and addresses, directories and
# the JWT come from Nomad's variables.

vault {
  address = ["https://vault.service.consul:8200"]
}

# The workload identity that Nomad writes for: identity { name = "certagent" file = true aud = ["vault.io"] }
auth "jwt" {
  role = "loki-certagent"
  path = "/secrets/nomad_certagent.jwt"
}

certificate "loki" {
  # Gives the common name loki-ingester.service.consul. One of compactor, distributor, index-gateway,
  # ingester, querier, query-frontend, query-scheduler, ruler. Who dials which by IP address and which
  # by name: docs/loki.md.
  component = "ingester"

  # Addresses that peers dial. A node's own address comes best from CERTAGENT_NODE_IP.
  ip_sans = ["192.0.2.10"]

  mount = "pki"
  role  = "internal"
  ttl   = "10d"

  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}
