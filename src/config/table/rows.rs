//! The rows of the table of settings.

use super::{
    Fallback::{self, Derived, Nothing, Value},
    Kind::{self, Bool, Choice, Count, Duration, Headers, List, Mode, Path, Text},
    Section::{self, Auth, Certificate, Log, Vault},
    Setting,
};

/// Every setting, block by block, in the order it is documented: key, flag, kind, default, help.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    row(Certificate, "name", "name", Text, Derived("the component, else certs"),
        "name of the certificate in logs and metrics; the label of its block"),
    row(Certificate, "component", "component", Text, Derived("NOMAD_GROUP_NAME"),
        "component whose common name is loki-<component>.service.consul"),
    row(Certificate, "common_name", "common-name", Text, Derived("loki-<component>.service.consul"),
        "subject common name, which is also a DNS name of the certificate"),
    row(Certificate, "dns_sans", "dns-sans", List, Nothing,
        "further DNS names"),
    row(Certificate, "ip_sans", "ip-sans", List, Derived("all NOMAD_IP_<label>"),
        "IP addresses in the certificate"),
    row(Certificate, "node_ip", "node-ip", Text, Nothing,
        "IP address of the node, added to the IP addresses"),
    row(Certificate, "uri_sans", "uri-sans", List, Nothing,
        "URIs in the certificate"),
    row(Certificate, "mount", "mount", Text, Value("pki"),
        "path of the PKI mount"),
    row(Certificate, "role", "role", Text, Value("internal"),
        "PKI role"),
    row(Certificate, "mode", "mode", Choice(&["issue", "sign"]), Value("issue"),
        "who makes the private key: the issuer, or certagent"),
    row(Certificate, "ttl", "ttl", Duration, Value("10d"),
        "lifetime to ask for"),
    row(Certificate, "key_type", "key-type", Choice(&["ec-p256", "ec-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]), Value("ec-p256"),
        "kind of private key"),
    row(Certificate, "reuse_key", "reuse-key", Bool, Value("false"),
        "keep the private key over renewals; mode sign only"),
    row(Certificate, "issuer_pin", "issuer-pin", Text, Nothing,
        "SHA-256 of the issuer certificate that must have signed, in hex"),
    row(Certificate, "renew_at", "renew-at", Text, Value("2/3"),
        "when to renew: a share of the life (2/3, 66%, 0.66), or a duration before its end (24h)"),
    row(Certificate, "splay", "splay", Duration, Value("5m"),
        "renew earlier by up to this much, always the same for one allocation; at most a tenth of the life"),
    row(Certificate, "splay_key", "splay-key", Text, Derived("NOMAD_ALLOC_ID, else HOSTNAME, else the names"),
        "seed of the splay; the name of the certificate is added"),
    row(Certificate, "min_remaining", "min-remaining", Duration, Derived("ttl / 20, at most 5m"),
        "refuse a certificate with less life left than this"),
    row(Certificate, "budget_per_hour", "budget-per-hour", Count, Derived("4 h / ttl, from 10 to 3600"),
        "most issuances in any hour"),
    row(Certificate, "first_deadline", "first-deadline", Duration, Value("5m"),
        "give up when there is no certificate after this long; only at the first start"),
    row(Certificate, "dir", "dir", Path, Derived("$NOMAD_SECRETS_DIR/certs, else secrets/certs"),
        "directory for CA.pem, cert.pem and key.pem"),
    row(Certificate, "cert_mode", "cert-mode", Mode, Value("0644"),
        "mode of cert.pem and CA.pem"),
    row(Certificate, "key_mode", "key-mode", Mode, Value("0600"),
        "mode of key.pem"),
    row(Certificate, "uid", "uid", Count, Derived("of the process"),
        "numeric owner of the files"),
    row(Certificate, "gid", "gid", Count, Derived("of the process"),
        "numeric group of the files"),
    row(Certificate, "marker", "marker", Path, Derived("$NOMAD_ALLOC_DIR/certagent/ready.json"),
        "ready marker for certagent wait; it holds no secret"),
    row(Certificate, "extra_ca", "extra-ca", Path, Nothing,
        "PEM file with more trust anchors for CA.pem"),
    row(Certificate, "trust_poll", "trust-poll", Duration, Value("10m"),
        "how often to look for new issuers of the mount; 0 is never"),
    row(Certificate, "trust_overlap", "trust-overlap", Duration, Value("24h"),
        "how long an anchor that is no longer vouched for stays in CA.pem"),

    row(Vault, "address", "vault-addr", List, Value("https://127.0.0.1:8200"),
        "addresses of the issuer, tried in this order: http://, https:// or unix://").issuer(&["AGENT_ADDR", "ADDR"]),
    row(Vault, "namespace", "vault-namespace", Text, Nothing,
        "namespace of mounts and logins").issuer(&["NAMESPACE"]),
    row(Vault, "ca_cert", "vault-ca-cert", Path, Nothing,
        "PEM file with trust anchors for the issuer; replaces those of the system").issuer(&["CACERT"]),
    row(Vault, "ca_cert_bytes", "vault-ca-cert-bytes", Text, Nothing,
        "PEM text with trust anchors for the issuer").issuer(&["CACERT_BYTES"]),
    row(Vault, "ca_path", "vault-ca-path", Path, Nothing,
        "directory of PEM files with trust anchors for the issuer").issuer(&["CAPATH"]),
    row(Vault, "client_cert", "vault-client-cert", Path, Nothing,
        "PEM file with our certificate for the issuer; goes with client_key").issuer(&["CLIENT_CERT"]),
    row(Vault, "client_key", "vault-client-key", Path, Nothing,
        "PEM file with the private key for client_cert").issuer(&["CLIENT_KEY"]),
    row(Vault, "tls_server_name", "vault-tls-server-name", Text, Derived("host of the address"),
        "name the issuer has to prove").issuer(&["TLS_SERVER_NAME"]),
    row(Vault, "timeout", "vault-timeout", Duration, Value("15s"),
        "limit for one request and its answer").issuer(&["CLIENT_TIMEOUT"]),
    row(Vault, "max_retries", "vault-max-retries", Count, Value("2"),
        "repeats of one attempt on a transport error").issuer(&["MAX_RETRIES"]),
    row(Vault, "rate_limit", "vault-rate-limit", Text, Nothing,
        "requests per second, as rate or rate:burst").issuer(&["RATE_LIMIT"]),
    row(Vault, "proxy", "vault-proxy", Text, Nothing,
        "proxy for all requests; HTTP_PROXY and HTTPS_PROXY are not obeyed").issuer(&["PROXY_ADDR", "HTTP_PROXY"]),
    row(Vault, "headers", "vault-headers", Headers, Nothing,
        "extra request headers, as a JSON object").issuer(&["HEADERS"]).secret(),

    row(Auth, "method", "auth", Choice(&["jwt", "token", "token_file", "approle", "cert", "kubernetes"]), Derived("from what is there"),
        "how to get a token; the label of its block"),
    row(Auth, "mount", "auth-mount", Text, Derived("jwt-nomad, approle, cert or kubernetes"),
        "path of the auth mount"),
    row(Auth, "role", "auth-role", Text, Derived("the mount's own"),
        "role to log in with: jwt, cert, kubernetes"),
    row(Auth, "path", "auth-path", Path, Derived("Nomad's or Kubernetes' usual place"),
        "file with the JWT, the token or the service account token"),
    row(Auth, "role_id", "auth-role-id", Text, Nothing,
        "role id: approle"),
    row(Auth, "secret_id_path", "auth-secret-id-path", Path, Nothing,
        "file with the secret id: approle"),
    row(Auth, "secret_id_wrapped", "auth-secret-id-wrapped", Bool, Value("false"),
        "the secret id is a response-wrapping token"),
    row(Auth, "secret_id", "auth-secret-id", Text, Nothing,
        "secret id: approle").secret(),
    row(Auth, "token", "auth-token", Text, Nothing,
        "token: token").issuer(&["TOKEN"]).secret(),

    row(Log, "format", "log-format", Choice(&["text", "json"]), Value("text"),
        "lines for people, or objects for machines"),
    row(Log, "level", "log-level", Choice(&["error", "warn", "info", "debug", "trace"]), Value("info"),
        "least important level that is written"),
];

const fn row(
    section: Section,
    key: &'static str,
    flag: &'static str,
    kind: Kind,
    fallback: Fallback,
    help: &'static str,
) -> Setting {
    Setting {
        section,
        key,
        flag,
        kind,
        fallback,
        issuer: &[],
        secret: false,
        help,
    }
}

impl Setting {
    const fn issuer(mut self, names: &'static [&'static str]) -> Self {
        self.issuer = names;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}
