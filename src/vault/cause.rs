//! Why no answer came: an error of the HTTP client to a code and what to do about it.
//!
//! Never decides by the text of another crate, but for one that hides its type: the chain of causes is
//! searched by type.

use std::{error::Error, io, iter::successors};

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

/// No answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub code: &'static str,
    /// All causes in one line, without the URL: the message names the address already.
    pub text: String,
    /// Empty when there is nothing to say.
    pub hint: &'static str,
    /// Vault may have got the request and acted on it.
    pub sent: bool,
}

/// The resolver has no address for a host.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NameNotFound(pub io::Error);

/// What a proxy wants that answers 407 (RFC 9110 section 15.5.8).
pub(super) const PROXY_USER: &str = "the proxy wants a user: write vault.proxy (VAULT_PROXY_ADDR) as http://user:password@host:port";

/// The words of hyper-util for a 407 to CONNECT: its `TunnelError` is not to be had as a type. A
/// test with a real proxy fails when they change.
const PROXY_WANTS_USER: &str = "proxy authorization required";

/// A code and what to do.
type Known = (&'static str, &'static str);

/// Judges why the client got no answer.
pub(super) fn trouble(error: &reqwest::Error) -> NoAnswer {
    let (code, hint) = match causes(error).find_map(known) {
        Some(known) => known,
        None if error.is_timeout() => (
            "timeout",
            "the server does not answer: check it and the network",
        ),
        None if error.is_connect() => ("connect", "check address and network"),
        None => ("connection-lost", ""),
    };
    let text = match code {
        "timeout" => "no answer in time".to_owned(),
        // what it is wrapped in says the same in other words
        "connect-refused" | "unreachable" | "name-not-found" => root(error),
        _ => chain(error),
    };
    NoAnswer {
        code,
        text,
        hint,
        sent: !error.is_connect(),
    }
}

/// The error and everything below it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| below(*error))
}

/// What an [`io::Error`] wraps is hidden from its `source`.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Known> {
    if let Some(error) = error.downcast_ref() {
        return tls(error);
    }
    if error.is::<NameNotFound>() {
        return Some((
            "name-not-found",
            "check the name in the address and the resolver",
        ));
    }
    if error.to_string().ends_with(PROXY_WANTS_USER) {
        return Some(("proxy-auth", PROXY_USER));
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some((
            "connect-refused",
            "no process listens there: check address and port",
        )),
        io::ErrorKind::NotFound => {
            Some(("connect-refused", "there is no such socket: check the path"))
        }
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Some(("unreachable", "check the network and the firewall")),
        _ => None,
    }
}

/// What rustls offers: TLS 1.3, and TLS 1.2 with ECDHE and AEAD.
const COMMON: &str = "no TLS version or cipher in common: let the server offer TLS 1.3, or TLS 1.2 \
                      with ECDHE and AES-GCM or ChaCha20-Poly1305 (tls_min_version, tls_cipher_suites)";

/// Certificates of a server that rustls-webpki refuses for their shape, and other clients take.
fn not_taken(error: &OtherError) -> Known {
    let hint = match error.0.downcast_ref() {
        Some(webpki::Error::CaUsedAsEndEntity) => {
            "the server shows a CA certificate as its own: issue one with basicConstraints CA:FALSE"
        }
        Some(webpki::Error::UnsupportedCertVersion) => {
            "the server's certificate is X.509 v1: issue it again as v3 with a subject alternative name"
        }
        Some(webpki::Error::UnsupportedCriticalExtension) => {
            "a critical extension of the server's certificates is unknown: issue them without it"
        }
        Some(webpki::Error::MaximumPathDepthExceeded) => {
            "the server's chain has more than 6 intermediates: put a lower CA into ca_cert"
        }
        _ => "check the server's certificate and ca_cert (VAULT_CACERT)",
    };
    ("tls-untrusted", hint)
}

fn tls(error: &rustls::Error) -> Option<Known> {
    use CertificateError as Certificate;
    use rustls::Error as Tls;

    Some(match error {
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => (
            "tls-name",
            "use a name of the server's certificate, or set server_name (VAULT_TLS_SERVER_NAME)",
        ),
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => (
            "tls-expired",
            "the server's certificate has expired, or this machine's clock is wrong",
        ),
        Tls::InvalidCertificate(
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. },
        ) => (
            "tls-not-yet-valid",
            "the server's certificate is not valid yet, or this machine's clock is wrong",
        ),
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => (
            "tls-untrusted",
            "set ca_cert (VAULT_CACERT) to the CA that signed the server's certificate",
        ),
        Tls::InvalidCertificate(Certificate::Other(other)) => not_taken(other),
        Tls::InvalidCertificate(_) => (
            "tls-untrusted",
            "check the server's certificate and ca_cert (VAULT_CACERT)",
        ),
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => (
            "tls-none",
            "the server does not speak TLS: write http:// if that is meant",
        ),
        Tls::AlertReceived(AlertDescription::CertificateRequired) => (
            "tls-client",
            "the server wants a client certificate: set client_cert and client_key",
        ),
        Tls::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
        )
        | Tls::PeerIncompatible(_) => ("tls-incompatible", COMMON),
        Tls::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => (
            "tls-alert",
            "the server refused the client certificate: check client_cert and client_key",
        ),
        Tls::AlertReceived(AlertDescription::UnrecognisedName) => (
            "tls-alert",
            "the server knows no such name: check the address and tls_server_name",
        ),
        Tls::AlertReceived(_) => ("tls-alert", "read the server's own log"),
        _ => return None,
    })
}

/// The innermost cause, without the number that the system has for it.
fn root(error: &(dyn Error + 'static)) -> String {
    let text = causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

/// All causes in one line, without the error itself, which names the URL.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let this = error.to_string();
        if !text.ends_with(&this) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&this);
        }
        cause = error.source();
    }
    if text.is_empty() {
        "no reason given".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rustls_does_not_take_has_its_own_advice() {
        let hint = |error: &rustls::Error| tls(error).unwrap().1;
        let shape = |error: webpki::Error| {
            let other = OtherError(std::sync::Arc::new(error));
            hint(&rustls::Error::InvalidCertificate(CertificateError::Other(
                other,
            )))
        };
        assert!(shape(webpki::Error::CaUsedAsEndEntity).contains("CA:FALSE"));
        assert!(shape(webpki::Error::UnsupportedCertVersion).contains("X.509 v1"));
        assert!(shape(webpki::Error::BadDer).contains("ca_cert"));
        let alert = |alert| hint(&rustls::Error::AlertReceived(alert));
        for common in [
            AlertDescription::HandshakeFailure,
            AlertDescription::ProtocolVersion,
        ] {
            assert!(alert(common).contains("no TLS version or cipher in common"));
        }
        assert!(alert(AlertDescription::BadCertificate).contains("client_cert"));
        assert!(!alert(AlertDescription::InternalError).contains("client_cert"));
    }

    #[test]
    fn a_cause_is_found_by_its_type_however_deep_it_is() {
        use rustls::Error as Tls;

        let wrapped = |inner: io::Error| io::Error::other(inner);
        let tls = |error| wrapped(io::Error::new(io::ErrorKind::InvalidData, error));
        let table = [
            (
                tls(Tls::InvalidCertificate(CertificateError::Expired)),
                Some("tls-expired"),
            ),
            (
                tls(Tls::InvalidCertificate(CertificateError::NotValidYet)),
                Some("tls-not-yet-valid"),
            ),
            (
                tls(Tls::InvalidCertificate(CertificateError::BadSignature)),
                Some("tls-untrusted"),
            ),
            (
                tls(Tls::AlertReceived(AlertDescription::CertificateRequired)),
                Some("tls-client"),
            ),
            (
                tls(Tls::AlertReceived(AlertDescription::UnknownCA)),
                Some("tls-alert"),
            ),
            (
                tls(Tls::AlertReceived(AlertDescription::HandshakeFailure)),
                Some("tls-incompatible"),
            ),
            (tls(Tls::HandshakeNotComplete), None),
            (
                wrapped(io::Error::other(NameNotFound(io::Error::other("none")))),
                Some("name-not-found"),
            ),
            (
                wrapped(io::ErrorKind::HostUnreachable.into()),
                Some("unreachable"),
            ),
            // Words alone prove nothing.
            (
                wrapped(io::Error::other("Connection refused, expired")),
                None,
            ),
        ];
        for (error, code) in table {
            let found = causes(&error).find_map(known).map(|(code, _)| code);
            assert_eq!(found, code, "{error:?}");
        }
    }
}
