//! What Vault and OpenBao say when they refuse, and what it means: one table.
//!
//! The API has status codes for few faults only, so these are distinguished by the server's own words.
//! What stays true: each row names who says it, and a test asks the real OpenBao for each that is
//! its own.

use crate::model::{
    failure::FailureClass::{self, Denied, Misconfigured, Throttled, Unavailable},
    origin::{KEY_NOT_ALLOWED, KEY_TYPE_MISSING, ROLE_ONLY_SIGNS},
};

/// Which requests a message answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A login.
    Login,
    /// Anything but a login.
    Request,
    /// Both.
    Any,
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaidBy {
    /// OpenBao 2.7.2: `integration/cases/openbao/messages.rs` makes it say so.
    OpenBao,
    /// Vault 1.14.1 only: the same test on it, and `tests/vault-1.14.1.json` for those without.
    Vault,
    /// What the tests can't provoke: the place in OpenBao's source, or another server.
    Other(&'static str),
}

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// HTTP status; 500 stands for all from 500 to 599.
    pub status: u16,
    /// What it answers.
    pub call: Call,
    /// Part of the text.
    pub part: &'static str,
    /// Who says it.
    pub said_by: SaidBy,
    /// What it means.
    pub class: FailureClass,
    /// A short stable code.
    pub code: &'static str,
    /// What to do; empty when there is nothing to say.
    pub hint: &'static str,
}

/// The first message of the table that fits.
pub(super) fn find(status: u16, login: bool, text: &str) -> Option<&'static Message> {
    let status = if status >= 500 { 500 } else { status };
    MESSAGES.iter().find(|message| {
        let answers = match message.call {
            Call::Login => login,
            Call::Request => !login,
            Call::Any => true,
        };
        message.status == status && answers && text.contains(message.part)
    })
}

const fn row(
    (status, call, said_by): (u16, Call, SaidBy),
    part: &'static str,
    class: FailureClass,
    code: &'static str,
    hint: &'static str,
) -> Message {
    Message {
        status,
        call,
        part,
        said_by,
        class,
        code,
        hint,
    }
}

const LOGIN: (u16, Call, SaidBy) = (400, Call::Login, SaidBy::OpenBao);
const REQUEST: (u16, Call, SaidBy) = (400, Call::Request, SaidBy::OpenBao);
const FAULT: (u16, Call, SaidBy) = (500, Call::Any, SaidBy::OpenBao);
const HANDLER: SaidBy =
    SaidBy::Other("OpenBao 2.7.2, internal/http/handler.go: a cluster without a leader");
const INIT: SaidBy = SaidBy::Other("Vault and OpenBao, before sys/init");
const SMALL: SaidBy = SaidBy::Other("OpenBao 2.7.2, measured with a CSR of 1024 bits");
const BOUND: SaidBy =
    SaidBy::Other("OpenBao 2.7.2, builtin/logical/pki: only for a request with not_after");

const MAKE_CA: &str = "make or import a CA in this mount and set it as default";
const CLOCKS: &str = "compare the clocks of this machine, of Nomad's servers and of Vault";
const ROLE_NAME: &str = "check the role's name in this auth mount";
const SECRET_ID: &str =
    "role id or secret id is wrong, has expired or was used up: issue a new secret id";
const ONLY_SIGNS: &str = "use mode sign (or auto, with `update` on the role's sign path in the token's policy), \
                          or give the role a key_type other than any";
const ALLOW_IP: &str =
    "let the role allow it (allow_ip_sans, allowed_ip_sans_cidr), or leave the name out";
const CERTIFICATE: &str = "the auth mount must contain the CA of this client certificate, and the certificate must be valid";

/// All messages; the first that fits counts.
#[rustfmt::skip]
pub const MESSAGES: &[Message] = &[
    // Permanent faults of the mount, which come as 500.
    row(FAULT, "unable to find PKI issuer", Misconfigured, "unknown-issuer", "the role names an \
                                                                              issuer that no \
                                                                              longer exists: set \
                                                                              its issuer_ref"),
    row(FAULT, "no default issuer", Misconfigured, "no-issuer", MAKE_CA),
    row(FAULT, "could not fetch the CA certificate", Misconfigured, "no-issuer", MAKE_CA),
    row(FAULT, "requested usage", Misconfigured, "issuer-usage", "give the role's issuer the usage issuing-certificates"),
    row(FAULT, "RSA keys <", Misconfigured, "key-not-allowed", "use at least rsa-2048"),
    row(FAULT, "does not exist during renewal", Denied, "role-removed", "the auth role no longer \
                                                                         exists: create it again"),
    // A server that can't serve now.
    row(FAULT, "sealed", Unavailable, "sealed", "unseal it; the published certificate stays in use"),
    row((500, Call::Any, HANDLER), "not active", Unavailable, "standby", ""),
    row((500, Call::Any, HANDLER), "no active", Unavailable, "standby", ""),
    row((500, Call::Any, INIT), "not initialized", Unavailable, "not-initialized", "initialise and unseal it"),
    row((429, Call::Any, SaidBy::OpenBao), "quota", Throttled, "rate-limited", "raise Vault's rate limit quota for this path"),
    row((404, Call::Any, SaidBy::OpenBao), "namespace not found", Misconfigured, "namespace-not-found", "check the namespace"),
    // A wrapped secret id is unwrapped before the login.
    row((400, Call::Any, SaidBy::OpenBao), "wrapping token is not valid", Denied, "wrapping-token-used", "another \
                                                                                                          party \
                                                                                                          may \
                                                                                                          have \
                                                                                                          unwrapped \
                                                                                                          it: \
                                                                                                          treat \
                                                                                                          the \
                                                                                                          secret \
                                                                                                          id \
                                                                                                          as \
                                                                                                          stolen, \
                                                                                                          destroy \
                                                                                                          it \
                                                                                                          and \
                                                                                                          issue \
                                                                                                          a \
                                                                                                          new \
                                                                                                          one"),
    // Refused logins. None of them is for ever: a new file, clock or role can cure it.
    row(LOGIN, "token is expired", Denied, "jwt-expired", "wait until the file is rewritten; check that Nomad's servers can be reached"),
    row(LOGIN, "not yet valid", Denied, "jwt-not-yet-valid", CLOCKS),
    row(LOGIN, "issued at", Denied, "jwt-not-yet-valid", CLOCKS),
    row(LOGIN, "audience", Denied, "jwt-audience", "the role's bound_audiences must contain the \
                                                    identity's aud"),
    row(LOGIN, "signature", Denied, "jwt-signature", "the auth mount must know the signer's public keys (jwks_url, jwt_validation_pubkeys)"),
    row(LOGIN, "claim", Denied, "jwt-claims", "compare the role's bound_claims and user_claim with the token's claims"),
    row(LOGIN, "invalid role or secret ID", Denied, "secret-id-refused", SECRET_ID),
    row((400, Call::Login, SaidBy::Vault), "invalid secret id", Denied, "secret-id-refused", SECRET_ID),
    row((400, Call::Login, SaidBy::Vault), "invalid role ID", Denied, "secret-id-refused", SECRET_ID),
    row(LOGIN, "missing secret_id", Denied, "secret-id-refused", "the role wants a secret id: configure one"),
    row(LOGIN, "client certificate", Denied, "client-certificate-refused", CERTIFICATE),
    row(LOGIN, "could not be found", Denied, "login-role-unknown", ROLE_NAME),
    row(LOGIN, "invalid role name", Denied, "login-role-unknown", ROLE_NAME),
    row(LOGIN, "missing role", Denied, "login-role-unknown", "name a role: the auth mount has no default role"),
    row(LOGIN, "oidc", Denied, "login-role-unknown", "the role needs role_type jwt"),
    // Refused issuance requests.
    row(REQUEST, "unknown role", Misconfigured, "unknown-role", "check the role's name, or make the role in this mount"),
    row(REQUEST, "beyond the expiration of the CA", Misconfigured, "ca-ends-first", "renew the CA, \
                                                                                     set a shorter \
                                                                                     ttl, or set \
                                                                                     leaf_not_after_behavior"),
    row(REQUEST, "Either ttl or not_after", Misconfigured, "role-has-not-after", "the role has a \
                                                                                  fixed not_after: \
                                                                                  remove it, \
                                                                                  certagent always \
                                                                                  sends a ttl"),
    row((400, Call::Request, BOUND), "not_after_bound", Misconfigured, "role-has-not-after", "the role bounds not_after: certagent sends a ttl"),
    row(REQUEST, "not allowed by this role", Misconfigured, "name-not-allowed", "let the role \
                                                                                 allow it \
                                                                                 (allowed_domains, \
                                                                                 allow_subdomains, \
                                                                                 allow_bare_domains), \
                                                                                 or request \
                                                                                 another name"),
    row(REQUEST, "is not allowed in this role", Misconfigured, "name-not-allowed", ALLOW_IP),
    row(REQUEST, "Subject Alternative Names are not allowed", Misconfigured, "name-not-allowed", "let the role allow it (allow_ip_sans, allowed_uri_sans), or leave the name out"),
    row(REQUEST, "not valid for this role", Misconfigured, "name-not-allowed", "let the role's allowed_uri_sans match it"),
    row(REQUEST, "is not a valid IP address", Misconfigured, "name-not-allowed", "check the IP SANs"),
    row(REQUEST, "common_name field is required", Misconfigured, "common-name-missing", "set common_name, or require_cn=false in the role"),
    row(REQUEST, "role requires", Misconfigured, KEY_NOT_ALLOWED, "set key_type to what the role asks for"),
    row((400, Call::Request, SMALL), "RSA keys <", Misconfigured, "key-not-allowed", "use at least rsa-2048"),
    row(REQUEST, "without providing key_type", Misconfigured, KEY_TYPE_MISSING, "set key_type, or give the role a key_type other than any"),
    row((400, Call::Request, SaidBy::Vault), "not allowed for issuing certificates, only signing", Misconfigured, ROLE_ONLY_SIGNS, ONLY_SIGNS),
    row(REQUEST, "for field \"ttl\"", Misconfigured, "ttl", "check the ttl"),
];
