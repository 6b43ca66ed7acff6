//! Vault policies: enough HCL, path matching and precedence to allow or deny a request.
//!
//! Never knows tokens. What stays true: without a matching rule, or with `deny` in it, the answer
//! is no.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use hcl_edit::{expr::Expression, structure::Body};

/// What OpenBao's built-in `default` policy allows, as far as the embedded PKI has the paths.
pub(super) const DEFAULT_POLICY: &str = r#"
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/wrapping/wrap" { capabilities = ["update"] }
path "sys/wrapping/lookup" { capabilities = ["update"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }
"#;

/// One policy: its text and its rules.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) text: String,
    rules: BTreeMap<String, BTreeSet<String>>,
}

impl Policy {
    /// Parses policy HCL (or its JSON form).
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let body: Body = text.parse().map_err(|error: hcl_edit::parser::Error| {
            format!("at {}: {}", error.location().line(), error.message())
        })?;
        let mut rules = BTreeMap::<String, BTreeSet<String>>::new();
        for block in body.blocks() {
            if block.ident.as_str() != "path" {
                return Err(format!("invalid key \"{}\"", block.ident.as_str()));
            }
            let Some(path) = block.labels.first() else {
                return Err("a path block without a path".to_owned());
            };
            let caps = rules
                .entry(path.as_str().trim_start_matches('/').to_owned())
                .or_default();
            for attribute in block.body.attributes() {
                if attribute.key.as_str() == "capabilities" {
                    caps.extend(capabilities(&attribute.value)?);
                }
            }
        }
        Ok(Self {
            text: text.to_owned(),
            rules,
        })
    }
}

fn capabilities(expression: &Expression) -> Result<Vec<String>, String> {
    let Expression::Array(items) = expression else {
        return Err("capabilities must be a list".to_owned());
    };
    let mut names = Vec::new();
    for item in items {
        match item {
            Expression::String(name) => names.push(name.as_str().to_owned()),
            _ => return Err("capabilities must be strings".to_owned()),
        }
    }
    Ok(names)
}

/// The capabilities that `policies` together give on `path`; `["deny"]` when there are none.
pub(super) fn capabilities_on<'a>(
    policies: impl Iterator<Item = &'a Policy>,
    path: &str,
) -> Vec<String> {
    let mut union = BTreeMap::<&str, BTreeSet<&str>>::new();
    for policy in policies {
        for (pattern, caps) in &policy.rules {
            if matches(pattern, path) {
                union
                    .entry(pattern)
                    .or_default()
                    .extend(caps.iter().map(String::as_str));
            }
        }
    }
    let best = union.into_iter().max_by(|a, b| precedence(a.0, b.0));
    let caps = best.map(|(_, caps)| caps).unwrap_or_default();
    if caps.is_empty() || caps.contains("deny") {
        return vec!["deny".to_owned()];
    }
    caps.into_iter().map(str::to_owned).collect()
}

/// Whether a rule's path covers a request's: `*` at the end is a prefix match, `+` is one segment.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, prefix) = match pattern.strip_suffix('*') {
        Some(cut) => (cut, true),
        None => (pattern, false),
    };
    if !pattern.contains('+') {
        return match prefix {
            true => path.starts_with(pattern),
            false => path == pattern,
        };
    }
    let wanted: Vec<&str> = pattern.split('/').collect();
    let given: Vec<&str> = path.split('/').collect();
    if given.len() < wanted.len() || (!prefix && given.len() != wanted.len()) {
        return false;
    }
    let last = wanted.len() - 1;
    wanted
        .iter()
        .zip(&given)
        .enumerate()
        .all(|(at, (w, g))| *w == "+" || (w == g) || (prefix && at == last && g.starts_with(w)))
}

/// Vault's rules of precedence between two paths that both match ("Policies", priority matching).
fn precedence(a: &str, b: &str) -> Ordering {
    let wildcard = |path: &str| path.find(['+', '*']).unwrap_or(usize::MAX);
    let star = |path: &str| path.ends_with('*');
    let plus = |path: &str| path.matches('+').count();
    wildcard(a)
        .cmp(&wildcard(b))
        .then(star(b).cmp(&star(a)))
        .then(plus(b).cmp(&plus(a)))
        .then(a.len().cmp(&b.len()))
        .then(a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(path: &str) -> Vec<String> {
        let policy = Policy::parse(
            r#"
            path "pki/issue/internal" { capabilities = ["update"] }
            path "pki/sign/*" { capabilities = ["create"] }
            path "pki/sign/x*" { capabilities = ["deny", "update"] }
            path "pki_int/+/internal" { capabilities = ["create", "update"] }
            path "+/issue/*" { capabilities = ["read"] }
            "#,
        )
        .expect("a policy");
        capabilities_on([policy].iter(), path)
    }

    #[test]
    fn the_most_specific_rule_wins() {
        for (path, expected) in [
            ("pki/issue/internal", &["update"][..]),
            ("pki/issue/other", &["read"]),
            ("pki/sign/a", &["create"]),
            ("pki/sign/xa", &["deny"]),
            ("pki_int/issue/internal", &["create", "update"]),
            ("pki_int/sign/internal/x", &["deny"]),
            ("pki/roles/internal", &["deny"]),
        ] {
            assert_eq!(on(path), expected, "{path}");
        }
    }

    #[test]
    fn the_default_policy_parses() {
        assert!(Policy::parse(DEFAULT_POLICY).is_ok());
        assert!(Policy::parse("path {").is_err());
    }
}
