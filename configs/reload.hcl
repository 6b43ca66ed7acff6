# Two applications that have to be reloaded: nginx by a command, PostgreSQL by a signal.
# Each is looked at until it serves the new certificate.

vault {
  address = ["https://vault.service.consul:8200"]
}

auth "approle" {
  role_id        = "4f1f6a3e-0000-4000-8000-000000000001"
  secret_id_path = "/etc/certagent/secret-id"
}

certificate "nginx" {
  common_name = "www.service.consul"
  ip_sans     = ["192.0.2.10"]

  reload {
    app            = "generic"
    on_cert_change = ["exec", "exec"] # a second try, when the first one shows nothing
    on_ca_change   = ["exec"]
    command        = ["/usr/sbin/nginx", "-s", "reload"]
  }

  probe {
    address = "127.0.0.1:443"
    mtls    = false
  }

  rollback {
    enabled = true
  }
}

certificate "postgres" {
  common_name = "db.service.consul"
  ip_sans     = ["192.0.2.10"]

  reload {
    app            = "generic"
    on_cert_change = ["signal"]
    on_ca_change   = ["signal"]
    signal         = "SIGHUP"
    pid_file       = "/var/lib/postgresql/15/main/postmaster.pid"
    verify_timeout = "30s"
  }

  probe {
    address  = "127.0.0.1:5432"
    starttls = "postgres"
  }
}
