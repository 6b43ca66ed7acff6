//! Every reason for which an answer is refused: its stable code, what it means, what to do.
//!
//! Never changes a published name: metrics, logs and scripts use them. What stays true: the order
//! is the order of usefulness, the first problem of a refusal is the one to act on.

/// One reason for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable name, as `ip-missing`.
    pub name: &'static str,
    /// What was found.
    pub meaning: &'static str,
    /// What the reader can do.
    pub hint: &'static str,
}

const fn code(name: &'static str, meaning: &'static str, hint: &'static str) -> Code {
    Code {
        name,
        meaning,
        hint,
    }
}

const ISSUER: &str = "check Vault and any proxy in front of it";
const ROLE: &str = "change the role or the request";
const CHAIN: &str = "check the issuers of the mount and their manual_chain";
const FORMAT: &str = "certagent requests format=pem; find the proxy or plugin that changes it";

/// All codes, most useful first.
pub const CODES: &[Code] = &[
    // The body as a whole.
    code("body-empty", "the body is empty", ISSUER),
    code("body-too-large", "the body is larger than 1 MiB", ISSUER),
    code(
        "body-html",
        "the body is an HTML page",
        "VAULT_ADDR points at a web page or a proxy answered",
    ),
    code("body-not-utf8", "the body is not UTF-8 text", ISSUER),
    code(
        "body-truncated",
        "the JSON ends too early",
        "the connection was cut; retries continue",
    ),
    code("body-not-json", "the body is not JSON", ISSUER),
    code("body-not-object", "the JSON is not an object", ISSUER),
    code(
        "errors-listed",
        "Vault listed errors in a success answer",
        "read the errors; they are Vault's own",
    ),
    code(
        "answer-wrapped",
        "the answer is response-wrapped",
        "unset the wrap TTL for the PKI path",
    ),
    code("data-missing", "there is no `data`", ISSUER),
    code("data-null", "`data` is null", ISSUER),
    code("data-wrong-type", "`data` is not an object", ISSUER),
    // The certificate field.
    code("certificate-missing", "there is no certificate", ISSUER),
    code(
        "certificate-wrong-type",
        "`certificate` is not text",
        ISSUER,
    ),
    code("certificate-empty", "`certificate` is empty text", ISSUER),
    code(
        "certificate-der",
        "`certificate` is bare base64, as with format=der",
        FORMAT,
    ),
    code(
        "certificate-holds-key",
        "`certificate` contains a private key, as with format=pem_bundle",
        FORMAT,
    ),
    code(
        "certificate-not-pem",
        "`certificate` is not PEM, or there is junk in it",
        FORMAT,
    ),
    code(
        "certificate-label",
        "`certificate` contains another kind of PEM block",
        FORMAT,
    ),
    code(
        "certificate-several",
        "`certificate` contains several certificates",
        FORMAT,
    ),
    code(
        "certificate-malformed",
        "the certificate cannot be read",
        ISSUER,
    ),
    // The private key field.
    code(
        "key-missing",
        "there is no private key",
        "use mode sign, or a role path that makes keys",
    ),
    code("key-wrong-type", "`private_key` is not text", ISSUER),
    code("key-empty", "`private_key` is empty text", ISSUER),
    code(
        "key-unexpected",
        "Vault sent a private key although certagent sent a CSR",
        "the answer is for another request; check any proxy",
    ),
    code(
        "key-not-pem",
        "`private_key` is not PEM, or there is junk in it",
        FORMAT,
    ),
    code(
        "key-label",
        "`private_key` contains another kind of PEM block",
        FORMAT,
    ),
    code(
        "key-several",
        "`private_key` contains several PEM blocks",
        FORMAT,
    ),
    code(
        "key-encrypted",
        "the private key is encrypted",
        "certagent has no passphrase; let Vault send a plain key",
    ),
    code("key-malformed", "the private key cannot be read", ISSUER),
    code(
        "key-weak",
        "the key is weaker than RSA 2048 or P-256",
        "request, or let the role make, a stronger key",
    ),
    code(
        "key-unsupported",
        "the key is not P-256, P-384, P-521, Ed25519 or RSA",
        "set key_type of the role to one of those",
    ),
    // The chain fields.
    code(
        "chain-missing",
        "there is neither `ca_chain` nor `issuing_ca`",
        CHAIN,
    ),
    code("chain-wrong-type", "`ca_chain` is not a list", CHAIN),
    code(
        "chain-entry-wrong-type",
        "an entry of `ca_chain` is not text",
        CHAIN,
    ),
    code(
        "chain-not-pem",
        "an entry of `ca_chain` is not PEM, or there is junk in it",
        CHAIN,
    ),
    code(
        "chain-label",
        "an entry of `ca_chain` contains another kind of PEM block",
        CHAIN,
    ),
    code(
        "chain-holds-key",
        "an entry of `ca_chain` contains a private key",
        CHAIN,
    ),
    code(
        "chain-entry-several",
        "an entry of `ca_chain` contains several certificates",
        CHAIN,
    ),
    code(
        "chain-malformed",
        "a certificate of `ca_chain` cannot be read",
        CHAIN,
    ),
    code(
        "chain-too-long",
        "`ca_chain` has more than 16 entries",
        CHAIN,
    ),
    code("issuing-ca-wrong-type", "`issuing_ca` is not text", CHAIN),
    code(
        "issuing-ca-not-pem",
        "`issuing_ca` is not PEM, or there is junk in it",
        CHAIN,
    ),
    code("issuing-ca-malformed", "`issuing_ca` cannot be read", CHAIN),
    // Fields beside the certificate.
    code("serial-wrong-type", "`serial_number` is not text", ISSUER),
    code(
        "serial-disagrees",
        "`serial_number` is not the certificate's",
        ISSUER,
    ),
    code(
        "expiration-wrong-type",
        "`expiration` is not a number",
        ISSUER,
    ),
    code(
        "expiration-disagrees",
        "`expiration` is not the certificate's notAfter",
        ISSUER,
    ),
    code(
        "warnings-wrong-type",
        "`warnings` is not a list of texts",
        ISSUER,
    ),
    code("lease-wrong-type", "`lease_id` is not text", ISSUER),
    // A set read back from disk.
    code(
        "cert-file",
        "cert.pem cannot be read as certificates",
        "it is repaired or replaced",
    ),
    code(
        "ca-file",
        "CA.pem cannot be read as certificates",
        "it is repaired or replaced",
    ),
    code(
        "key-file",
        "key.pem cannot be read as a private key",
        "it is repaired or replaced",
    ),
    // What was issued.
    code(
        "leaf-is-ca",
        "the certificate is a CA",
        "leaf and CA are swapped, or the role issues CAs",
    ),
    code(
        "leaf-self-signed",
        "the certificate is self-signed",
        "leaf and CA are swapped, or the server is not a real Vault",
    ),
    code(
        "key-mismatch",
        "the private key does not fit the certificate",
        "the answer mixes two requests; check any cache or proxy",
    ),
    code(
        "key-type",
        "the key is of another kind than requested",
        "set key_type to what the role makes, or change the role",
    ),
    code(
        "validity-inverted",
        "notAfter is not after notBefore",
        ISSUER,
    ),
    code(
        "expired",
        "the certificate has expired already",
        "compare the clocks; check the notAfter of the issuing CA",
    ),
    code(
        "too-short",
        "its remaining validity is less than the required minimum",
        "raise the ttl; check the notAfter of the issuing CA",
    ),
    code(
        "serial-repeated",
        "the serial number is that of an earlier certificate",
        "Vault or a cache answers with an old certificate",
    ),
    code(
        "common-name",
        "the common name is not the requested one",
        ROLE,
    ),
    code(
        "san-missing",
        "there is no subject alternative name at all",
        ROLE,
    ),
    code(
        "common-name-not-san",
        "the common name is no DNS name of the certificate",
        "unset exclude_cn_from_sans, or use a host name",
    ),
    code(
        "dns-missing",
        "a requested DNS name is missing",
        "in mode sign check use_csr_sans of the role; else its allowed_domains",
    ),
    code(
        "ip-missing",
        "a requested IP address is missing",
        "in mode sign check use_csr_sans of the role; else allow_ip_sans",
    ),
    code(
        "uri-missing",
        "a requested URI is missing",
        "check allowed_uri_sans of the role",
    ),
    code(
        "server-auth",
        "extended key usage serverAuth is missing, or there is only `any`",
        "set server_flag=true and client_flag=true in the role",
    ),
    code(
        "client-auth",
        "extended key usage clientAuth is missing",
        "set client_flag=true in the role",
    ),
    code(
        "key-usage",
        "key usage digitalSignature is missing",
        "add DigitalSignature to key_usage of the role",
    ),
    // The chain as a whole.
    code("chain-not-ca", "an issuer in the chain is not a CA", CHAIN),
    code(
        "chain-unknown-issuer",
        "no chain leads from the certificate to an anchor",
        CHAIN,
    ),
    code(
        "chain-signature",
        "a signature in the chain is wrong",
        CHAIN,
    ),
    code(
        "chain-weak-signature",
        "a signature in the chain uses a weak or unknown algorithm",
        "re-issue that CA with SHA-256 or better",
    ),
    code(
        "chain-path-length",
        "the chain is longer than a CA in it allows",
        "check max_path_length of the CAs; at most 6 intermediates can be verified",
    ),
    code(
        "chain-name-constraint",
        "a CA in the chain forbids a name of the certificate",
        "check permitted_dns_domains of the CAs",
    ),
    code(
        "chain-key-usage",
        "a CA in the chain forbids this use",
        "check key usage and extended key usage of the CAs",
    ),
    code(
        "chain-critical-extension",
        "a critical extension in the chain is unknown",
        "re-issue that certificate with the extension not critical, or without it",
    ),
    code(
        "chain-expired",
        "an intermediate or the anchor has expired",
        "renew that CA or remove it from the chain",
    ),
    code(
        "chain-not-yet-valid",
        "an intermediate or the anchor is not valid yet",
        "compare the clocks; wait, or check the CA's notBefore",
    ),
    code("chain-invalid", "the chain does not verify", CHAIN),
    code(
        "issuer-sha256",
        "another issuer signed than the pinned one",
        "compare issuer_sha256 with the mount's default issuer",
    ),
];

/// The entry of a code.
#[must_use]
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// Where a code stands in the order of usefulness.
pub(super) fn rank(name: &str) -> usize {
    CODES
        .iter()
        .position(|code| code.name == name)
        .unwrap_or(CODES.len())
}
