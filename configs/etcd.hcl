# One member of an etcd cluster: one certificate for its clients' port and its peers' port (docs/etcd.md).
# etcd reads certificate and key anew at each handshake, but its trusted CAs at start only: so nothing is done about
# a new certificate, and new trust is a restart, one member after the other.

vault {
  address = ["https://vault.example:8200"]
}

auth "jwt" {
  mount = "jwt"
  role  = "etcd"
  path  = "/etc/etcd-login/jwt"
}

certificate "etcd" {
  role        = "etcd"
  common_name = "etcd-1.service.consul"
  ip_sans     = ["192.0.2.11"] # etcd compares it with the address a peer comes from
  ttl         = "10d"
  dir         = "/var/lib/certagent/etcd"
  ready_file  = "/var/lib/certagent/etcd.json"

  reload {
    app            = "generic"
    on_cert_change = ["none"]
    on_ca_change   = ["exec"]
    command        = ["/usr/bin/systemctl", "restart", "etcd.service"]

    # Two of three members have to be up. Each begins in the first half of its slot of 10 s, so the next one
    # is left alone for at least 5 s; a larger store needs a longer window.
    stagger {
      window = "30s"
      count  = 3
      index  = 0 # 1 and 2 on the other members
    }
  }

  probe {
    address     = "192.0.2.11:2379"
    grpc_health = true
  }
}
