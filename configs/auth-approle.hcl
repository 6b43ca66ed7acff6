# AppRole. The role id is no secret; the secret id is in a file of its own or in CERTAGENT_AUTH_SECRET_ID.
# This method is chosen by itself when a role id is set.

vault {
  address = ["https://vault.example:8200"]
}

auth "approle" {
  # mount = "approle"
  role_id        = "8a2c3f4e-4d0f-4f5b-9d6e-0a1b2c3d4e5f"
  secret_id_path = "/secrets/secret_id"
}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
