//! Where HashiCorp Vault answers other than OpenBao: the one table.
//!
//! What stays true: a test does not ask which server it runs on, it asks for a row of this table; and
//! docs/compatibility.md has the same rows.

use std::path::PathBuf;

use super::tool;

/// The server that the tests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// Version 2.7.2, as `integration/tools/install` brings it.
    OpenBao,
    /// Version 1.14 or later, named by `CERTAGENT_VAULT`; the rows were measured with 1.14.1.
    Vault,
}

impl Product {
    /// The one of this run.
    pub(crate) fn tested() -> Self {
        match std::env::var_os("CERTAGENT_VAULT") {
            Some(path) if !path.is_empty() => Self::Vault,
            _ => Self::OpenBao,
        }
    }

    /// Its program.
    pub(crate) fn program(self) -> PathBuf {
        tool(match self {
            Self::OpenBao => "openbao",
            Self::Vault => "vault",
        })
    }

    /// What this server says where the two differ.
    pub(crate) fn expected(self, difference: Difference) -> &'static str {
        let row = DIFFERENCES.iter().find(|row| row.0 == difference).unwrap();
        match self {
            Self::OpenBao => row.2,
            Self::Vault => row.3,
        }
    }
}

/// Something in which the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// `issue` for a role of `key_type = "any"`.
    IssueForAnyKey,
    /// Namespaces.
    Namespaces,
    /// The login with a wrong AppRole secret id.
    WrongSecretId,
    /// The warnings at `issue` with `key_type` and `key_bits` as the role has them.
    IgnoredKeyType,
}

/// What differs, in words, with the answer of OpenBao 2.7.2 and of Vault 1.14.1. docs/compatibility.md
/// has these rows.
const DIFFERENCES: &[(Difference, &str, &str, &str)] = &[
    (
        Difference::IssueForAnyKey,
        "`issue` for a role of `key_type = \"any\"`",
        "/v1/pki/issue/any",
        "only signing",
    ),
    (
        Difference::Namespaces,
        "making a namespace",
        "",
        "enterprise-only feature",
    ),
    (
        Difference::WrongSecretId,
        "AppRole login with a wrong secret id",
        "invalid role or secret ID",
        "invalid secret id",
    ),
    (
        Difference::IgnoredKeyType,
        "`key_type` in an order, where the role has one",
        "[]",
        "Endpoint ignored these unrecognized parameters",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_difference() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
        let text = std::fs::read_to_string(file).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        for (_, what, _, vault) in DIFFERENCES {
            let row = rows.iter().find(|row| row.contains(what));
            let row = row.unwrap_or_else(|| panic!("docs/compatibility.md lacks: {what}"));
            assert!(row.contains(vault), "{row}");
        }
    }
}
