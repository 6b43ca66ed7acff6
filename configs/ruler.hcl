# certagent for Loki's ruler.
#
# No client dials it in this layout (other rulers do, by IP, when the ring shards rules); it needs the
# certificate as a client of ingester, compactor, index-gateway and query-frontend.
#
#   certagent run -c configs/ruler.hcl
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

certificate "ruler" {
  # Common name loki-ruler.service.consul.
  component = "ruler"

  # Addresses that peers dial. A node's own address comes best from CERTAGENT_NODE_IP.
  ip_sans = ["192.0.2.10"]

  mount = "pki"
  role  = "internal"
  ttl   = "10d"

  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}
