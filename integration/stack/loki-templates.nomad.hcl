# The same eight components with the three template blocks that certagent replaces: for
# integration/stack/run comparison and outage, not for use. Network, service, Loki task, configuration
# and counts are those of nomad/loki.nomad.hcl; the certificates come from Nomad's template runner.

variable "counts" {
  type    = map(number)
  default = {}
}
variable "ttl" {
  type = string
}
variable "splay" {
  type = string
}
variable "loki_command" {
  type = string
}
variable "consul_address" {
  type = string
}
variable "check_interval" {
  type = string
}
variable "drain" {
  type = string
}
variable "kill_timeout" {
  type = string
}
variable "replication_factor" {
  type    = number
  default = 1
}
variable "s3" {
  type = object({ endpoint = string, bucket = string, region = string, insecure = bool })
}

locals {
  components = {
    compactor       = { http = 0, grpc = 9095 }
    ruler           = { http = 0, grpc = 0 }
    distributor     = { http = 0, grpc = 0 }
    ingester        = { http = 0, grpc = 0 }
    querier         = { http = 5100, grpc = 0 }
    query-scheduler = { http = 0, grpc = 9096 }
    query-frontend  = { http = 0, grpc = 9098 }
    index-gateway   = { http = 0, grpc = 9097 }
  }
  files = {
    CA   = "issuing_ca"
    cert = "certificate"
    key  = "private_key"
  }
}

job "loki" {
  datacenters = ["*"]

  dynamic "group" {
    for_each = local.components
    iterator = it
    labels   = [it.key]

    content {
      count = lookup(var.counts, it.key, 1)

      network {
        mode = "host"

        dynamic "port" {
          for_each = { http = it.value.http, grpc = it.value.grpc }
          iterator = port
          labels   = [port.key]
          content {
            static = port.value
          }
        }
      }

      service {
        name = "loki-${it.key}"
        port = "http"

        meta {
          alloc_id  = NOMAD_ALLOC_ID
          component = it.key
        }

        check {
          name     = "Loki ${it.key}"
          type     = "http"
          path     = "/ready"
          interval = var.check_interval
          timeout  = "1s"
        }
      }

      task "loki" {
        driver = "raw_exec"

        vault {
          role = "loki-templates"
        }

        config {
          command = var.loki_command
          args    = ["-config.file=$${NOMAD_TASK_DIR}/loki.yaml", "-config.expand-env=true", "-target=${it.key}"]
        }

        env {
          CERTS                      = "$${NOMAD_SECRETS_DIR}/certs"
          DATA                       = "$${NOMAD_TASK_DIR}/data"
          NODE_IP                    = "$${NOMAD_IP_grpc}"
          HTTP_ADDRESS               = "$${NOMAD_IP_http}"
          HTTP_PORT                  = "$${NOMAD_PORT_http}"
          GRPC_ADDRESS               = "$${NOMAD_IP_grpc}"
          GRPC_PORT                  = "$${NOMAD_PORT_grpc}"
          INSTANCE_ID                = "$${NOMAD_ALLOC_ID}"
          CONSUL_HTTP_ADDR           = var.consul_address
          REPLICATION_FACTOR         = "${var.replication_factor}"
          SHUTDOWN_DELAY             = it.key == "distributor" ? var.drain : "0s"
          S3_ENDPOINT                = var.s3.endpoint
          TAIL_PROXY_URL             = "http://loki-querier.service.consul:5100"
          S3_BUCKET                  = var.s3.bucket
          S3_REGION                  = var.s3.region
          S3_INSECURE                = "${var.s3.insecure}"
          GRPC_GO_LOG_SEVERITY_LEVEL = "info"
        }

        # As in the deployment that certagent replaces, with another splay: five minutes are longer
        # than the certificates of this test live.
        dynamic "template" {
          for_each = local.files
          iterator = file
          content {
            data        = <<-EOH
            {{- with secret "pki/issue/internal" "ttl=${var.ttl}" "common_name=loki-${it.key}.service.consul" (env "attr.unique.network.ip-address" | printf "ip_sans=%s") -}}
            {{ .Data.${file.value} }}
            {{- end -}}
            EOH
            destination = "secrets/certs/${file.key}.pem"
            change_mode = "restart"
            splay       = var.splay
          }
        }

        template {
          data        = <<-EOH
          {{- with nomadVar "nomad/jobs/loki" }}
          S3_ACCESS_KEY_ID={{ .s3_access_key_id }}
          S3_SECRET_ACCESS_KEY={{ .s3_secret_access_key }}
          {{- end }}
          EOH
          destination = "secrets/s3.env"
          env         = true
          change_mode = "restart"
        }

        template {
          data        = file("nomad/loki.yaml")
          destination = "local/loki.yaml"
          change_mode = "noop"
        }

        restart {
          attempts = 10
          interval = "10m"
          delay    = "5s"
          mode     = "delay"
        }

        kill_timeout = var.kill_timeout

        resources {
          cpu    = 200
          memory = 256
        }
      }
    }
  }
}
