//! The directory of a demonstration: what Nomad would put there, and what newcomers need.
//!
//! Never leaves secrets behind in a directory of its own making.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use certagent_dev::{DevServer, JWT_MOUNT, JWT_ROLE, MOUNTS, ROLE, Workload};

use crate::{
    config::Environment,
    model::{duration, time::Timestamp},
    publish::file,
};

/// Where a demonstration's files are.
pub(super) struct Stage {
    dir: PathBuf,
    /// Made by us, and to be removed by us.
    temporary: bool,
}

impl Stage {
    /// The given directory or a new temporary one, with the files that logins need.
    #[expect(
        clippy::disallowed_methods,
        reason = "a new directory that no other process uses"
    )]
    pub(super) fn new(
        given: Option<&Path>,
        environment: &Environment,
        server: &DevServer,
    ) -> anyhow::Result<Self> {
        let stage = match given {
            Some(dir) => Self {
                dir: dir.to_owned(),
                temporary: false,
            },
            None => {
                let parent = environment.get("TMPDIR").map_or("/tmp", String::as_str);
                let name = format!("certagent-dev-{}", std::process::id());
                Self {
                    dir: Path::new(parent).join(name),
                    temporary: true,
                }
            }
        };
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(!stage.temporary);
        let made = builder
            .create(&stage.dir)
            .and_then(|()| builder.recursive(true).create(stage.dir.join("secrets")));
        made.with_context(|| format!("cannot make the directory {}", stage.dir.display()))?;
        stage.write("root-token", server.root_token().expose())?;
        stage.write("unseal-key", server.unseal_key().expose())?;
        Ok(stage)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(file::replace(&self.dir.join(name), text.as_bytes(), 0o600)?)
    }

    /// Writes a fresh workload identity, as Nomad does before the old one ends.
    pub(super) fn write_identity(
        &self,
        workload: &Workload,
        now: Timestamp,
        life: Duration,
    ) -> anyhow::Result<()> {
        let jwt = workload.token("certagent", now, life)?;
        Ok(file::replace(
            &self.identity(),
            jwt.expose().as_bytes(),
            0o600,
        )?)
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("secrets/nomad_vault_default.jwt")
    }

    /// Where the set is published.
    pub(super) fn certs(&self) -> PathBuf {
        self.dir.join("secrets/certs")
    }

    /// Whether it is gone after the end.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// The environment of the agent, as in a Nomad task.
    pub(super) fn settings(&self, server: &DevServer, ttl: Duration) -> Environment {
        let path = |path: &Path| path.display().to_string();
        [
            ("VAULT_ADDR", server.url()),
            ("CERTAGENT_AUTH", "jwt".to_owned()),
            ("CERTAGENT_AUTH_MOUNT", JWT_MOUNT.to_owned()),
            ("CERTAGENT_AUTH_PATH", path(&self.identity())),
            ("CERTAGENT_MOUNT", MOUNTS[1].to_owned()),
            ("CERTAGENT_COMPONENT", "demo".to_owned()),
            ("CERTAGENT_NODE_IP", "127.0.0.1".to_owned()),
            ("CERTAGENT_TTL", duration::print(ttl)),
            ("CERTAGENT_DIR", path(&self.certs())),
            ("CERTAGENT_READY_FILE", path(&self.dir.join("ready.json"))),
            ("CERTAGENT_SPLAY_SEED", "demonstration".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// For `--pki-only`: where everything is, and a first command. Ends with the line `ready`.
    pub(super) fn login_help(&self, server: &DevServer) -> String {
        let dir = self.dir.display();
        let url = server.url();
        let [root, intermediate] = MOUNTS;
        format!(
            "embedded PKI for tests: in memory, on loopback, without TLS\n\
             address     {url}\n\
             mounts      {root} (root), {intermediate} (intermediate); role {ROLE} in both\n\
             root token  {dir}/root-token\n\
             jwt         {identity}, login at {JWT_MOUNT}, role {JWT_ROLE}\n\
             unseal key  {dir}/unseal-key, after PUT sys/seal\n\
             try         VAULT_ADDR={url} CERTAGENT_AUTH_PATH={identity} certagent issue \
             --common-name loki-demo.service.consul\n\
             ready\n",
            identity = self.identity().display(),
        )
    }

    /// Removes a directory of our own making; a given one stays.
    #[expect(
        clippy::disallowed_methods,
        reason = "a new directory that no other process uses"
    )]
    pub(super) fn clear(&self) {
        if self.temporary {
            // What cannot be removed is in the temporary directory anyway.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
