# Several certificates in one process. Each has a name, a directory and a ready file of its own, and each fails
# on its own; the login is shared.
#
# Flags and variables for a certificate would be ambiguous here and are refused, unless one is chosen:
#   certagent issue -c configs/several-certificates.hcl --certificate ingester --dry-run

vault {
  # Tried in this order.
  address = [
    "https://vault-1.example:8200",
    "https://vault-2.example:8200",
  ]
}

auth "jwt" {
  role = "loki-certagent"
  path = "/secrets/nomad_certagent.jwt"
}

certificate "ingester" {
  component  = "ingester"
  ip_sans    = ["192.0.2.10"]
  dir        = "/secrets/certs"
  ready_file = "/alloc/certagent/ready.json"
}

# A short-lived client certificate, its key made here.
certificate "object-store" {
  common_name = "loki.objects.example"
  uri_sans    = ["spiffe://example/loki/ingester"]
  mount       = "pki_objects"
  role        = "clients"
  mode        = "sign"
  key_type    = "ed25519"
  ttl         = "1h"
  renew_at    = "50%"
  splay       = "2m"
  dir         = "/secrets/objects"
  ready_file  = "/alloc/certagent/objects.json"
}

# Dual-homed, with another owner for the files.
certificate "gateway" {
  common_name = "gateway.example"
  dns_sans    = ["gateway", "*.gateway.example"]
  ip_sans     = ["192.0.2.10", "2001:db8::10"]
  key_type    = "rsa-3072"
  key_perms   = "0640"
  gid         = 10001
  dir         = "/secrets/gateway"
  ready_file  = "/alloc/certagent/gateway.json"
}
