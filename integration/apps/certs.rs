//! A CA of the test, and published sets of it for 127.0.0.1.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use certagent::{
    clock::{Clock, SystemClock},
    config::Files,
    model::{
        request::{Names, Request},
        secret::Secret,
        verify::{self, Expect, Verified},
    },
    probe::Identity,
    publish::CertDir,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

/// The common name of every leaf here.
pub(crate) const NAME: &str = "loki-ingester.service.consul";

/// A self-signed CA that issues leaves, each starting a second after the one before.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    issued: AtomicI64,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Test Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
            issued: AtomicI64::new(0),
        }
    }

    /// A new verified set.
    pub(crate) fn issue(&self) -> Verified {
        let now = SystemClock.now();
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new([NAME.to_owned()]).unwrap();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, NAME);
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        leaf.subject_alt_names.push(SanType::IpAddress(loopback));
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let later = self.issued.fetch_add(1, Ordering::Relaxed);
        let moment = |secs| OffsetDateTime::from_unix_timestamp(now.unix_secs() + secs).unwrap();
        leaf.not_before = moment(later - 600);
        leaf.not_after = moment(3600);
        let signed = leaf.signed_by(&key, &self.issuer).unwrap();
        let request = Request {
            names: Names {
                common_name: NAME.to_owned(),
                ips: [loopback].into(),
                ..Names::default()
            },
            ttl: Duration::from_secs(3600),
            ..Request::example()
        };
        let expect = Expect::of(&request);
        let key = Secret::new(key.serialize_pem());
        let bundle = verify::reread(&self.pem, &signed.pem(), &key).unwrap();
        verify::verify(bundle, &expect, now).unwrap()
    }

    /// Issues a new set and makes it live in `dir`, owned by `owner`.
    pub(crate) fn publish(&self, dir: &Path, owner: Option<(u32, u32)>) -> Identity {
        let set = self.issue();
        let files = Files {
            dir: dir.to_owned(),
            cert_perms: 0o644,
            key_perms: 0o600,
            uid: owner.map(|owner| owner.0),
            gid: owner.map(|owner| owner.1),
        };
        CertDir::open(&files).unwrap().publish(&set).unwrap();
        Identity::of(&set).unwrap()
    }
}
