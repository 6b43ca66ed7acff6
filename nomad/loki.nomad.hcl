# Grafana Loki in microservices mode with mTLS on every gRPC path, certificates kept by certagent.
#
#   nomad job run nomad/loki.nomad.hcl
#   nomad job run -var="version=3.7.8" nomad/loki.nomad.hcl
#   nomad job scale loki distributor 3
#
# Each of the eight groups has the same three tasks:
#   certagent    prestart sidecar: keeps secrets/certs fresh for as long as the allocation lives
#   certs-ready  prestart one-shot: holds Loki back until the first set is there
#   loki         the component; it reads certagent's secrets/certs
# Set-up of Vault, ACLs and Consul: nomad/setup.md. Run it from the root of the repository: it reads
# nomad/loki.yaml.

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

variable "driver" {
  type        = string
  description = "docker or raw_exec"
  default     = "docker"
  validation {
    condition     = var.driver == "docker" || var.driver == "raw_exec"
    error_message = "The driver is docker or raw_exec."
  }
}

variable "version" {
  type        = string
  description = "Version of Loki: the image's tag"
  default     = "3.7.8"
}

variable "image" {
  type    = string
  default = "grafana/loki"
}

variable "certagent_image" {
  type        = string
  description = "An image with the certagent binary as its entry point"
  default     = "certagent:0.2.0"
}

variable "loki_command" {
  type        = string
  description = "raw_exec: path of the Loki binary"
  default     = "/usr/local/bin/loki"
}

variable "certagent_command" {
  type        = string
  description = "raw_exec: path of the certagent binary"
  default     = "/usr/local/bin/certagent"
}

variable "user" {
  type        = string
  description = "One user for certagent and Loki, so that the key is 0600; docker: the image's uid"
  default     = "10001:10001"
}

variable "counts" {
  type        = map(number)
  description = "Instances of each component; what is not named has 1"
  default     = {}
}

variable "config" {
  type        = string
  description = "Loki's configuration: nomad/loki.yaml for 3.x, nomad/loki-2.7.yaml for 2.7"
  default     = "nomad/loki.yaml"
}

variable "replication_factor" {
  type    = number
  default = 1
}

variable "vault_address" {
  type    = string
  default = "https://vault.service.consul:8200"
}

variable "vault_ca" {
  type        = string
  description = "PEM text of the CA of Vault's own listener; empty: the system's"
  default     = ""
}

variable "vault_role" {
  type        = string
  description = "Role of the JWT auth mount, made by nomad/vault/setup.sh"
  default     = "loki-certagent"
}

variable "pki_mount" {
  type    = string
  default = "pki"
}

variable "pki_role" {
  type    = string
  default = "internal"
}

variable "ttl" {
  type    = string
  default = "10d"
}

variable "splay" {
  type    = string
  default = "5m"
}

variable "consul_address" {
  type        = string
  description = "The local Consul agent's HTTP API, host:port; empty: port 8500 of the node's address with docker or connect (127.0.0.1 is another there), else of 127.0.0.1"
  default     = ""
  validation {
    condition     = regex_replace(var.consul_address, "^([^/:]+|\\[[0-9a-fA-F:]+\\]):[0-9]+$", "") == ""
    error_message = "The address of Consul is host:port, without http://, or empty."
  }
}

variable "s3" {
  type = object({ endpoint = string, bucket = string, region = string, insecure = bool })
  default = {
    endpoint = "https://s3.example.com"
    bucket   = "loki"
    region   = "us-east-1"
    insecure = false
  }
}

variable "connect" {
  type        = bool
  description = "HTTP through Consul Connect: bridge mode, Loki's HTTP only on 127.0.0.1:80, Traefik in front (nomad/setup.md)"
  default     = false
}

variable "basic_auth" {
  type        = string
  description = "connect: users for Traefik, as name:hash[,name:hash]; hashes by htpasswd -nB"
  default     = ""
}

variable "envoy_command" {
  type        = string
  description = "connect with raw_exec: path of an Envoy that Consul supports; docker takes the image that Consul names"
  default     = "/usr/local/bin/envoy"
}

variable "dns_servers" {
  type        = list(string)
  description = "docker or connect: resolvers of *.service.consul as seen from the container or the bridge; empty: those of Docker or of the host"
  default     = []
}

variable "certagent_env" {
  type        = map(string)
  description = "More settings for certagent (docs/configuration.md)"
  default     = {}
}

variable "certagent_restart_delay" {
  type    = string
  default = "10s"
}

variable "check_interval" {
  type        = string
  description = "How often Consul looks at /ready; drain is a little longer"
  default     = "5s"
}

variable "drain" {
  type        = string
  description = "A component with more than one instance serves on for so long before it stops, while /ready says 503 (Loki 3)"
  default     = "8s"
}

variable "kill_timeout" {
  type        = string
  description = "For drain and an ingester's flush; Nomad's clients allow at most max_kill_timeout (30s)"
  default     = "30s"
}

locals {
  docker = var.driver == "docker"

  # Port 0 is a free one. Names that are dialled by name and port have a fixed gRPC port.
  components = {
    compactor       = { http = 0, grpc = 9095, cpu = 200, memory = 256 }
    ruler           = { http = 0, grpc = 0, cpu = 200, memory = 256 }
    distributor     = { http = 0, grpc = 0, cpu = 200, memory = 256 }
    ingester        = { http = 0, grpc = 0, cpu = 300, memory = 512 }
    querier         = { http = 5100, grpc = 0, cpu = 300, memory = 512 }
    query-scheduler = { http = 0, grpc = 9096, cpu = 100, memory = 192 }
    query-frontend  = { http = 0, grpc = 9098, cpu = 100, memory = 192 }
    index-gateway   = { http = 0, grpc = 9097, cpu = 200, memory = 256 }
  }

  probe_address = var.connect ? "127.0.0.1:$${NOMAD_PORT_grpc}" : "$${NOMAD_ADDR_grpc}"

  # With Connect the mesh's proxy is the only way to HTTP: /metrics and /ready are exposed on ports of
  # their own, and query-frontend reaches the querier (tail) through an upstream.
  http_address    = var.connect ? "127.0.0.1" : (local.docker ? "0.0.0.0" : "$${NOMAD_IP_http}")
  http_port       = var.connect ? "80" : "$${NOMAD_PORT_http}"
  grpc_address    = local.docker || var.connect ? "0.0.0.0" : "$${NOMAD_IP_grpc}"
  metrics_address = local.docker || var.connect ? "0.0.0.0:$${NOMAD_PORT_metrics}" : "$${NOMAD_ADDR_metrics}"
  tail_proxy      = var.connect ? "http://127.0.0.1:5100" : "http://loki-querier.service.consul:5100"
  upstreams       = { query-frontend = ["loki-querier"] }

  # Reached by a load balancer or by name, so that others have to move on to another instance. A single
  # one does not wait: there is no other, and its name would be gone for longer.
  # Not query-scheduler: it hands its clients over by itself when it stops, but once its name is gone queriers
  # may leave before frontends do, and a query that comes in between waits there for ever.
  drained = ["distributor", "querier", "query-frontend", "index-gateway"]

  # In a container and in a bridge 127.0.0.1 is another one than the node's.
  consul_address = var.consul_address != "" ? var.consul_address : (
    local.docker || var.connect ? "$${attr.unique.network.ip-address}:8500" : "127.0.0.1:8500"
  )

  # What docker sees in the container and raw_exec on the host. One directory, bound whole: a bind of
  # single files would stay on the first generation for ever.
  certs = local.docker ? "/secrets/certs" : "$${NOMAD_ALLOC_DIR}/../certagent/secrets/certs"
}

job "loki" {
  datacenters = var.datacenters

  update {
    max_parallel      = 1
    min_healthy_time  = "10s"
    healthy_deadline  = "5m"
    progress_deadline = "10m"
  }

  dynamic "group" {
    for_each = local.components
    iterator = it
    labels   = [it.key]

    content {
      count = lookup(var.counts, it.key, 1)

      # First out of Consul, so that no request is sent to it, then stopped.
      shutdown_delay = it.key == "query-scheduler" ? "0s" : "5s"

      # A ruler asks all of its ring for rules, itself too, by the node's address.
      dynamic "constraint" {
        for_each = var.connect && it.key == "ruler" ? [1] : []
        content {
          attribute = "$${attr.nomad.bridge.hairpin_mode}"
          value     = "true"
        }
      }

      network {
        mode = var.connect ? "bridge" : "host"

        dynamic "dns" {
          for_each = (local.docker || var.connect) && length(var.dns_servers) > 0 ? [1] : []
          content {
            servers = var.dns_servers
          }
        }

        dynamic "port" {
          for_each = merge(
            { http = var.connect ? 0 : it.value.http, grpc = it.value.grpc, metrics = 0 },
            var.connect ? { health = 0 } : {}
          )
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

        tags = var.connect ? [
          "traefik.enable=true",
          "traefik.consulcatalog.connect=true",
          "traefik.http.routers.loki-${it.key}.entrypoints=https",
          "traefik.http.routers.loki-${it.key}.rule=Host(`loki-${it.key}.service.consul`)",
          "traefik.http.routers.loki-${it.key}.middlewares=loki-${it.key}@consulcatalog",
          "traefik.http.middlewares.loki-${it.key}.basicauth.users=${var.basic_auth}",
        ] : []

        check {
          name     = "Loki ${it.key}"
          port     = var.connect ? "health" : "http"
          type     = "http"
          path     = "/ready"
          interval = var.check_interval
          timeout  = "1s"
        }

        dynamic "connect" {
          for_each = var.connect ? [1] : []
          content {
            sidecar_service {
              proxy {
                local_service_port = 80

                dynamic "upstreams" {
                  for_each = lookup(local.upstreams, it.key, [])
                  iterator = upstream
                  content {
                    destination_name = upstream.value
                    local_bind_port  = 5100
                  }
                }

                expose {
                  path {
                    path            = "/metrics"
                    protocol        = "http"
                    local_path_port = 80
                    listener_port   = "http"
                  }

                  path {
                    path            = "/ready"
                    protocol        = "http"
                    local_path_port = 80
                    listener_port   = "health"
                  }
                }
              }
            }

            # Nomad's own is for docker. The socket to Consul is named from the allocation's directory.
            dynamic "sidecar_task" {
              for_each = local.docker ? [] : [1]
              content {
                driver = "raw_exec"
                config {
                  command  = var.envoy_command
                  args     = ["-c", "$${NOMAD_SECRETS_DIR}/envoy_bootstrap.json", "-l", "warning", "--concurrency", "1", "--disable-hot-restart"]
                  work_dir = "$${NOMAD_ALLOC_DIR}/.."
                }
              }
            }
          }
        }
      }

      # certagent's own metrics.
      service {
        name = "loki-certagent"
        port = "metrics"

        meta {
          alloc_id  = NOMAD_ALLOC_ID
          component = it.key
        }

        check {
          name     = "certagent of ${it.key}"
          type     = "http"
          path     = "/live"
          interval = var.check_interval
          timeout  = "1s"
        }
      }

      task "certagent" {
        driver = var.driver
        user   = local.docker ? var.user : ""

        lifecycle {
          hook    = "prestart"
          sidecar = true
        }

        # For Nomad's Task API (restart and signal of the Loki task).
        identity {
          file = true
        }

        # For Vault: certagent logs in by itself, so no vault block is wanted.
        identity {
          name = "certagent"
          aud  = ["vault.io"]
          file = true
          ttl  = "1h"
        }

        dynamic "config" {
          for_each = local.docker ? [1] : []
          content {
            image = var.certagent_image
            args  = ["run"]
            ports = var.connect ? [] : ["metrics"]
          }
        }

        dynamic "config" {
          for_each = local.docker ? [] : [1]
          content {
            command = var.certagent_command
            args    = ["run"]
          }
        }

        env = merge(
          {
            VAULT_ADDR          = var.vault_address
            CERTAGENT_AUTH_ROLE = var.vault_role
            CERTAGENT_MOUNT     = var.pki_mount
            CERTAGENT_ROLE      = var.pki_role
            CERTAGENT_TTL       = var.ttl
            CERTAGENT_SPLAY     = var.splay
            CERTAGENT_NODE_IP   = "$${attr.unique.network.ip-address}"
            # Loki's, so that `certagent doctor` can say whether a task reaches it.
            CONSUL_HTTP_ADDR    = local.consul_address

            # Loki serves what is published and says that it is healthy: asked at its gRPC port. The lock
            # below is not handed on before that.
            CERTAGENT_PROBE             = "true"
            CERTAGENT_PROBE_ADDRESS     = local.probe_address
            CERTAGENT_PROBE_GRPC_HEALTH = "true"
            # New trust needs a restart of Loki: one at a time in the whole job.
            CERTAGENT_RELOAD_LOCK    = "nomad/jobs/loki/certagent-lock"
            CERTAGENT_KILL_TIMEOUT = var.kill_timeout

            CERTAGENT_HTTP_LISTEN       = local.metrics_address
            CERTAGENT_HTTP_ALLOW_REMOTE = "true" # Prometheus is elsewhere
          },
          var.vault_ca == "" ? {} : { VAULT_CACERT_BYTES = var.vault_ca },
          # What auto does depends on Loki's version; the port http has only /metrics there.
          var.connect ? { CERTAGENT_RELOAD_VERSION_URL = "http://127.0.0.1:80" } : {},
          var.certagent_env
        )

        # Three crashes in half an hour under the default policy would take Loki down with it. Here
        # it is always started again after the delay: that often it cannot end in the interval.
        restart {
          attempts = 300
          interval = "5m"
          delay    = var.certagent_restart_delay
          mode     = "delay"
        }

        kill_timeout = "10s"

        resources {
          cpu    = 50
          memory = 32
        }
      }

      task "certs-ready" {
        driver = var.driver
        user   = local.docker ? var.user : ""

        lifecycle {
          hook    = "prestart"
          sidecar = false
        }

        dynamic "config" {
          for_each = local.docker ? [1] : []
          content {
            image = var.certagent_image
            args  = ["wait", "--ready-file", "$${NOMAD_ALLOC_DIR}/certagent/ready.json", "--timeout", "4m"]
          }
        }

        dynamic "config" {
          for_each = local.docker ? [] : [1]
          content {
            command = var.certagent_command
            args    = ["wait", "--ready-file", "$${NOMAD_ALLOC_DIR}/certagent/ready.json", "--timeout", "4m"]
          }
        }

        resources {
          cpu    = 50
          memory = 32
        }
      }

      task "loki" {
        driver = var.driver
        user   = local.docker ? var.user : ""

        dynamic "config" {
          for_each = local.docker ? [1] : []
          content {
            image = "${var.image}:${var.version}"
            args  = ["-config.file=/local/loki.yaml", "-config.expand-env=true", "-target=${it.key}"]
            ports = var.connect ? [] : ["http", "grpc"]
            # Relative to the task's directory and inside the allocation, so it is allowed with
            # volumes disabled.
            volumes = ["../certagent/secrets/certs:/secrets/certs:ro"]
          }
        }

        dynamic "config" {
          for_each = local.docker ? [] : [1]
          content {
            command = var.loki_command
            args    = ["-config.file=$${NOMAD_TASK_DIR}/loki.yaml", "-config.expand-env=true", "-target=${it.key}"]
          }
        }

        env {
          CERTS              = local.certs
          DATA               = local.docker ? "/local/data" : "$${NOMAD_TASK_DIR}/data"
          NODE_IP            = "$${NOMAD_IP_grpc}"
          HTTP_ADDRESS       = local.http_address
          HTTP_PORT          = local.http_port
          TAIL_PROXY_URL     = local.tail_proxy
          GRPC_ADDRESS       = local.grpc_address
          GRPC_PORT          = "$${NOMAD_PORT_grpc}"
          INSTANCE_ID        = "$${NOMAD_ALLOC_ID}"
          CONSUL_HTTP_ADDR   = local.consul_address
          REPLICATION_FACTOR = "${var.replication_factor}"
          SHUTDOWN_DELAY     = contains(local.drained, it.key) && lookup(var.counts, it.key, 1) > 1 ? var.drain : "0s"
          S3_ENDPOINT        = var.s3.endpoint
          S3_BUCKET          = var.s3.bucket
          S3_REGION          = var.s3.region
          S3_INSECURE        = "${var.s3.insecure}"
          # Without it a refused handshake leaves no trace on the server's side.
          GRPC_GO_LOG_SEVERITY_LEVEL = "info"
        }

        # The S3 keys come from the Nomad variable nomad/jobs/loki (nomad/setup.md).
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
          data        = file(var.config)
          destination = "local/loki.yaml"
          change_mode = "noop"
        }

        # After a reboot Loki can be up before the set is: it exits 1 and is started again. The delay is longer
        # than Docker's daemon takes to restart: a task that is started meanwhile fails for good.
        restart {
          attempts = 10
          interval = "10m"
          delay    = "10s"
          mode     = "delay"
        }

        kill_timeout = var.kill_timeout

        resources {
          cpu    = it.value.cpu
          memory = it.value.memory
        }
      }
    }
  }
}
