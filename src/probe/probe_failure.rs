//! Why no certificate was seen: what was tried, where, why, what to do.
//!
//! Never carries an error of TLS or of the system. What stays true: one code, one cause.

use std::io;

use crate::config::ProbeTarget;

/// No certificate was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// A short stable code; see [`ProbeFailure::CODES`].
    pub code: &'static str,
    /// What was tried, where and why it failed: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl ProbeFailure {
    /// Every code.
    pub const CODES: [&'static str; 10] = [
        "probe-target",
        "probe-name",
        "probe-refused",
        "probe-unreachable",
        "probe-timeout",
        "probe-closed",
        "probe-not-tls",
        "probe-alpn",
        "probe-tls",
        "probe-starttls",
    ];
}

fn at(target: &ProbeTarget, code: &'static str, why: &str, hint: &'static str) -> ProbeFailure {
    ProbeFailure {
        code,
        message: format!("probing {}: {why}", target.address),
        hint,
    }
}

pub(super) fn bad_target(target: &ProbeTarget) -> ProbeFailure {
    let why = format!("not host:port, or {:?} is no name", target.server_name);
    let hint = "write 127.0.0.1:9095 or [::1]:9095, and a DNS name or IP address to prove";
    at(target, "probe-target", &why, hint)
}

pub(super) fn timed_out(target: &ProbeTarget, doing: &str) -> ProbeFailure {
    let limit = target.timeout.as_secs_f64();
    let why = format!("no answer within {limit} s while {doing}");
    let hint = "the application may hang or be overloaded, a firewall may drop the packets, \
                or the port may speak another protocol";
    at(target, "probe-timeout", &why, hint)
}

pub(super) fn connect(target: &ProbeTarget, error: &io::Error) -> ProbeFailure {
    let why = format!("connecting: {error}");
    let (code, hint) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            "probe-refused",
            "no process listens there: is the application running, and is this its address and port?",
        ),
        // Errors of the system have a number, those of the resolver have none.
        _ if error.raw_os_error().is_none() => (
            "probe-name",
            "the name of the host was not found: use an IP address, or correct the name",
        ),
        _ => (
            "probe-unreachable",
            "check the address, the route to it and the firewall",
        ),
    };
    at(target, code, &why, hint)
}

/// The handshake broke before a certificate came.
pub(super) fn handshake(target: &ProbeTarget, error: &io::Error) -> ProbeFailure {
    let why = format!("TLS handshake: {}", words(error));
    let (code, hint) = match (tls_error(error), error.kind()) {
        (Some(rustls::Error::InvalidMessage(_)), _) => (
            "probe-not-tls",
            "the port speaks something else than TLS: is it the right port, or does it need starttls?",
        ),
        (
            Some(
                rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
                | rustls::Error::NoApplicationProtocol,
            ),
            _,
        ) => (
            "probe-alpn",
            "the peer knows none of the offered protocols: correct alpn",
        ),
        (Some(_), _) => (
            "probe-tls",
            "compare versions, ciphers and server_name with what the application allows",
        ),
        (None, _) => (
            "probe-closed",
            "the peer closed the connection before TLS began: is it the right port, does it need \
             starttls, and can the application read its files?",
        ),
    };
    at(target, code, &why, hint)
}

pub(super) fn tls(target: &ProbeTarget, why: &str) -> ProbeFailure {
    let hint = "compare versions, ciphers and server_name with what the application allows";
    at(target, "probe-tls", &format!("TLS: {why}"), hint)
}

pub(super) fn starttls(target: &ProbeTarget, why: &str) -> ProbeFailure {
    let hint = "is TLS switched on in the application, and is starttls the right kind?";
    at(target, "probe-starttls", why, hint)
}

/// Did the peer send an alert?
pub(super) fn is_alert(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::AlertReceived(_)))
}

/// What happened, in lower case; an alert by its name in RFC 8446 section 6.
pub(super) fn words(error: &io::Error) -> String {
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(alert)) => format!("alert {}", snake(*alert)),
        Some(rustls::Error::InvalidCertificate(why)) => format!("certificate: {why}"),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        None => error.to_string().to_lowercase(),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// `CertificateRequired` as `certificate_required`.
fn snake(alert: rustls::AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut text = String::new();
    let mut before = '_';
    for letter in name.chars() {
        // `UnknownCA` is one word at its end.
        if letter.is_ascii_uppercase() && before != '_' && !before.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
        before = letter;
    }
    text
}
