//! A real OpenBao in development mode: in memory, unsealed, on a free loopback port.
//!
//! Never shared, never kept. What stays true: the server that answers is the one that was started,
//! because each has a root token of its own.

mod stored;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use self::stored::Stored;

use super::{PATIENCE, Process, differences::Product, free_ports, http, http::Answer};

/// How to start it.
#[derive(Default)]
pub(crate) struct Options {
    /// Listen with TLS; the CA is at [`OpenBao::ca`].
    pub(crate) tls: bool,
    /// More server configuration, such as a `listener "unix"` block.
    pub(crate) config: Option<String>,
    /// OpenBao also where the other tests run on a Vault.
    pub(crate) always_openbao: bool,
    /// Start uninitialised: for tests of `sys/init`, sealing and unsealing.
    pub(crate) skip_init: bool,
}

/// A running server, with the root token.
pub(crate) struct OpenBao {
    /// `http://127.0.0.1:port` or `https://...`
    pub(crate) address: String,
    /// The root token.
    pub(crate) token: String,
    process: Process,
    home: TempDir,
    tls: bool,
}

/// Claims of a test JWT; `None` leaves a claim out.
pub(crate) struct Claims {
    pub(crate) audience: String,
    pub(crate) job: String,
    pub(crate) task: String,
    /// Seconds from now until it expires; negative is in the past.
    pub(crate) expires_in: i64,
    /// Seconds from now until it counts.
    pub(crate) starts_in: i64,
    /// Seconds from now until it is issued, when that is another moment.
    pub(crate) issued_in: Option<i64>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            audience: "vault.io".to_owned(),
            job: "loki".to_owned(),
            task: "certagent".to_owned(),
            expires_in: 3600,
            starts_in: 0,
            issued_in: None,
        }
    }
}

impl OpenBao {
    /// Starts a plain server.
    pub(crate) fn start() -> Self {
        Self::start_with(&Options::default())
    }

    /// Starts a server with PKI, policy and logins set up: see [`Self::set_up`].
    pub(crate) fn ready() -> Self {
        let server = Self::start();
        server.set_up();
        server
    }

    /// Starts a server.
    pub(crate) fn start_with(options: &Options) -> Self {
        let product = match options.always_openbao {
            true => Product::OpenBao,
            false => Product::tested(),
        };
        let program = product.program();
        // Another process may take the port between the choice and the start.
        let mut last = String::new();
        for _ in 0..5 {
            match Self::attempt(&program, options) {
                Ok(server) => return server,
                Err(output) => last = output,
            }
        }
        panic!("OpenBao does not start:\n{last}")
    }

    fn attempt(program: &Path, options: &Options) -> Result<Self, String> {
        let (port, _) = free_ports();
        let home = tempfile::tempdir().unwrap();
        let token = format!("root-{}-{port}", std::process::id());
        let mut command = Command::new(program);
        command
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={token}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .env_clear()
            .env("HOME", home.path());
        if options.tls {
            command.arg("-dev-tls");
            command.arg(format!("-dev-tls-cert-dir={}", home.path().display()));
        }
        if options.skip_init {
            command.arg("-dev-skip-init");
        }
        if let Some(config) = &options.config {
            let file = home.path().join("extra.hcl");
            std::fs::write(&file, config).unwrap();
            command.arg(format!("-config={}", file.display()));
        }
        let scheme = if options.tls { "https" } else { "http" };
        let mut server = Self {
            address: format!("{scheme}://127.0.0.1:{port}"),
            token,
            process: Process::start(&mut command),
            home,
            tls: options.tls,
        };
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            if server.process.ended().is_some() {
                break;
            }
            if server.is_ready(options.skip_init) {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(server.process.output())
    }

    fn is_ready(&self, uninitialised: bool) -> bool {
        let path = if uninitialised {
            "/v1/sys/health"
        } else {
            "/v1/auth/token/lookup-self"
        };
        let wanted = if uninitialised { 501 } else { 200 };
        self.try_request(&self.token, "GET", path, None)
            .is_ok_and(|answer| answer.status == wanted)
    }

    /// The CA of its own TLS listener.
    pub(crate) fn ca(&self) -> PathBuf {
        self.home.path().join("vault-ca.pem")
    }

    /// Its process, to stop and continue it.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    fn try_request(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let ca = self.tls.then(|| self.ca());
        let token = [("X-Vault-Token", token)];
        let headers = if token[0].1.is_empty() {
            &[][..]
        } else {
            &token[..]
        };
        http::request(&self.address, ca.as_deref(), method, path, headers, body)
    }

    /// One request with a token of the caller's choice (empty: none). `path` is below `/v1/`.
    pub(crate) fn request_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        self.try_request(token, method, &format!("/v1/{path}"), body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// One request with the root token. `path` is below `/v1/`.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.request_as(&self.token, method, path, body)
    }

    /// Writes as root; panics unless it worked.
    pub(crate) fn write(&self, path: &str, body: &Value) -> Value {
        let answer = self.request("POST", path, Some(body));
        assert!(
            matches!(answer.status, 200 | 204),
            "POST {path}: {} {}",
            answer.status,
            answer.text
        );
        answer.json()
    }

    /// Reads as root; panics unless it worked.
    pub(crate) fn read(&self, path: &str) -> Value {
        let answer = self.request("GET", path, None);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text);
        answer.json()
    }

    /// Sets up what certagent meets in production: `pki` (root CA), `pki_int` (intermediate), a role
    /// `internal` for any key in both, a role `ec` in `pki`, the policy `certagent`, JWT login at `jwt-nomad` and AppRole at `approle`,
    /// each with a role `certagent`.
    pub(crate) fn set_up(&self) {
        self.set_up_pki();
        let policy = r#"
            path "pki/issue/internal" { capabilities = ["update"] }
            path "pki/sign/internal" { capabilities = ["update"] }
            path "pki/issue/ec" { capabilities = ["update"] }
            path "pki/sign/ec" { capabilities = ["update"] }
            path "pki_int/issue/internal" { capabilities = ["update"] }
            path "pki_int/sign/internal" { capabilities = ["update"] }
        "#;
        self.write("sys/policies/acl/certagent", &json!({ "policy": policy }));
        self.set_up_jwt();
        self.write("sys/auth/approle", &json!({ "type": "approle" }));
        self.write(
            "auth/approle/role/certagent",
            &json!({ "token_policies": ["certagent"], "token_ttl": "30m" }),
        );
    }

    fn set_up_pki(&self) {
        let mount = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
        self.write("sys/mounts/pki", &mount);
        self.write("sys/mounts/pki_int", &mount);
        let root = json!({ "common_name": "test root", "issuer_name": "root", "key_type": "ec", "ttl": "87600h" });
        self.write("pki/root/generate/internal", &root);
        let csr = self.write(
            "pki_int/intermediate/generate/internal",
            &json!({ "common_name": "test intermediate", "key_type": "ec" }),
        );
        let signed = self.write(
            "pki/root/sign-intermediate",
            &json!({ "csr": csr["data"]["csr"], "format": "pem_bundle", "ttl": "43800h" }),
        );
        self.write(
            "pki_int/intermediate/set-signed",
            &json!({ "certificate": signed["data"]["certificate"] }),
        );
        let mut role = json!({
            "allowed_domains": ["service.consul", "localhost"], "allow_subdomains": true, "allow_bare_domains": true,
            "allow_ip_sans": true, "allowed_uri_sans": ["spiffe://*"], "max_ttl": "8760h",
            "key_type": "any", "key_bits": 0,
        });
        self.write("pki/roles/internal", &role);
        self.write("pki_int/roles/internal", &role);
        role["key_type"] = "ec".into();
        role["key_bits"] = 256.into();
        self.write("pki/roles/ec", &role);
    }

    fn set_up_jwt(&self) {
        self.write("sys/auth/jwt-nomad", &json!({ "type": "jwt" }));
        self.write(
            "auth/jwt-nomad/config",
            &json!({ "jwt_validation_pubkeys": [jwt_key().public_key_pem()], "default_role": "certagent" }),
        );
        self.write(
            "auth/jwt-nomad/role/certagent",
            &json!({
                "role_type": "jwt", "bound_audiences": ["vault.io"],
                "user_claim": "/nomad_job_id", "user_claim_json_pointer": true,
                "claim_mappings": { "nomad_task": "nomad_task" },
                "token_type": "service", "token_period": "30m", "token_policies": ["certagent"],
            }),
        );
    }

    /// Adds a policy-bound service token and returns it.
    pub(crate) fn new_token(&self, ttl: &str) -> String {
        let body = json!({ "policies": ["certagent"], "ttl": ttl });
        let answer = self.write("auth/token/create", &body);
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// A role id and a fresh secret id of the AppRole `certagent`.
    pub(crate) fn approle(&self) -> (String, String) {
        let role = self.read("auth/approle/role/certagent/role-id");
        let secret = self.write("auth/approle/role/certagent/secret-id", &json!({}));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&role["data"]["role_id"]),
            text(&secret["data"]["secret_id"]),
        )
    }
}

/// A workload identity as Nomad signs it, for the login at `jwt-nomad`.
pub(crate) fn jwt(claims: &Claims) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = i64::try_from(now).unwrap();
    let start = now + claims.starts_in;
    let issued = claims.issued_in.map_or(start, |seconds| now + seconds);
    let body = json!({
        "aud": claims.audience, "sub": format!("global:default:{}:group:{}:vault_default", claims.job, claims.task),
        "nomad_job_id": claims.job, "nomad_task": claims.task, "nomad_namespace": "default",
        "nomad_allocation_id": "11111111-2222-3333-4444-555555555555",
        "iat": issued, "nbf": start, "exp": now + claims.expires_in,
    });
    let key = EncodingKey::from_ec_pem(jwt_key().serialize_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), &body, &key).unwrap()
}

/// The key that signs all test identities of this process.
fn jwt_key() -> &'static rcgen::KeyPair {
    static KEY: OnceLock<rcgen::KeyPair> = OnceLock::new();
    KEY.get_or_init(|| rcgen::KeyPair::generate().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs openbao"]
    fn a_set_up_server_logs_in_and_issues() {
        let server = OpenBao::ready();
        let login = json!({ "role": "certagent", "jwt": jwt(&Claims::default()) });
        let answer = server.request_as("", "POST", "auth/jwt-nomad/login", Some(&login));
        assert_eq!(answer.status, 200, "{}", answer.text);
        let token = answer.json()["auth"]["client_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let wanted =
            json!({ "common_name": "loki-read.service.consul", "ip_sans": "10.0.0.1", "ttl": 60 });
        let answer = server.request_as(&token, "POST", "pki/issue/ec", Some(&wanted));
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (role_id, secret_id) = server.approle();
        let login = json!({ "role_id": role_id, "secret_id": secret_id });
        let answer = server.request_as("", "POST", "auth/approle/login", Some(&login));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    #[test]
    #[ignore = "needs openbao"]
    fn a_tls_server_and_an_uninitialised_one_start() {
        let options = Options {
            tls: true,
            ..Options::default()
        };
        let server = OpenBao::start_with(&options);
        assert!(server.address.starts_with("https://"));
        let options = Options {
            skip_init: true,
            ..Options::default()
        };
        let server = OpenBao::start_with(&options);
        let answer = server.request_as("", "GET", "sys/health", None);
        assert_eq!(answer.status, 501);
    }

    #[test]
    #[ignore = "needs openbao"]
    fn its_process_ends_with_its_owner() {
        let server = OpenBao::start();
        let pid = server.process().pid();
        let entry = format!("/proc/{pid}");
        assert!(Path::new(&entry).exists());
        drop(server);
        assert!(!Path::new(&entry).exists());
    }
}
