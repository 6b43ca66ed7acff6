//! What an application serves, held against what was published.
//!
//! Never connects: `probe` brings a [`Served`]. What stays true: only [`compare`] says that a
//! certificate is the current one, and only when the peer proved it, its chain verified and it did not
//! refuse the client certificate.

use std::net::IpAddr;

use super::{leaf::plain_dns, time::Timestamp};

#[cfg(test)]
mod tests;

/// What one probe of the application found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Serial of the leaf, lower-case hex with colons.
    pub serial: String,
    /// SHA-256 of the leaf's DER, hex.
    pub sha256: String,
    /// Its subject.
    pub subject: String,
    /// The subject of the CA that issued it.
    pub issuer: String,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Does the chain verify against our CA.pem, for the wanted name, now? If not, the handshake
    /// was broken off, and nothing after it is known.
    pub trust: ChainTrust,
    /// What the peer did with the client certificate.
    pub accepted: Accepted,
    /// The answer of the health service, when it was asked.
    pub health: Option<ApplicationHealth>,
    /// Version of TLS, as `TLSv1.3`, once the handshake was over.
    pub version: Option<String>,
    /// Application protocol that was agreed on.
    pub alpn: Option<String>,
}

/// The result of verifying the served chain, and of the proof that the peer has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainTrust {
    /// It verifies, and the peer has the key.
    Verified,
    /// It does not; why, lower case.
    Refused(String),
}

/// What the peer did with the client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It did not ask for one.
    NotAsked,
    /// It asked for one and continued; `sent` is false when it did so without one.
    Yes {
        /// A client certificate was sent.
        sent: bool,
    },
    /// It refused it, or that there was none; why, lower case.
    Refused(String),
    /// It asked for one, got it and sent nothing at all within the limit.
    Silent,
}

/// The answer of `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationHealth {
    /// The application says that it serves.
    Serving,
    /// It says that it does not.
    NotServing,
    /// It says something else: a status of the protocol (0 is unknown, 3 an unknown service).
    Other(u64),
    /// The call was answered with an error of gRPC: its code and message. Code 12 means that there
    /// is no health service.
    Status(u32, String),
    /// There was no answer that could be understood; why, lower case.
    Broken(String),
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Serial of the leaf, lower-case hex with colons.
    pub serial: &'a str,
    /// SHA-256 of the leaf's DER, hex.
    pub sha256: &'a str,
    /// Start of its validity; tells an older certificate from a newer one.
    pub not_before: Timestamp,
}

/// Why what is served does not count as the published certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// A short stable code; see [`CODES`].
    pub code: &'static str,
    /// What differs: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// Every code of a [`Mismatch`].
pub const CODES: [&str; 5] = [
    "serves-other",
    "served-untrusted",
    "client-refused",
    "client-unanswered",
    "not-healthy",
];

/// Is what is served what was published, proven, and is the client certificate accepted? The first
/// reason why not.
///
/// # Errors
/// [`Mismatch`]. `serves-other` comes first: what the application serves decides
/// whether it has to be reloaded, and the rest may follow from it.
pub fn compare(served: &Served, wanted: &Wanted<'_>) -> Result<(), Mismatch> {
    same(served, wanted)?;
    if let ChainTrust::Refused(why) = &served.trust {
        return Err(Mismatch {
            code: "served-untrusted",
            message: format!(
                "the served certificate {} does not verify: {why}",
                served.serial
            ),
            hint: "compare the name to prove, the chain the application sends, and CA.pem",
        });
    }
    match &served.accepted {
        Accepted::NotAsked | Accepted::Yes { .. } => {}
        Accepted::Refused(why) => {
            return Err(Mismatch {
                code: "client-refused",
                message: format!("the application refuses the client certificate: {why}"),
                hint: "if it still trusts the old CA.pem, restart it so that it reads the new one",
            });
        }
        Accepted::Silent => {
            return Err(Mismatch {
                code: "client-unanswered",
                message: "the application requested a client certificate and sent no answer"
                    .to_owned(),
                hint: "raise the probe's timeout, or set grpc_health = true",
            });
        }
    }
    healthy(served.health.as_ref())
}

fn same(served: &Served, wanted: &Wanted<'_>) -> Result<(), Mismatch> {
    if served.sha256 == wanted.sha256 {
        return Ok(());
    }
    let message = format!(
        "serves {} (valid until {}), published is {}",
        served.serial, served.not_after, wanted.serial
    );
    Err(if served.not_before < wanted.not_before {
        Mismatch {
            code: "serves-other",
            message: format!("still {message}"),
            hint: "the application has not read the new files; reload it",
        }
    } else {
        Mismatch {
            code: "serves-other",
            message,
            hint: "check that the application reads the files of this directory, and that the address is its own",
        }
    })
}

fn healthy(health: Option<&ApplicationHealth>) -> Result<(), Mismatch> {
    let why = match health {
        None | Some(ApplicationHealth::Serving) => return Ok(()),
        Some(ApplicationHealth::NotServing) => "status NOT_SERVING".to_owned(),
        Some(ApplicationHealth::Other(number)) => format!("status {number}"),
        Some(ApplicationHealth::Status(12, _)) => "there is no health service".to_owned(),
        Some(ApplicationHealth::Status(code, message)) => format!("gRPC status {code} {message:?}"),
        Some(ApplicationHealth::Broken(why)) => why.clone(),
    };
    Err(Mismatch {
        code: "not-healthy",
        message: format!(
            "the certificate is served, but grpc.health.v1 reports the application as not healthy: {why}"
        ),
        hint: "wait until the application is ready, or set grpc_health = false",
    })
}

/// Host and port of `host:port` or `[v6]:port`.
#[must_use]
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.contains(':'))?,
        None if host.contains(':') => return None,
        None => host,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    (!host.is_empty() && host.bytes().all(plain)).then_some((host, port))
}

/// The name that a certificate served at `address` has to prove: the host when the certificate
/// has it, else the first of its DNS names (`dns`, the best last) or addresses.
#[must_use]
pub fn name_to_prove(address: &str, dns: &[&str], ips: &[IpAddr]) -> String {
    let host = split_address(address).map_or(address, |(host, _)| host);
    let has = match host.parse::<IpAddr>() {
        Ok(ip) => ips.contains(&ip.to_canonical()),
        Err(_) => dns.iter().any(|name| plain_dns(name) == plain_dns(host)),
    };
    if has {
        return host.to_owned();
    }
    let plain = |name: &&&str| !name.starts_with('*');
    let name = dns.iter().rev().find(plain).map(|name| (*name).to_owned());
    name.or_else(|| ips.first().map(ToString::to_string))
        .unwrap_or_else(|| host.to_owned())
}
