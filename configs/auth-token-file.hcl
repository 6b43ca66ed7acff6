# A token from a file that something else keeps fresh, such as a Vault agent's sink, or Nomad with a
# vault block. The file is watched.
# This method is chosen by itself when BAO_TOKEN_PATH or VAULT_TOKEN_PATH is set, or when
# $NOMAD_SECRETS_DIR/vault_token exists.

vault {
  address = ["https://vault.example:8200"]
}

auth "token_file" {
  path = "/secrets/vault_token"
}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
