//! What is asked of the issuer, and its fingerprint.
//!
//! Never asks. What stays true: two requests have the same fingerprint exactly when a certificate
//! issued for one may be kept for the other.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr, time::Duration};

use aws_lc_rs::digest;

/// Who makes the private key, as configured; [`crate::origin`] makes an order of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sign wherever the policy lets us, issue where it does not.
    Auto,
    /// The issuer makes key and certificate (`<mount>/issue/<role>`).
    Issue,
    /// We make the key, the issuer signs our CSR (`<mount>/sign/<role>`); the key never travels.
    Sign,
}

/// The kind of private key, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyType {
    /// ECDSA on NIST P-256.
    #[default]
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// ECDSA on NIST P-521.
    EcP521,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA with a 2048-bit modulus.
    Rsa2048,
    /// RSA with a 3072-bit modulus.
    Rsa3072,
    /// RSA with a 4096-bit modulus.
    Rsa4096,
}

impl KeyType {
    /// All of them, in the order they are documented.
    pub const ALL: [Self; 7] = [
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::Ed25519,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The configured name, as `ec-p256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::EcP521 => "ec-p521",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// Vault's `key_type` and `key_bits` for it (PKI API, "Generate certificate and key").
    #[must_use]
    pub fn vault(self) -> (&'static str, u32) {
        match self {
            Self::EcP256 => ("ec", 256),
            Self::EcP384 => ("ec", 384),
            Self::EcP521 => ("ec", 521),
            Self::Ed25519 => ("ed25519", 0),
            Self::Rsa2048 => ("rsa", 2048),
            Self::Rsa3072 => ("rsa", 3072),
            Self::Rsa4096 => ("rsa", 4096),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("unknown key type `{text}`; use one of {known}")
            })
    }
}

impl Mode {
    /// The configured name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Issue => "issue",
            Self::Sign => "sign",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "issue" => Ok(Self::Issue),
            "sign" => Ok(Self::Sign),
            _ => Err(format!("unknown mode `{text}`; use auto, issue or sign")),
        }
    }
}

/// The names a certificate must carry. A common name that is a host name is also a DNS SAN.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Names {
    /// Subject common name, as `loki-ingester.service.consul`; empty when none is wanted.
    pub common_name: String,
    /// Further DNS SANs.
    pub dns: BTreeSet<String>,
    /// IP SANs.
    pub ips: BTreeSet<IpAddr>,
    /// URI SANs.
    pub uris: BTreeSet<String>,
}

impl Names {
    /// Is this common name a host name or an address, so that it is a name for TLS clients too? Vault
    /// adds it to the SANs then (PKI API, `exclude_cn_from_sans`); RFC 1123 section 2.1.
    #[must_use]
    pub fn is_host(common_name: &str) -> bool {
        if common_name.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = common_name.strip_prefix("*.").unwrap_or(common_name);
        let good = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        name.strip_suffix('.').unwrap_or(name).split('.').all(good)
    }
}

/// Everything that decides what certificate comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path of the PKI mount, without slashes at its ends: `pki`.
    pub mount: String,
    /// Role in that mount: `internal`.
    pub role: String,
    /// Who makes the key.
    pub mode: Mode,
    /// The names asked for.
    pub names: Names,
    /// Requested lifetime; at least a second. Vault may give another.
    pub ttl: Duration,
    /// The key to make here, or to ask for.
    pub key_type: KeyType,
    /// No key type was chosen (modes auto and issue): what the role wants is taken, if it is strong.
    /// Roles are RSA 2048 unless they say otherwise.
    pub key_type_open: bool,
    /// Sign mode only: keep the private key over renewals.
    pub reuse_key: bool,
    /// SHA-256 of the issuer certificate that must have signed, in hex, when pinned.
    pub issuer_sha256: Option<String>,
}

impl Request {
    /// SHA-256, in hex, over every field that makes a kept certificate wrong when it changes.
    /// The ttl counts: a set issued for ten days is not what was asked for when an hour is.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // Mode auto takes a key from anywhere, as mode issue does.
        let mode = match self.mode {
            Mode::Auto | Mode::Issue => "issue",
            Mode::Sign => "sign",
        };
        let mut text = format!(
            "v1\n{}\n{}\n{}\n{}\n{}\n{}\n{:?}\n",
            self.mount,
            self.role,
            mode,
            if self.key_type_open {
                "any"
            } else {
                self.key_type.name()
            },
            self.ttl.as_secs(),
            self.names.common_name,
            self.issuer_sha256,
        );
        for dns in &self.names.dns {
            text.push_str(&format!("dns:{dns}\n"));
        }
        for ip in &self.names.ips {
            text.push_str(&format!("ip:{ip}\n"));
        }
        for uri in &self.names.uris {
            text.push_str(&format!("uri:{uri}\n"));
        }
        hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }
}

/// Lower-case hexadecimal without separators.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}
