//! What a token may do: the built-in policies `root`, `default` and `certagent`, as a table.
//!
//! Never parses a policy: no policy can be written here.

/// What `default` and `certagent` allow; `+` is one segment (Vault, "Policies", "Policy syntax").
const RULES: &[(&str, &str, &str)] = &[
    ("default", "auth/token/lookup-self", "read"),
    ("default", "auth/token/renew-self", "update"),
    ("default", "auth/token/revoke-self", "update"),
    ("default", "sys/capabilities-self", "update"),
    ("certagent", "+/issue/internal", "update"),
    ("certagent", "+/sign/internal", "update"),
    ("certagent", "+/issuer/+", "read"),
];

/// The capabilities on a path; `deny` when there is none.
pub(crate) fn capabilities(policies: &[&str], path: &str) -> Vec<&'static str> {
    if policies.contains(&"root") {
        return vec!["root"];
    }
    let rule = RULES
        .iter()
        .find(|(policy, pattern, _)| policies.contains(policy) && covers(pattern, path));
    vec![rule.map_or("deny", |(_, _, capability)| capability)]
}

/// Whether these policies give the capability on the path.
pub(crate) fn allows(policies: &[&str], path: &str, capability: &str) -> bool {
    let given = capabilities(policies, path);
    given
        .iter()
        .any(|given| *given == "root" || *given == capability)
}

fn covers(pattern: &str, path: &str) -> bool {
    let (wanted, given) = (pattern.split('/'), path.split('/'));
    wanted.clone().count() == given.clone().count()
        && wanted
            .zip(given)
            .all(|(wanted, given)| wanted == "+" || wanted == given)
}
