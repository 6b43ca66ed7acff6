# What certagent may do in Nomad: signal and restart tasks of its namespace, and hold one lock.
# Nomad has nothing narrower than a namespace for this (nomad/setup.md says what that means),
# so it is bound to the certagent task of each group and to no other:
#
#   for group in compactor ruler distributor ingester querier query-scheduler query-frontend index-gateway; do
#     nomad acl policy apply -namespace default -job loki -group "$group" -task certagent \
#       "certagent-loki-$group" nomad/policy.hcl
#   done
namespace "default" {
  capabilities = ["alloc-lifecycle"]

  # The lock that lets one allocation at a time restart its Loki.
  variables {
    path "nomad/jobs/loki/certagent-lock" {
      capabilities = ["read", "write"]
    }
  }
}
