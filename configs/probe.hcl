# Is the new certificate really served? A probe connects to the application as a peer would, with the published
# certificate and CA.pem, after each publication and then from time to time. The same by hand:
#   certagent probe 192.0.2.10:9095 --client-cert-dir /secrets/certs --grpc-health

vault {
  address = ["https://vault.example:8200"]
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

  # On Nomad, with a port called grpc, an empty block is enough.
  probe {
    address     = "192.0.2.10:9095"
    grpc_health = true
  }
}

certificate "database" {
  common_name = "db.example"
  ip_sans     = ["192.0.2.10"]
  dir         = "/secrets/db"
  ready_file  = "/alloc/certagent/db.json"
  key_perms   = "0640"
  gid         = 10001

  # Over loopback, which is not in the certificate: db.example is the name to prove.
  probe {
    address  = "127.0.0.1:5432"
    starttls = "postgres"
    interval = "15m"
    timeout  = "10s"
  }
}
