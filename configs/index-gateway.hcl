# certagent for Loki's index-gateway.
#
# querier and ruler dial it by the name in index_gateway_client.server_address.
#
#   certagent run -c configs/index-gateway.hcl
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

certificate "index-gateway" {
  # Common name loki-index-gateway.service.consul.
  component = "index-gateway"

  # Addresses that peers dial. A node's own address comes best from CERTAGENT_NODE_IP.
  ip_sans = ["192.0.2.10"]

  # The name that clients are given, when it is not loki-<component>.service.consul.
  # dns_sans = ["index-gateway.loki.internal"]

  mount = "pki"
  role  = "internal"
  ttl   = "10d"

  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}
