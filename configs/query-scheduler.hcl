# certagent for Loki's query-scheduler.
#
# query-frontend and querier look its name up and dial the IP address: the IP SAN is what counts.
# A new key with an old certificate for an instant can drop a scheduler; keeping the key avoids it.
#
#   certagent run -c configs/query-scheduler.hcl
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

certificate "query-scheduler" {
  # Common name loki-query-scheduler.service.consul.
  component = "query-scheduler"

  # Addresses that peers dial. A node's own address comes best from CERTAGENT_NODE_IP.
  ip_sans = ["192.0.2.10"]

  # Make the key here and keep it over renewals: only cert.pem changes then.
  mode      = "sign"
  reuse_key = true

  mount = "pki"
  role  = "internal"
  ttl   = "10d"

  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}
