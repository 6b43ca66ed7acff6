#!/usr/bin/env bash
# Sets up Vault or OpenBao for certagent: PKI mount with a root, role `internal`, policy, and a JWT
# auth mount that trusts Nomad's workload identities. Can be run again: it changes what differs.
#
#   VAULT_ADDR=https://vault.example:8200 VAULT_TOKEN=... \
#   NOMAD_JWKS_URL=http://127.0.0.1:4646/.well-known/jwks.json nomad/vault/setup.sh
#
# Uses curl and plain HTTP API calls, so neither the vault nor the bao binary is needed. The token is
# handed to curl on standard input, never in an argument.
set -euo pipefail

: "${VAULT_ADDR:?address of Vault or OpenBao, as https://vault.example:8200}"
: "${VAULT_TOKEN:?a token that may mount, write policies and enable auth methods}"
: "${NOMAD_JWKS_URL:?Nomad keys, as http://127.0.0.1:4646/.well-known/jwks.json}"
mount=${PKI_MOUNT:-pki}
role=${PKI_ROLE:-internal}
root_ttl=${ROOT_TTL:-87600h}
max_ttl=${MAX_TTL:-720h}
auth=${AUTH_MOUNT:-jwt-nomad}
auth_role=${AUTH_ROLE:-loki-certagent}
policy=${POLICY:-loki-certagent}
job=${NOMAD_JOB:-loki}
namespace=${NOMAD_NAMESPACE:-default}

# call METHOD PATH [JSON]: the body on success; the answer's errors and exit 1 otherwise.
call() {
  local out code
  out=$(printf 'header = "X-Vault-Token: %s"\n' "$VAULT_TOKEN" |
    curl --silent --show-error --max-time 30 --config - \
      ${VAULT_CACERT:+--cacert "$VAULT_CACERT"} \
      ${VAULT_NAMESPACE:+--header "X-Vault-Namespace: $VAULT_NAMESPACE"} \
      --request "$1" ${3:+--data "$3"} --write-out '\n%{http_code}' "$VAULT_ADDR/v1/$2") || return 1
  code=${out##*$'\n'}
  case $code in
    2*) printf '%s' "${out%$'\n'*}" ;;
    *) echo "setup: $1 $2 answered $code: ${out%$'\n'*}" >&2; return 1 ;;
  esac
}
there() { call GET "$1" >/dev/null 2>&1; }

echo "PKI mount $mount"
there "sys/mounts/$mount/tune" ||
  call POST "sys/mounts/$mount" "{\"type\":\"pki\",\"config\":{\"max_lease_ttl\":\"$root_ttl\"}}" >/dev/null
if [ -z "$(call GET "$mount/ca/pem" 2>/dev/null || true)" ]; then
  echo "root certificate (valid $root_ttl)"
  call POST "$mount/root/generate/internal" \
    "{\"common_name\":\"Loki internal CA\",\"issuer_name\":\"root-1\",\"key_type\":\"ec\",\"key_bits\":256,\"ttl\":\"$root_ttl\"}" >/dev/null
fi

echo "role $mount/$role: loki-*.service.consul, any IP SAN, both key usages"
call POST "$mount/roles/$role" "{
  \"allowed_domains\": [\"loki-*.service.consul\"], \"allow_glob_domains\": true, \"allow_subdomains\": false,
  \"allow_ip_sans\": true, \"server_flag\": true, \"client_flag\": true, \"allow_localhost\": false,
  \"key_type\": \"ec\", \"key_bits\": 256, \"max_ttl\": \"$max_ttl\", \"generate_lease\": false, \"no_store\": true
}" >/dev/null

echo "policy $policy: sign with that role, see which issuers are revoked, revoke by private key"
call PUT "sys/policies/acl/$policy" "{\"policy\": \"path \\\"$mount/sign/$role\\\" { capabilities = [\\\"update\\\"] }\npath \\\"$mount/issuer/+\\\" { capabilities = [\\\"read\\\"] }\npath \\\"$mount/revoke-with-key\\\" { capabilities = [\\\"update\\\"] }\"}" >/dev/null

echo "auth mount $auth: trusts $NOMAD_JWKS_URL"
there "sys/auth/$auth/tune" || call POST "sys/auth/$auth" '{"type":"jwt"}' >/dev/null
call POST "auth/$auth/config" "{\"jwks_url\":\"$NOMAD_JWKS_URL\",\"jwt_supported_algs\":[\"RS256\",\"EdDSA\"],\"default_role\":\"$auth_role\"}" >/dev/null

echo "auth role $auth_role: audience vault.io, namespace $namespace, job $job, task certagent"
call POST "auth/$auth/role/$auth_role" "{
  \"role_type\": \"jwt\", \"bound_audiences\": [\"vault.io\"],
  \"user_claim\": \"/nomad_job_id\", \"user_claim_json_pointer\": true,
  \"bound_claims\": {\"nomad_namespace\": \"$namespace\", \"nomad_job_id\": \"$job\", \"nomad_task\": \"certagent\"},
  \"claim_mappings\": {\"nomad_namespace\": \"nomad_namespace\", \"nomad_job_id\": \"nomad_job_id\", \"nomad_task\": \"nomad_task\"},
  \"token_policies\": [\"$policy\"], \"token_type\": \"service\", \"token_ttl\": \"10m\", \"token_max_ttl\": \"30m\"
}" >/dev/null
echo "done"
