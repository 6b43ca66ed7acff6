//! Verified sets for the publication tests, the same in every process of one test.

use std::{fs, path::Path, time::Duration};

use certagent::{
    clock::{Clock, SystemClock},
    model::{
        request::{Names, Request},
        secret::Secret,
        verify::{self, Expect, Verified},
    },
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

const NAME: &str = "loki-ingester.service.consul";

/// Makes sets, each with a CA of its own, and keeps them below `temp` for [`load`].
pub(super) fn make(temp: &Path, count: usize) -> Vec<Verified> {
    for number in 0..count {
        let dir = temp.join("sets").join(number.to_string());
        fs::create_dir_all(&dir).unwrap();
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let mut leaf = CertificateParams::new([NAME.to_owned()]).unwrap();
        leaf.distinguished_name
            .push(rcgen::DnType::CommonName, NAME);
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        fs::write(dir.join("CA.pem"), ca_pem).unwrap();
        fs::write(dir.join("cert.pem"), leaf.pem()).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    }
    load(temp)
}

/// The sets that [`make`] made.
pub(super) fn load(temp: &Path) -> Vec<Verified> {
    let request = Request {
        names: Names {
            common_name: NAME.to_owned(),
            ..Names::default()
        },
        ttl: Duration::from_secs(3600),
        ..Request::example()
    };
    let expect = Expect::of(&request);
    (0..)
        .map(|number| temp.join("sets").join(number.to_string()))
        .take_while(|dir| dir.is_dir())
        .map(|dir| {
            let text = |name| fs::read_to_string(dir.join(name)).unwrap();
            let key = Secret::new(text("key.pem"));
            let bundle = verify::reread(&text("CA.pem"), &text("cert.pem"), &key).unwrap();
            verify::verify(bundle, &expect, SystemClock.now()).unwrap()
        })
        .collect()
}
