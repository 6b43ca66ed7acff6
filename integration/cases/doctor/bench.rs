//! One healthy place of work, to be spoiled by a seed, and one run of the doctor in it.
//!
//! Never shares a directory, a role or a login file between seeds; the issuer is shared by the seeds
//! of one test, which run one after another. What stays true: everything that a run could change is
//! compared with what it was.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use crate::rig::{self, Claims, NOBODY, OpenBao, Place, jwt, set_mode};

/// An issuer for the seeds of one test.
pub(super) struct Shared {
    pub(super) server: OpenBao,
    count: AtomicU32,
}

impl Shared {
    pub(super) fn start() -> Self {
        let server = OpenBao::ready();
        let policy = r#"
            path "+/issue/*" { capabilities = ["update"] }
            path "+/sign/*" { capabilities = ["update"] }
            path "+/roles/*" { capabilities = ["read"] }
            path "mount-*" { capabilities = ["read", "update"] }
            path "pki/issue/forbidden-*" { capabilities = ["deny"] }
            path "pki/sign/forbidden-*" { capabilities = ["deny"] }
            path "pki/sign/travels-*" { capabilities = ["deny"] }
            path "pki/roles/blind-*" { capabilities = ["deny"] }
        "#;
        server.write("sys/policies/acl/doctor", &json!({ "policy": policy }));
        server.write(
            "auth/jwt-nomad/role/doctor",
            &json!({
                "role_type": "jwt", "bound_audiences": ["vault.io"], "user_claim": "/nomad_job_id",
                "user_claim_json_pointer": true, "token_type": "service", "token_period": "30m",
                "token_policies": ["doctor"],
            }),
        );
        Self {
            server,
            count: AtomicU32::new(0),
        }
    }

    /// A word that no other seed has.
    fn unique(&self, word: &str) -> String {
        format!("{word}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// A place of work.
pub(super) struct Bench<'a> {
    shared: &'a Shared,
    place: Place,
    arguments: Vec<String>,
    /// Shell commands in mount and IPC namespaces of their own, before the doctor runs there.
    mounts: Option<String>,
    user: Option<u32>,
    kept: Vec<Box<dyn Any>>,
}

/// What a run came to, and what it changed.
pub(super) struct Ran {
    pub(super) exit: i32,
    pub(super) err: String,
    pub(super) asked: bool,
    /// Certificates that the issuer has more than before.
    pub(super) issued: u64,
    /// Tokens that it has more than before.
    pub(super) tokens: i64,
    pub(super) changed: Vec<String>,
    report: Value,
}

impl Ran {
    fn rows(&self) -> &[Value] {
        self.report["checks"].as_array().map_or(&[], Vec::as_slice)
    }

    fn row(&self, code: &str) -> &Value {
        let row = self.rows().iter().find(|row| row["code"] == code);
        row.unwrap_or_else(|| panic!("no row {code}: {}{}", self.report, self.err))
    }

    pub(super) fn status(&self, code: &str) -> &str {
        self.row(code)["status"].as_str().unwrap()
    }

    pub(super) fn reasons(&self, code: &str) -> String {
        self.row(code)["found"].to_string()
    }

    /// The more exact code of the first finding.
    pub(super) fn finding(&self, code: &str) -> Option<&str> {
        self.row(code)["found"][0]["code"].as_str()
    }

    /// Codes of all checks that warn or fail.
    pub(super) fn found(&self) -> Vec<String> {
        let wrong = |row: &&Value| row["status"] == "warn" || row["status"] == "fail";
        let found = self.rows().iter().filter(wrong);
        found
            .map(|row| row["code"].as_str().unwrap().to_owned())
            .collect()
    }

    /// True when the order was answered with a certificate.
    pub(super) fn ordered(&self) -> bool {
        self.status("issuance-refused") == "ok"
    }

    pub(super) fn all(&self) -> String {
        format!("{:#}\n{}", self.report, self.err)
    }
}

impl Deref for Bench<'_> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let mut bench = Self {
            shared,
            place: Place::at(&shared.server),
            arguments: Vec::new(),
            mounts: None,
            user: None,
            kept: Vec::new(),
        };
        bench.unset(&["VAULT_TOKEN"]);
        for (name, value) in [
            ("CERTAGENT_AUTH", "jwt"),
            ("CERTAGENT_AUTH_ROLE", "doctor"),
            ("CERTAGENT_COMMON_NAME", "loki-read.service.consul"),
            ("CERTAGENT_IP_SANS", "127.0.0.1"),
            ("CERTAGENT_TTL", "1h"),
            ("CERTAGENT_SPLAY_SEED", "doctor"),
        ] {
            bench.set(name, value);
        }
        bench.identity(&Claims::default());
        bench.set("CERTAGENT_AUTH_PATH", bench.path("jwt").display());
        bench.set("CERTAGENT_DIR", bench.certs().display());
        let ready_file = bench.path("alloc/certagent/ready.json");
        bench.set("CERTAGENT_READY_FILE", ready_file.display());
        fs::create_dir(bench.path("secrets")).unwrap();
        fs::create_dir(bench.path("alloc")).unwrap();
        bench
    }

    pub(super) fn server(&self) -> &OpenBao {
        &self.shared.server
    }

    pub(super) fn set(&mut self, name: &str, value: impl ToString) {
        self.place.set(name, value.to_string());
    }

    pub(super) fn unset(&mut self, names: &[&str]) {
        self.place.unset(names);
    }

    pub(super) fn args(&mut self, arguments: &[&str]) {
        let arguments = arguments.iter().map(|one| (*one).to_owned());
        self.arguments.extend(arguments);
    }

    pub(super) fn keep(&mut self, kept: impl Any) {
        self.kept.push(Box::new(kept));
    }

    /// `$1` is the certificate directory, which is made.
    pub(super) fn mounted(&mut self, commands: &str) {
        fs::create_dir(self.certs()).unwrap();
        self.mounts = Some(commands.to_owned());
    }

    pub(super) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, mode);
        path
    }

    /// Replaces the identity.
    pub(super) fn identity(&self, claims: &Claims) {
        self.write("jwt", &jwt(claims), 0o600);
    }

    /// Lets the doctor run as somebody without privileges, who owns everything here.
    pub(super) fn as_nobody(&mut self) {
        self.user = Some(NOBODY);
        set_mode(self.home(), 0o755);
        for name in ["", "jwt", "secrets", "alloc"] {
            std::os::unix::fs::chown(self.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A role that allows what the bench asks for, with these fields changed.
    fn role(&mut self, word: &str, fields: &Value) {
        let mut role = json!({
            "allowed_domains": ["service.consul"], "allow_subdomains": true, "allow_ip_sans": true,
            "allowed_uri_sans": ["spiffe://*"], "max_ttl": "8760h", "key_type": "any", "key_bits": 0,
        });
        for (name, value) in fields.as_object().unwrap() {
            role[name] = value.clone();
        }
        let name = self.shared.unique(word);
        let mount = self.mount();
        self.server().write(&format!("{mount}/roles/{name}"), &role);
        self.set("CERTAGENT_ROLE", name);
    }

    /// A role that may be read.
    pub(super) fn open_role(&mut self, fields: &Value) {
        self.role("role", fields);
    }

    /// A role that may be used and not read.
    pub(super) fn blind_role(&mut self, fields: &Value) {
        self.role("blind", fields);
    }

    /// A role that may be read and not used.
    pub(super) fn forbidden_role(&mut self) {
        self.role("forbidden", &json!({}));
    }

    /// A role from which Vault makes the key: nothing may be signed for it.
    pub(super) fn issuing_role(&mut self) {
        self.role("travels", &json!({ "key_type": "ec", "key_bits": 256 }));
    }

    /// A PKI mount with a CA that ends after this time, and a fitting role.
    pub(super) fn short_ca(&mut self, ttl: &str) {
        let mount = self.empty_mount();
        let ca = json!({ "common_name": "short", "key_type": "ec", "ttl": ttl });
        self.server()
            .write(&format!("{mount}/root/generate/internal"), &ca);
        self.open_role(&json!({}));
    }

    /// A PKI mount with these roots, the first one as default, and files published from it. The issuers of a
    /// mount that is called `hidden` can't be read.
    pub(super) fn roots(&mut self, word: &str, names: &[&str]) -> String {
        let mount = self.mount_called(word);
        for name in names {
            let ca = json!({ "common_name": name, "issuer_name": name, "key_type": "ec", "ttl": "8760h" });
            self.server()
                .write(&format!("{mount}/root/generate/internal"), &ca);
        }
        self.open_role(&json!({}));
        self.publish();
        mount
    }

    /// A PKI mount without a CA.
    pub(super) fn empty_mount(&mut self) -> String {
        self.mount_called("mount")
    }

    fn mount_called(&mut self, word: &str) -> String {
        let mount = self.shared.unique(word);
        self.server()
            .write(&format!("sys/mounts/{mount}"), &json!({ "type": "pki" }));
        self.set("CERTAGENT_MOUNT", &mount);
        mount
    }

    fn mount(&self) -> String {
        let named = self
            .variable("CERTAGENT_MOUNT")
            .and_then(|name| name.to_str());
        named.unwrap_or("pki").to_owned()
    }

    /// Logs in with a new token that has these properties instead of the JWT.
    pub(super) fn token(&mut self, fields: &Value) {
        let mut body = json!({ "policies": ["doctor"], "ttl": "2h" });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.server().write("auth/token/create", &body);
        self.given_token(made["auth"]["client_token"].as_str().unwrap());
    }

    pub(super) fn given_token(&mut self, token: &str) {
        self.unset(&["CERTAGENT_AUTH_PATH", "CERTAGENT_AUTH_ROLE"]);
        self.set("CERTAGENT_AUTH", "token");
        self.set("VAULT_TOKEN", token);
    }

    /// Publishes a set into the certificate directory.
    pub(super) fn publish(&self) {
        let mut command = self.certagent(&["issue", "--output-dir"]);
        let output = command.arg(self.certs()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The file of the live generation.
    pub(super) fn live(&self, name: &str) -> PathBuf {
        let generation = fs::read_link(self.certs().join("..data")).unwrap();
        self.certs().join(generation).join(name)
    }

    fn command(&self, last: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_certagent");
        let mut command = match (&self.mounts, self.user) {
            (Some(mounts), _) => {
                let mut command = Command::new(rig::tool("userns"));
                let script = format!("set -e; {mounts}; shift; exec \"$@\"");
                command.args(["-Urmi", "sh", "-c", &script, "sh"]);
                command.arg(self.certs()).arg(binary);
                command
            }
            (None, Some(user)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}"));
                command.arg(format!("--regid={user}"));
                command.args(["--clear-groups", binary]);
                command
            }
            (None, None) => Command::new(binary),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.arg("doctor").args(&self.arguments).args(last);
        command.env_clear().env("PATH", path);
        self.fit_out(&mut command);
        command
    }

    /// What people see.
    pub(super) fn text(&self) -> String {
        let output = self.command(&[]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the doctor and compares everything before and after.
    pub(super) fn run(&self) -> Ran {
        let (files, issued, tokens) = (self.files(), self.issued(), self.tokens());
        let output = self.command(&["-o", "json"]).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}{err}", String::from_utf8_lossy(&output.stdout))
        });
        Ran {
            exit: output.status.code().unwrap_or(-1),
            err,
            asked: self.arguments.iter().any(|one| one == "--test-issue"),
            issued: self.issued() - issued,
            tokens: self.tokens() - tokens,
            changed: differences(&files, &self.files()),
            report,
        }
    }

    /// Certificates in all mounts that a seed may use.
    fn issued(&self) -> u64 {
        let mounts = BTreeSet::from(["pki".to_owned(), "pki_int".to_owned(), self.mount()]);
        let counts = mounts.iter().map(|mount| {
            let answer = self
                .server()
                .request("GET", &format!("{mount}/certs?list=true"), None);
            let keys = answer.json()["data"]["keys"].as_array().map_or(0, Vec::len);
            u64::try_from(keys).unwrap()
        });
        counts.sum()
    }

    fn tokens(&self) -> i64 {
        let answer = self.server().read("auth/token/accessors?list=true");
        i64::try_from(answer["data"]["keys"].as_array().unwrap().len()).unwrap()
    }

    /// Everything below the bench's directory: kind, mode, owner, times of change, content.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.home().to_owned()];
        while let Some(path) = pending.pop() {
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                let entries = fs::read_dir(&path).unwrap();
                pending.extend(entries.map(|entry| entry.unwrap().path()));
                String::new()
            } else if meta.is_symlink() {
                format!("{:?}", fs::read_link(&path).unwrap())
            } else if meta.is_file() && meta.len() < 1 << 20 {
                format!("{:?}", fs::read(&path).unwrap())
            } else {
                String::new()
            };
            let state = format!(
                "{:o} {}:{} {} {}.{} {content}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.ino(),
                meta.ctime(),
                meta.ctime_nsec()
            );
            found.insert(path, state);
        }
        found
    }
}

fn differences(
    before: &BTreeMap<PathBuf, String>,
    after: &BTreeMap<PathBuf, String>,
) -> Vec<String> {
    let paths: BTreeSet<&Path> = before
        .keys()
        .chain(after.keys())
        .map(PathBuf::as_path)
        .collect();
    let differs = |path: &&&Path| before.get(**path) != after.get(**path);
    paths
        .iter()
        .filter(differs)
        .map(|path| path.display().to_string())
        .collect()
}
