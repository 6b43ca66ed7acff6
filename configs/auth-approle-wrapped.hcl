# AppRole with a response-wrapped secret id: whoever set this up wrote a wrapping token into the file, which
# is unwrapped once. When that fails, another party has seen the secret id.

vault {
  address = ["https://vault.example:8200"]
}

auth "approle" {
  role_id           = "8a2c3f4e-4d0f-4f5b-9d6e-0a1b2c3d4e5f"
  secret_id_path    = "/secrets/wrapped_secret_id"
  secret_id_wrapped = true
}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
