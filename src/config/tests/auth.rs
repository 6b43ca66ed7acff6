//! Which method is chosen, and what it needs.

use std::path::Path;

use super::super::{Environment, Flags};
use super::{env, load, refused, try_load};

fn with(pairs: &[(&str, &str)]) -> Environment {
    let mut environment = env(&[
        ("CERTAGENT_COMPONENT", "a"),
        ("CERTAGENT_NODE_IP", "192.0.2.1"),
    ]);
    environment.extend(env(pairs));
    environment
}

fn touch(path: &Path) {
    crate::publish::file::replace(path, b"x", 0o600).unwrap();
}

fn method(environment: &Environment) -> (String, String) {
    let loaded = try_load("", environment, &Flags::default()).unwrap();
    let row = loaded
        .table
        .iter()
        .find(|row| row.key == "auth.method")
        .unwrap();
    (row.values[0].to_string(), row.source.to_string())
}

#[test]
fn the_method_follows_from_what_is_there_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().to_str().unwrap();
    let base = [("NOMAD_SECRETS_DIR", secrets)];
    let text = refused("", &with(&base), &Flags::default());
    assert!(
        text.starts_with("auth.method: no way to authenticate"),
        "{text}"
    );

    let certificate = [
        ("VAULT_CLIENT_CERT", "/c.pem"),
        ("VAULT_CLIENT_KEY", "/k.pem"),
        ("NOMAD_SECRETS_DIR", secrets),
    ];
    let from = |text: &str| format!("from {text}");
    assert_eq!(
        method(&with(&certificate)),
        ("cert".into(), from("vault.client_cert"))
    );

    let token = dir.path().join("vault_token");
    touch(&token);
    assert_eq!(
        method(&with(&base)),
        ("token_file".into(), from(token.to_str().unwrap()))
    );
    let named = [("BAO_TOKEN_PATH", "/t"), base[0]];
    assert_eq!(
        method(&with(&named)),
        ("token_file".into(), from("BAO_TOKEN_PATH"))
    );

    let jwt = dir.path().join("nomad_certagent.jwt");
    touch(&jwt);
    assert_eq!(
        method(&with(&base)),
        ("jwt".into(), from(jwt.to_str().unwrap()))
    );

    let role = [("CERTAGENT_AUTH_ROLE_ID", "r"), base[0]];
    assert_eq!(
        method(&with(&role)),
        ("approle".into(), from("CERTAGENT_AUTH_ROLE_ID"))
    );

    let token = [("BAO_TOKEN", "s.x"), base[0]];
    assert_eq!(method(&with(&token)), ("token".into(), from("BAO_TOKEN")));
}

#[test]
fn every_method_can_be_written_in_the_file() {
    let client = "vault {\n client_cert = \"/c\"\n client_key = \"/k\"\n}\n";
    let cases = [
        (
            "auth \"jwt\" {\n path = \"/j\"\n role = \"r\"\n}",
            "Jwt { mount: \"jwt-nomad\", role: Some(\"r\"), path: CredentialPath { path: \"/j\", file_uid: None } }",
        ),
        (
            "auth \"token_file\" {\n path = \"/t\"\n file_uid = 100\n}",
            "TokenFile(CredentialPath { path: \"/t\", file_uid: Some(100) })",
        ),
        (
            "auth \"approle\" {\n role_id = \"r\"\n secret_id_path = \"/s\"\n secret_id_wrapped = true\n}",
            "AppRole { mount: \"approle\", role_id: \"r\", secret_id_path: Some(CredentialPath { path: \"/s\", file_uid: None }), secret_id: None, wrapped: true }",
        ),
        (
            "auth \"cert\" {\n mount = \"tls\"\n}",
            "Cert { mount: \"tls\", role: None }",
        ),
        (
            "auth \"kubernetes\" {\n role = \"r\"\n}",
            "Kubernetes { mount: \"kubernetes\", role: \"r\", path: CredentialPath { path: \"/var/run/secrets/kubernetes.io/serviceaccount/token\", file_uid: None } }",
        ),
    ];
    for (text, wanted) in cases {
        let config = load(&format!("{client}{text}"), &with(&[]), &Flags::default());
        assert_eq!(format!("{:?}", config.auth), wanted);
    }
    let config = load(
        "auth \"token\" {}",
        &with(&[("VAULT_TOKEN", "s.x")]),
        &Flags::default(),
    );
    assert_eq!(format!("{:?}", config.auth), "Token([secret])");
}

#[test]
fn what_a_method_needs_and_does_not_have_is_named() {
    let cases = [
        ("auth \"token\" {}", "auth.token: set VAULT_TOKEN"),
        (
            "auth \"token_file\" {}",
            "auth.path: the method token_file needs a file",
        ),
        (
            "auth \"approle\" {}",
            "auth.role_id: the method approle needs a role id",
        ),
        ("auth \"cert\" {}", "auth.method: needs vault.client_cert"),
        (
            "auth \"kubernetes\" {}",
            "auth.role: the method kubernetes needs a role",
        ),
        ("auth \"oidc\" {}", "auth.method: \"oidc\": not a method"),
        (
            "auth \"jwt\" {\n path = \"/j\"\n role_id = \"r\"\n}",
            "auth.role_id: not used by jwt, which takes mount, role, path, file_uid",
        ),
        (
            "auth \"approle\" {\n role_id = \"r\"\n file_uid = 100\n}",
            "auth.file_uid: there is no secret_id_path",
        ),
        (
            "auth \"token_file\" {\n path = \"/t\"\n file_uid = \"vault\"\n}",
            "auth.file_uid: \"vault\": not a whole number",
        ),
        (
            "auth \"cert\" {\n file_uid = 100\n}",
            "auth.file_uid: not used by cert, which takes mount, role",
        ),
    ];
    for (text, wanted) in cases {
        let found = refused(text, &with(&[]), &Flags::default());
        assert!(found.contains(wanted), "{text}: {found}");
        assert!(found.starts_with("test.hcl:"), "{found}");
    }
}

#[test]
fn another_method_on_the_command_line_leaves_the_block_aside() {
    let text = "auth \"jwt\" {\n path = \"/j\"\n role = \"r\"\n}";
    let flags = Flags::default().with("auth", "token");
    let config = load(text, &with(&[("VAULT_TOKEN", "s.x")]), &flags);
    assert_eq!(format!("{:?}", config.auth), "Token([secret])");
}
