//! Which class, code and next step an answer of the issuer has.

use super::*;
use AfterRefusal::{Elsewhere, LoginAgain, Settle, Stop};
use FailureClass::{Denied, Misconfigured, Throttled, Unavailable};
use Who::{Login, Nobody, Token};

const ACL: &str = "1 error occurred:\n\t* permission denied\n\n";

/// Status, text, whose request it was; class, code, next step. Each row is a real answer.
const ANSWERS: &[(u16, &str, Who, FailureClass, &str, AfterRefusal)] = &[
    (
        403,
        "permission denied",
        Token,
        Denied,
        "token-invalid",
        LoginAgain,
    ),
    (
        403,
        "permission denied; invalid token",
        Token,
        Denied,
        "token-invalid",
        LoginAgain,
    ),
    (403, ACL, Token, Denied, "permission-denied", Settle),
    (
        403,
        "permission denied",
        Login,
        Denied,
        "login-forbidden",
        Stop,
    ),
    (403, "permission denied", Nobody, Denied, "forbidden", Stop),
    (
        404,
        "namespace not found",
        Token,
        Misconfigured,
        "namespace-not-found",
        Stop,
    ),
    (
        404,
        "no handler for route \"x\"",
        Token,
        Misconfigured,
        "no-such-path",
        Stop,
    ),
    (404, "", Nobody, Misconfigured, "empty-list", Stop),
    (
        405,
        "unsupported operation",
        Token,
        Misconfigured,
        "unsupported-operation",
        Stop,
    ),
    (
        412,
        "required index state not present",
        Token,
        Unavailable,
        "replication-lag",
        Elsewhere,
    ),
    (
        429,
        "request path \"pki/issue/x\": rate limit quota exceeded",
        Token,
        Throttled,
        "rate-limited",
        Stop,
    ),
    (429, "", Token, Throttled, "busy", Stop),
    (473, "", Token, Unavailable, "standby", Elsewhere),
    (
        500,
        "could not fetch the CA certificate (was one set?): no default issuer currently configured",
        Token,
        Misconfigured,
        "no-issuer",
        Stop,
    ),
    (
        500,
        "error fetching CA certificate: error while attempting to use issuer x: requested usage issuing-certificates",
        Token,
        Misconfigured,
        "issuer-usage",
        Stop,
    ),
    (
        500,
        "unable to find PKI issuer for reference: x",
        Nobody,
        Misconfigured,
        "unknown-issuer",
        Stop,
    ),
    (
        500,
        "local node not active but active cluster node not found",
        Token,
        Unavailable,
        "standby",
        Elsewhere,
    ),
    (
        500,
        "failed to renew entry: role x does not exist during renewal",
        Token,
        Denied,
        "role-removed",
        LoginAgain,
    ),
    (
        500,
        "internal error",
        Token,
        Unavailable,
        "server-error",
        Elsewhere,
    ),
    (
        503,
        "Vault is sealed",
        Token,
        Unavailable,
        "sealed",
        Elsewhere,
    ),
    (
        503,
        "node is not active",
        Token,
        Unavailable,
        "standby",
        Elsewhere,
    ),
    (
        503,
        "no active Vault instance found",
        Token,
        Unavailable,
        "standby",
        Elsewhere,
    ),
    (
        400,
        "unknown role: x",
        Token,
        Misconfigured,
        "unknown-role",
        Settle,
    ),
    (
        400,
        "common name x not allowed by this role",
        Token,
        Misconfigured,
        "name-not-allowed",
        Stop,
    ),
    (
        400,
        "IP Subject Alternative Names are not allowed in this role, but was provided via the API",
        Token,
        Misconfigured,
        "name-not-allowed",
        Stop,
    ),
    (
        400,
        "cannot satisfy request, as TTL would result in notAfter of X that is beyond the expiration of the CA certificate at Y",
        Token,
        Misconfigured,
        "ca-ends-first",
        Stop,
    ),
    (
        400,
        "Either ttl or not_after should be provided. Both should not be provided in the same request.",
        Token,
        Misconfigured,
        "role-has-not-after",
        Stop,
    ),
    (
        400,
        "role requires keys of type ec",
        Token,
        Misconfigured,
        "key-not-allowed",
        Stop,
    ),
    (400, "something new", Token, Misconfigured, "refused", Stop),
    (
        400,
        "wrapping token is not valid or does not exist",
        Nobody,
        Denied,
        "wrapping-token-used",
        Stop,
    ),
    (
        400,
        "error validating token: invalid expiration time (exp) claim: token is expired",
        Login,
        Denied,
        "jwt-expired",
        Stop,
    ),
    (
        400,
        "error validating token: invalid not before (nbf) claim: token not yet valid",
        Login,
        Denied,
        "jwt-not-yet-valid",
        Stop,
    ),
    (
        400,
        "invalid audience (aud) claim: audience claim does not match any expected audience",
        Login,
        Denied,
        "jwt-audience",
        Stop,
    ),
    (
        400,
        "error verifying token signature: no known key successfully validated the token signature",
        Login,
        Denied,
        "jwt-signature",
        Stop,
    ),
    (
        400,
        "claim \"/nomad_job_id\" not found in token",
        Login,
        Denied,
        "jwt-claims",
        Stop,
    ),
    (
        400,
        "invalid role or secret ID",
        Login,
        Denied,
        "secret-id-refused",
        Stop,
    ),
    (
        400,
        "invalid certificate or no client certificate supplied",
        Login,
        Denied,
        "client-certificate-refused",
        Stop,
    ),
    (
        400,
        "role \"x\" could not be found",
        Login,
        Denied,
        "login-role-unknown",
        Stop,
    ),
    (400, "something new", Login, Denied, "login-refused", Stop),
    // Said by Vault 1.14.1.
    (
        400,
        "invalid secret id",
        Login,
        Denied,
        "secret-id-refused",
        Stop,
    ),
    (
        400,
        "invalid role ID",
        Login,
        Denied,
        "secret-id-refused",
        Stop,
    ),
    (
        500,
        "could not fetch the CA certificate (was one set?): unable to find PKI issuer for reference: x",
        Token,
        Misconfigured,
        "unknown-issuer",
        Stop,
    ),
    // A path's name is none of the server's words about itself.
    (
        404,
        "no handler for route \"sealed/issue/x\"",
        Token,
        Misconfigured,
        "no-such-path",
        Stop,
    ),
];

fn said(text: &str) -> Said {
    let body = serde_json::json!({ "errors": [text] }).to_string();
    Said::read(body.as_bytes(), |text| text)
}

#[test]
fn every_known_answer_has_its_class_code_and_next_step() {
    for (status, text, who, class, code, next) in ANSWERS.iter().copied() {
        let judged = judge(status, &said(text), who);
        assert_eq!(
            (judged.class, judged.code, judged.next),
            (class, code, next),
            "{status} {text} {who:?}"
        );
    }
}

#[test]
fn a_page_from_a_proxy_is_not_taken_for_vaults_word() {
    let page =
        b"<html><head><title>403 Forbidden</title></head><body>permission denied</body></html>";
    let said = Said::read(page, |text| text);
    assert_eq!(said.text, "403 Forbidden permission denied");
    for status in [401, 403, 404, 400, 418] {
        let judged = judge(status, &said, Token);
        assert_eq!(
            (judged.class, judged.code),
            (Unavailable, "not-vault"),
            "{status}"
        );
        assert_eq!(judged.next, Elsewhere);
    }
    let judged = judge(
        502,
        &Said::read(b"<h1>Bad gateway</h1>", |text| text),
        Token,
    );
    assert_eq!((judged.class, judged.code), (Unavailable, "bad-gateway"));
    let plain = Said::read(
        b"Client sent an HTTP request to an HTTPS server.\n",
        |text| text,
    );
    assert_eq!(judge(400, &plain, Token).code, "https-expected");
}

#[test]
fn any_bytes_make_one_short_line() {
    for body in [
        &b""[..],
        b"\xff\xfe\x00",
        b"{\"errors\":null}",
        b"<",
        b"a\x1b[31mb\r\nc",
    ] {
        let said = Said::read(body, |text| text);
        assert!(!said.by_issuer);
        assert!(!said.text.chars().any(char::is_control), "{:?}", said.text);
    }
    let long = "\u{e9}".repeat(10_000);
    assert!(
        Said::read(long.as_bytes(), |text| text)
            .text
            .chars()
            .count()
            <= MAX_MESSAGE_CHARS + 3
    );
}

#[test]
fn an_underscore_is_named_where_a_name_is_not_allowed() {
    let hint = |text: &str| {
        let said = Said {
            by_issuer: true,
            text: text.to_owned(),
        };
        judge(400, &said, Token).hint
    };
    let name = "common name loki-read_write.service.consul not allowed by this role";
    assert!(hint(name).contains("underscore") && hint(name).contains("enforce_hostnames"));
    assert!(hint("common name x not allowed by this role").contains("allowed_domains"));
}

/// Answers of a real Vault, recorded, for machines without one.
#[test]
fn what_vault_was_heard_to_say_has_its_code() {
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("../tests/vault-1.14.1.json")).unwrap();
    let refusals = recorded["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 12);
    for refusal in refusals {
        let body = refusal["body"].to_string();
        let said = Said::read(body.as_bytes(), |text| text);
        let who = if refusal["login"] == true {
            Login
        } else {
            Token
        };
        let status = u16::try_from(refusal["status"].as_u64().unwrap()).unwrap();
        let judged = judge(status, &said, who);
        assert_eq!(judged.code, refusal["code"], "{}", refusal["what"]);
    }
}
