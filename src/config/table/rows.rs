//! The rows of the table of settings.

use super::{
    Fallback::{self, Derived, Nothing, Value},
    Section::{
        self, Auth, Certificate, Http, Log, Probe, Process, Reload, Rollback, Stagger, Status,
        Vault,
    },
    Setting, Shown,
    ValueKind::{self, Bool, Choice, Count, Duration, Headers, List, Mode, Path, Text},
};

/// Every setting, block by block, in the order it is documented: key, flag, kind, default, help.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    row(Certificate, "name", "name", Text, Derived("the component, else NOMAD_TASK_NAME, else certs"),
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
    row(Certificate, "mode", "mode", Choice(&["auto", "issue", "sign"]), Value("auto"),
        "who makes the private key: Vault (issue) or certagent (sign); auto signs, and issues where \
         the token may not sign"),
    row(Certificate, "ttl", "ttl", Duration, Value("10d"),
        "lifetime to request"),
    row(Certificate, "key_type", "key-type", Choice(&["ec-p256", "ec-p384", "ec-p521", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]), Value("ec-p256"),
        "kind of private key; not set: as the role wants it, in mode sign ec-p256"),
    row(Certificate, "reuse_key", "reuse-key", Bool, Value("false"),
        "keep the private key over renewals; mode sign only"),
    row(Certificate, "issuer_sha256", "issuer-sha256", Text, Nothing,
        "SHA-256 of the issuer certificate that must have signed, in hex"),
    row(Certificate, "renew_at", "renew-at", Text, Value("2/3"),
        "when to renew: a share of the lifetime (2/3, 66%, 0.66), or a duration before expiry (24h)"),
    row(Certificate, "splay", "splay", Duration, Value("5m"),
        "renew earlier by up to this much, always the same for one allocation; at most a tenth of \
         the lifetime"),
    row(Certificate, "splay_seed", "splay-seed", Text, Derived("NOMAD_ALLOC_ID, else HOSTNAME, else the names"),
        "seed of the splay; the name of the certificate is added"),
    row(Certificate, "min_remaining", "min-remaining", Duration, Derived("life / 20, 5s to 5m"),
        "refuse a certificate with less life left than this"),
    row(Certificate, "max_issuances_per_hour", "max-issuances-per-hour", Count, Derived("4 h / life, from 10 to 3600"),
        "most requests in any hour that are not due, or bring nothing"),
    row(Certificate, "startup_timeout", "startup-timeout", Duration, Value("5m"),
        "give up when there is no certificate after this long; only at the first start"),
    row(Certificate, "dir", "dir", Path, Derived("$NOMAD_SECRETS_DIR/certs, else secrets/certs"),
        "directory for CA.pem, cert.pem and key.pem"),
    row(Certificate, "cert_perms", "cert-perms", Mode, Value("0644"),
        "mode of cert.pem and CA.pem"),
    row(Certificate, "key_perms", "key-perms", Mode, Value("0600"),
        "mode of key.pem"),
    row(Certificate, "uid", "uid", Count, Derived("of the process"),
        "numeric owner of the files"),
    row(Certificate, "gid", "gid", Count, Derived("of the process"),
        "numeric group of the files"),
    row(Certificate, "ready_file", "ready-file", Path, Derived("$NOMAD_ALLOC_DIR/certagent/ready.json"),
        "ready file for certagent wait; it contains no secret"),
    row(Certificate, "extra_ca", "extra-ca", Path, Nothing,
        "PEM file with more trust anchors for CA.pem"),
    row(Certificate, "trust", "trust", Choice(&["chain", "issuers", "mount"]), Value("issuers"),
        "what CA.pem trusts beside the own chain: nothing, the mount's issuers that have their key and \
         are not revoked, or all of the mount that are not revoked"),
    row(Certificate, "trust_issuers", "trust-issuers", List, Nothing,
        "further issuers of the mount to trust, whatever trust says: name, id or SHA-256"),
    row(Certificate, "distrust", "distrust", List, Nothing,
        "anchors to take out of CA.pem at once and keep out: SHA-256, or an issuer's name or id"),
    row(Certificate, "ca_poll_interval", "ca-poll-interval", Duration, Value("10m"),
        "how often to check for new issuers of the mount; 0 is never"),
    row(Certificate, "ca_retention", "ca-retention", Duration, Derived("ttl, at least 24h"),
        "keep a removed root in CA.pem this long, so that certificates that it signed stay trusted"),

    row(Probe, "enabled", "probe", Bool, Derived("inferred (true when the probe block has a setting)"),
        "connect to the application and see which certificate it serves"),
    row(Probe, "address", "probe-address", Text, Derived("NOMAD_ADDR_grpc"),
        "host:port where the application serves the certificate").shown(Shown::Url),
    row(Probe, "server_name", "probe-server-name", Text, Derived("the host of the address where the certificate has it, else the common name"),
        "name that the served certificate has to prove; sent as SNI when it is a DNS name"),
    row(Probe, "alpn", "probe-alpn", List, Derived("h2 with grpc_health, else none"),
        "application protocols to offer (ALPN)"),
    row(Probe, "mtls", "probe-mtls", Bool, Value("true"),
        "send the published certificate as client certificate when the application requests one"),
    row(Probe, "starttls", "probe-starttls", Choice(&["none", "postgres", "smtp"]), Value("none"),
        "how the connection becomes TLS, where it does not begin as such"),
    row(Probe, "grpc_health", "probe-grpc-health", Bool, Derived("true when the address is NOMAD_ADDR_grpc"),
        "also call grpc.health.v1.Health/Check"),
    row(Probe, "interval", "probe-interval", Duration, Value("5m"),
        "how often to probe once the published certificate was seen"),
    row(Probe, "timeout", "probe-timeout", Duration, Value("5s"),
        "limit for one probe, from resolving the name to the last answer"),

    row(Reload, "app", "app", Choice(&["loki", "generic"]), Derived("loki for a name loki-... on Nomad, else generic"),
        "application type; auto reloads loki as its version requires, and does nothing for generic"),
    row(Reload, "on_cert_change", "on-cert-change", List, Value("auto"),
        "actions for a new certificate, one after the other until it is served: auto, none, \
         nomad_signal, nomad_restart, signal, exec, http"),
    row(Reload, "on_ca_change", "on-ca-change", List, Value("auto"),
        "actions for new trust anchors, from the same list"),
    row(Reload, "task", "reload-task", Text, Derived("loki for app loki"),
        "task of the same group: auto, nomad_signal, nomad_restart"),
    row(Reload, "signal", "reload-signal", Text, Nothing,
        "exact name, as SIGHUP: nomad_signal, signal"),
    row(Reload, "pid", "reload-pid", Count, Nothing,
        "process id: signal"),
    row(Reload, "pid_file", "reload-pid-file", Path, Derived("the child of certagent exec"),
        "file with the process id, read each time: signal"),
    row(Reload, "command", "reload-command", List, Nothing,
        "program and arguments, without a shell: exec").shown(Shown::Program),
    row(Reload, "env", "reload-env", List, Nothing,
        "name=value, added to the environment of the program: exec").shown(Shown::Names),
    row(Reload, "exec_timeout", "reload-exec-timeout", Duration, Value("30s"),
        "kill the program after this long: exec"),
    row(Reload, "url", "reload-url", Text, Nothing,
        "where to, http:// on loopback only: http").shown(Shown::Url),
    row(Reload, "method", "reload-method", Choice(&["POST", "PUT", "GET"]), Value("POST"),
        "method of the request: http"),
    row(Reload, "expect_status", "reload-expect-status", List, Derived("any 2xx"),
        "statuses that mean success: http"),
    row(Reload, "http_timeout", "reload-http-timeout", Duration, Value("10s"),
        "limit for request and answer: http"),
    row(Reload, "version_url", "reload-version-url", Text, Derived("http://$NOMAD_ADDR_http"),
        "where Loki says which version it is: auto").shown(Shown::Url),
    row(Reload, "verify_timeout", "verify-timeout", Duration, Value("1m"),
        "how long each action has until the application serves the certificate"),
    row(Reload, "kill_timeout", "kill-timeout", Duration, Value("5s"),
        "kill_timeout of the task; nomad_restart is given longer than that"),
    row(Reload, "lock", "reload-lock", Text, Nothing,
        "path of a Nomad variable whose lock lets one allocation act at a time"),
    row(Reload, "min_healthy_time", "reload-min-healthy-time", Duration, Derived("15s for app loki, else 0s"),
        "hold the restart lock this long after the application is healthy, so that its peers can \
         reconnect"),

    row(Stagger, "window", "stagger-window", Duration, Value("10m"),
        "time in which every allocation of the group reloads once"),
    row(Stagger, "count", "stagger-count", Count, Nothing,
        "number of allocations in the group (Nomad does not expose it); unset: no staggering"),
    row(Stagger, "index", "stagger-index", Count, Derived("NOMAD_ALLOC_INDEX"),
        "which allocation this is, from 0"),

    row(Rollback, "enabled", "rollback", Bool, Derived("true with a probe"),
        "publish the previous certificate files again when the application fails with the new ones"),
    row(Rollback, "min_previous_validity", "rollback-min-previous-validity", Duration, Derived("ttl / 10"),
        "roll back only if the previous certificate is valid for at least this long"),

    row(Vault, "address", "vault-addr", List, Value("https://127.0.0.1:8200"),
        "addresses of Vault, tried in this sequence: http://, https:// or unix://").issuer(&["AGENT_ADDR", "ADDR"]).shown(Shown::Url),
    row(Vault, "allow_plain_http", "vault-allow-plain-http", Bool, Value("false"),
        "allow http:// to another host: an attacker on the network can read tokens and keys, or \
         answer instead of Vault"),
    row(Vault, "namespace", "vault-namespace", Text, Nothing,
        "namespace of mounts and logins").issuer(&["NAMESPACE"]),
    row(Vault, "ca_cert", "vault-ca-cert", Path, Nothing,
        "PEM file with trust anchors for Vault's certificate; replaces those of the system").issuer(&["CACERT"]),
    row(Vault, "ca_cert_bytes", "vault-ca-cert-bytes", Text, Nothing,
        "PEM text with trust anchors for Vault's certificate").issuer(&["CACERT_BYTES"]),
    row(Vault, "ca_path", "vault-ca-path", Path, Nothing,
        "directory of PEM files with trust anchors for Vault's certificate").issuer(&["CAPATH"]),
    row(Vault, "client_cert", "vault-client-cert", Path, Nothing,
        "PEM file with the client certificate for Vault; goes with client_key").issuer(&["CLIENT_CERT"]),
    row(Vault, "client_key", "vault-client-key", Path, Nothing,
        "PEM file with the private key for client_cert").issuer(&["CLIENT_KEY"]),
    row(Vault, "tls_server_name", "vault-tls-server-name", Text, Derived("host of the address"),
        "name or IP address that Vault's certificate has to prove").issuer(&["TLS_SERVER_NAME"]),
    row(Vault, "timeout", "vault-timeout", Duration, Value("15s"),
        "limit for one request and its answer").issuer(&["CLIENT_TIMEOUT"]),
    row(Vault, "max_retries", "vault-max-retries", Count, Value("2"),
        "retries of one request after a transport error").issuer(&["MAX_RETRIES"]),
    row(Vault, "rate_limit", "vault-rate-limit", Text, Nothing,
        "requests per second, as rate or rate:burst").issuer(&["RATE_LIMIT"]),
    row(Vault, "proxy", "vault-proxy", Text, Nothing,
        "proxy for all requests, as http://user:password@host:port; HTTP_PROXY and HTTPS_PROXY are not obeyed").issuer(&["PROXY_ADDR", "HTTP_PROXY"]).shown(Shown::Url),
    row(Vault, "disable_redirects", "vault-disable-redirects", Bool, Value("false"),
        "follow no redirect; else only one to another address of the list is followed").issuer(&["DISABLE_REDIRECTS"]),
    row(Vault, "headers", "vault-headers", Headers, Nothing,
        "extra request headers, as a JSON object").issuer(&["HEADERS"]).secret(),

    row(Auth, "method", "auth", Choice(&["jwt", "token", "token_file", "approle", "cert", "kubernetes"]), Derived("inferred \
                                                                                                                   from \
                                                                                                                   the \
                                                                                                                   credentials \
                                                                                                                   that \
                                                                                                                   are \
                                                                                                                   there"),
        "how to get a token; the label of its block"),
    row(Auth, "mount", "auth-mount", Text, Derived("jwt-nomad, approle, cert or kubernetes"),
        "path of the auth mount"),
    row(Auth, "role", "auth-role", Text, Derived("the mount's own"),
        "role to log in with: jwt, cert, kubernetes"),
    row(Auth, "path", "auth-path", Path, Derived("Nomad's or Kubernetes' usual place"),
        "file with the JWT, the token or the service account token"),
    row(Auth, "file_uid", "auth-file-uid", Count, Nothing,
        "numeric owner of the credential file, when that is neither root nor certagent's user, such as that of a Vault Agent"),
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
        "text lines, or JSON objects"),
    row(Log, "level", "log-level", Choice(&["error", "warn", "info", "debug", "trace"]), Value("info"),
        "least important level that is written"),

    row(Http, "listen", "http-listen", Text, Nothing,
        "serve /live, /ready, /metrics, /status and a page at this IP:PORT or unix:///path"),
    row(Http, "allow_remote", "http-allow-remote", Bool, Value("false"),
        "allow listen to be an address that is not on loopback"),

    row(Status, "socket", "status-socket", Path, Derived("$NOMAD_ALLOC_DIR/certagent/run/status.sock, else $XDG_RUNTIME_DIR/certagent/status.sock"),
        "socket for certagent status and certagent renew; off is none"),

    row(Process, "hardening", "hardening", Choice(&["on", "off"]), Value("on"),
        "give up privileges and files that are not needed; off is for support"),
];

const fn row(
    section: Section,
    key: &'static str,
    flag: &'static str,
    kind: ValueKind,
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
        shown: Shown::Text,
        help,
    }
}

impl Setting {
    const fn issuer(mut self, names: &'static [&'static str]) -> Self {
        self.issuer = names;
        self
    }

    const fn secret(self) -> Self {
        self.shown(Shown::Nothing)
    }

    const fn shown(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }
}
