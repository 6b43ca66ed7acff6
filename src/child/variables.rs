//! What the child finds in its environment: where the files are, and no credential of certagent.
//!
//! Never reads a file. What stays true: the paths are absolute and stay the same over renewals;
//! whatever may log in to Vault stays with certagent.

use std::{
    collections::BTreeMap,
    path::{self, PathBuf},
};

use tokio::process::Command;

use crate::{
    config::{CertConfig, EXEC_VARIABLES, Environment, NOTIFY_VARIABLES, table::SETTINGS},
    model::cover,
};

/// Two certificates would have the same variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificates {first} and {second} would both be {variable} in the environment")]
pub struct Clash {
    first: String,
    second: String,
    variable: String,
}

/// The changes to the environment that a child inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    set: BTreeMap<String, PathBuf>,
    removed: Vec<String>,
}

impl Variables {
    /// One certificate has the plain names; of several, each has its own name as a suffix.
    ///
    /// # Errors
    /// [`Clash`].
    pub fn of(certificates: &[CertConfig]) -> Result<Self, Clash> {
        let mut variables = Self {
            set: BTreeMap::new(),
            removed: credentials(),
        };
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        if certificates.len() > 1 {
            let plain = EXEC_VARIABLES.iter().map(|(name, _)| (*name).to_owned());
            variables.removed.extend(plain);
        }
        for certificate in certificates {
            let suffix = match certificates {
                [_] => String::new(),
                _ => format!("_{}", shouted(&certificate.name)),
            };
            let variable = format!("CERTAGENT_DIR{suffix}");
            if let Some(first) = owners.insert(variable.clone(), &certificate.name) {
                return Err(Clash {
                    first: first.to_owned(),
                    second: certificate.name.clone(),
                    variable,
                });
            }
            let dir = &certificate.files.dir;
            let dir = path::absolute(dir).unwrap_or_else(|_| dir.clone());
            for (name, file) in EXEC_VARIABLES {
                let path = match file {
                    "" => dir.clone(),
                    _ => dir.join(file),
                };
                variables.set.insert(format!("{name}{suffix}"), path);
            }
        }
        Ok(variables)
    }

    /// Also without a proxy's password, which is for requests to Vault only.
    #[must_use]
    pub fn without_passwords(mut self, environment: &Environment) -> Self {
        let ours = |name: &str| {
            let starts = ["CERTAGENT_", "VAULT_", "BAO_"];
            starts.iter().any(|start| name.starts_with(start))
        };
        let found = environment
            .iter()
            .filter(|(name, value)| ours(name) && cover::holds_password(value));
        self.removed.extend(found.map(|(name, _)| name.clone()));
        self
    }

    /// Makes the changes for a command that inherits our environment.
    pub(super) fn apply(&self, command: &mut Command) {
        for name in &self.removed {
            command.env_remove(name);
        }
        command.envs(&self.set);
    }
}

/// Every variable that holds a secret of ours, and the supervisor's, which is certagent's own.
fn credentials() -> Vec<String> {
    let secret = SETTINGS.iter().filter(|setting| setting.is_secret());
    let mut names: Vec<String> = secret
        .flat_map(|setting| {
            let clients = setting.issuer.iter().map(|name| format!("BAO_{name}"));
            setting.variables().into_iter().chain(clients)
        })
        .collect();
    names.extend(NOTIFY_VARIABLES.map(str::to_owned));
    names
}

/// As variables are written: `grpc-1` is `GRPC_1`.
fn shouted(name: &str) -> String {
    let letter = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, load};

    fn certificates(blocks: &[(&str, &str)]) -> Vec<CertConfig> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("certagent.hcl");
        let text: String = blocks
            .iter()
            .map(|(name, dir)| {
                format!(
                    "certificate \"{name}\" {{\n  common_name = \"x.example\"\n  dir = \"{dir}\"\n}}\n"
                )
            })
            .collect();
        crate::publish::file::replace(&file, text.as_bytes(), 0o600).unwrap();
        let environment = Environment::from([("VAULT_TOKEN".to_owned(), "x".to_owned())]);
        let config = load(Some(&file), &environment, &Flags::default()).unwrap();
        config.certificates
    }

    #[test]
    fn one_certificate_has_plain_names_and_absolute_paths() {
        let variables = Variables::of(&certificates(&[("a", "some/certs")])).unwrap();
        let here = path::absolute("some/certs").unwrap();
        let expected = [
            ("CERTAGENT_CA_FILE", here.join("CA.pem")),
            ("CERTAGENT_CERT_FILE", here.join("cert.pem")),
            ("CERTAGENT_DIR", here.clone()),
            ("CERTAGENT_KEY_FILE", here.join("key.pem")),
        ];
        let expected = expected.map(|(name, path)| (name.to_owned(), path));
        assert_eq!(variables.set, BTreeMap::from(expected));
    }

    #[test]
    fn a_proxys_password_stays_here_and_the_rest_of_the_environment_goes_on() {
        let pairs = [
            ("VAULT_PROXY_ADDR", "http://me:hunter2@p:1"),
            ("BAO_PROXY_ADDR", "http://p:1"),
            ("HTTP_PROXY", "http://me:hunter2@p:1"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::default().without_passwords(&pairs.into());
        assert_eq!(variables.removed, ["VAULT_PROXY_ADDR"]);
    }

    #[test]
    fn several_certificates_have_their_names_as_suffix_and_no_plain_one() {
        let variables = Variables::of(&certificates(&[("grpc-1", "/x"), ("http", "/y")])).unwrap();
        assert_eq!(variables.set.len(), 8);
        assert_eq!(
            variables.set["CERTAGENT_KEY_FILE_GRPC_1"],
            PathBuf::from("/x/key.pem")
        );
        assert_eq!(variables.set["CERTAGENT_DIR_HTTP"], PathBuf::from("/y"));
        assert!(variables.removed.iter().any(|name| name == "CERTAGENT_DIR"));
    }

    #[test]
    fn names_that_become_the_same_are_refused() {
        let clash = Variables::of(&certificates(&[("a-b", "/x"), ("a.b", "/y")])).unwrap_err();
        assert_eq!(clash.variable, "CERTAGENT_DIR_A_B");
    }

    #[test]
    fn every_secret_setting_and_the_supervisors_socket_stay_with_us() {
        let removed = credentials();
        for name in [
            "VAULT_TOKEN",
            "BAO_TOKEN",
            "CERTAGENT_AUTH_TOKEN",
            "CERTAGENT_AUTH_SECRET_ID",
            "VAULT_HEADERS",
            "CERTAGENT_VAULT_HEADERS",
            "NOTIFY_SOCKET",
        ] {
            assert!(removed.iter().any(|one| one == name), "{name}");
        }
    }
}
