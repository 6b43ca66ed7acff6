# One component of Loki in one task of the exec driver: `certagent exec -- loki`. For the scenario exec; the login's
# role takes the task's name `certagent`.

variable "vault_address" { type = string }
variable "certagent" { type = string }
variable "loki" { type = string }
variable "ttl" { type = string }

job "loki" {
  group "query-scheduler" {
    network {
      port "http" {}
      port "grpc" {}
      port "metrics" {}
    }

    task "certagent" {
      driver = "exec"

      identity {
        file = true
      }

      identity {
        name = "certagent"
        aud  = ["vault.io"]
        file = true
        ttl  = "1h"
      }

      config {
        command = var.certagent
        args    = ["exec", "--", var.loki, "-config.file=$${NOMAD_TASK_DIR}/loki.yaml", "-config.expand-env=true", "-target=query-scheduler"]
      }

      env {
        VAULT_ADDR                           = var.vault_address
        CERTAGENT_VAULT_ALLOW_PLAIN_HTTP     = "true"
        CERTAGENT_AUTH_ROLE                  = "loki-certagent"
        CERTAGENT_TTL                        = var.ttl
        CERTAGENT_NODE_IP                    = "$${attr.unique.network.ip-address}"
        CERTAGENT_PROBE                      = "true"
        CERTAGENT_PROBE_ADDRESS              = "$${NOMAD_ADDR_grpc}"
        CERTAGENT_PROBE_GRPC_HEALTH          = "true"
        CERTAGENT_RELOAD_TASK                = "certagent"
        CERTAGENT_HTTP_LISTEN                = "$${NOMAD_ADDR_metrics}"
        CERTAGENT_HTTP_ALLOW_REMOTE          = "true"
        CERTS                                = "$${NOMAD_SECRETS_DIR}/certs"
        DATA                                 = "$${NOMAD_TASK_DIR}/data"
        NODE_IP                              = "$${NOMAD_IP_grpc}"
        HTTP_ADDRESS                         = "$${NOMAD_IP_http}"
        HTTP_PORT                            = "$${NOMAD_PORT_http}"
        TAIL_PROXY_URL                       = "http://127.0.0.1:1"
        GRPC_ADDRESS                         = "$${NOMAD_IP_grpc}"
        GRPC_PORT                            = "$${NOMAD_PORT_grpc}"
        INSTANCE_ID                          = "$${NOMAD_ALLOC_ID}"
        CONSUL_HTTP_ADDR                     = "127.0.0.1:8500"
        S3_ENDPOINT                          = "http://127.0.0.1:1"
        S3_BUCKET                            = "loki"
        S3_REGION                            = "us-east-1"
        S3_ACCESS_KEY_ID                     = "unused"
        S3_SECRET_ACCESS_KEY                 = "unused"
        S3_INSECURE                          = "true"
        SHUTDOWN_DELAY                       = "0s"
      }

      template {
        data        = file("nomad/loki.yaml")
        destination = "local/loki.yaml"
        change_mode = "noop"
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
