# Log in with a JWT from a file, by default Nomad's workload identity. The file is read again at each
# login, because Nomad replaces it. This method is chosen by itself when
# $NOMAD_SECRETS_DIR/nomad_certagent.jwt exists.

vault {
  address = ["https://vault.example:8200"]
}

auth "jwt" {
  # mount = "jwt-nomad"
  # Without a role the mount's default role counts.
  role = "loki-certagent"
  path = "/secrets/nomad_certagent.jwt"
}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
