# A token from the environment: VAULT_TOKEN, BAO_TOKEN or CERTAGENT_AUTH_TOKEN. A token has no key here and
# no flag, because files get committed and argument lists are public.
# This method is chosen by itself when one of the variables is set.

vault {
  address = ["https://vault.example:8200"]
}

auth "token" {}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
