//! The variables of the Vault and OpenBao clients that are no setting: obeyed, refused, or noted.
//!
//! Never drops one in silence: `check-config` shows what has no effect. Facts: OpenBao api/client.go
//! and Vault api/client.go (research: vault.md 2.9).

use super::{
    layers::{Gathered, issuer_variable},
    problem::Source,
    table::SETTINGS,
    values,
};

/// What becomes of a variable when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Refused when true; also when it is no truth value.
    RefusedWhenTrue(&'static str),
    /// Refused whenever it is set.
    Refused(&'static str),
    /// Obeyed, elsewhere.
    Obeyed(&'static str),
    /// Has no effect; a note says so.
    Noted(&'static str),
}

use crate::model::cover;
use Treatment::{Noted, Obeyed, Refused, RefusedWhenTrue};

/// Names without `VAULT_` or `BAO_`.
pub(super) const OTHERS: &[(&str, Treatment)] = &[
    (
        "SKIP_VERIFY",
        RefusedWhenTrue(
            "certagent never connects to a Vault that it cannot verify: whoever answers would \
             decide which keys and trust anchors you serve; set CACERT to the CA of Vault's \
             certificate instead",
        ),
    ),
    (
        "SRV_LOOKUP",
        RefusedWhenTrue(
            "SRV records are not resolved; list the addresses in vault.address, they are tried in \
             that sequence",
        ),
    ),
    (
        "WRAP_TTL",
        Refused("a wrapped answer contains no certificate"),
    ),
    (
        "MFA",
        Refused("certagent can't answer an MFA request; use a login without MFA"),
    ),
    (
        "CLIENT_CERT_BYTES",
        Refused("write it into a file and set CLIENT_CERT"),
    ),
    (
        "CLIENT_KEY_BYTES",
        Refused("write it into a file with mode 0600 and set CLIENT_KEY"),
    ),
    (
        "TOKEN_PATH",
        Obeyed("file of the method token_file, when auth.path is not set"),
    ),
    ("CLI_NO_COLOR", Obeyed("as NO_COLOR")),
    (
        "FORMAT",
        Noted("it is for Vault's CLI; certagent has --output and --log-format"),
    ),
    (
        "LOG_LEVEL",
        Noted("it is for Vault's CLI and server; certagent has --log-level"),
    ),
    ("CLUSTER_ADDR", Noted("it is for Vault's server")),
    ("REDIRECT_ADDR", Noted("it is for Vault's server")),
    ("API_ADDR", Noted("it is for Vault's server")),
];

/// Every variable of the clients that certagent knows, without its prefix, and what becomes of it;
/// for the documentation.
#[must_use]
pub fn issuer_variables() -> Vec<(&'static str, String)> {
    let settings = SETTINGS.iter().flat_map(|one| {
        one.issuer
            .iter()
            .map(|name| (*name, format!("sets `{}`", one.path())))
    });
    let others = OTHERS.iter().map(|(name, treatment)| {
        let what = match treatment {
            RefusedWhenTrue(why) => format!("refused when true: {why}"),
            Refused(why) => format!("refused: {why}"),
            Obeyed(why) => format!("obeyed: {why}"),
            Noted(why) => format!("no effect, with a note: {why}"),
        };
        (*name, what)
    });
    settings.chain(others).collect()
}

pub(super) fn check(all: &mut Gathered<'_>) {
    for (name, treatment) in OTHERS {
        let Some((variable, text)) = issuer_variable(name, all.environment) else {
            continue;
        };
        let source = Some(Source::Variable(variable.clone()));
        match treatment {
            RefusedWhenTrue(why) => match values::truth(text) {
                Ok(false) => {}
                Ok(true) => all.problems.add(source, "", format!("refused: {why}")),
                Err(error) => {
                    let text = cover::setting(text);
                    all.problems.add(source, "", format!("{text:?}: {error}"));
                }
            },
            Refused(why) => all.problems.add(source, "", format!("refused: {why}")),
            Obeyed(_) => {}
            Noted(why) => all.notes.push(format!("{variable}: has no effect: {why}")),
        }
    }
    unknown(all);
    usual_proxies(all);
}

fn unknown(all: &mut Gathered<'_>) {
    let known = |rest: &str| {
        SETTINGS.iter().any(|one| one.issuer.contains(&rest))
            || OTHERS.iter().any(|(name, _)| *name == rest)
    };
    for name in all.environment.keys() {
        let rest = name
            .strip_prefix("BAO_")
            .or_else(|| name.strip_prefix("VAULT_"));
        if rest.is_some_and(|rest| !known(rest)) {
            all.notes
                .push(format!("{name}: has no effect: certagent does not know it"));
        }
    }
}

/// The issuer's token must not pass through a proxy that is set for web pages.
fn usual_proxies(all: &mut Gathered<'_>) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            if all
                .environment
                .get(&name)
                .is_some_and(|text| !text.is_empty())
            {
                all.notes.push(format!(
                    "{name}: has no effect: only vault.proxy (VAULT_PROXY_ADDR) is obeyed"
                ));
            }
        }
    }
}
