# certagent for Loki's ingester.
#
# distributor, querier and ruler dial it by the IP address in the ring: the IP SAN is what counts.
# A restart of an ingester is a short write outage, so renew without one (Loki 3.2 and later).
#
#   certagent run -c configs/ingester.hcl
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

certificate "ingester" {
  # Common name loki-ingester.service.consul.
  component = "ingester"

  # Addresses that peers dial. A node's own address comes best from CERTAGENT_NODE_IP.
  ip_sans = ["192.0.2.10"]

  mount = "pki"
  role  = "internal"
  ttl   = "10d"

  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}
