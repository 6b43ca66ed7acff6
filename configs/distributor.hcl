# certagent for Loki's distributor.
#
# No client dials it over gRPC in this layout; it needs the certificate as a client of the ingesters.
#
#   certagent run -c configs/distributor.hcl
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

certificate "distributor" {
  # Common name loki-distributor.service.consul.
  component = "distributor"

  # Addresses that peers dial. A node's own address comes best from CERTAGENT_NODE_IP.
  ip_sans = ["192.0.2.10"]

  mount = "pki"
  role  = "internal"
  ttl   = "10d"

  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}
