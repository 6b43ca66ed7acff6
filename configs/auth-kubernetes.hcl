# Log in with the service account of the pod. The token file is read again at each login.
# This method is chosen by itself when a role is set and the service account token exists.

vault {
  address = ["https://vault.example:8200"]
}

auth "kubernetes" {
  # mount = "kubernetes"
  role = "loki-certagent"
  # path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
}

certificate "ingester" {
  component = "ingester"
  ip_sans   = ["192.0.2.10"]
}
