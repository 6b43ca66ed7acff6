# Log in with the TLS client certificate of the connection. It needs an https:// address.
# This method is chosen by itself when there is a client certificate and nothing else.

vault {
  address     = ["https://vault.example:8200"]
  client_cert = "/etc/certagent/client.pem"
  client_key  = "/etc/certagent/client-key.pem"
}

auth "cert" {
  # mount = "cert"
  # Name of the certificate role, when more than one could match.
  role = "loki"
}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
