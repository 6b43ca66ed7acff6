//! Chains of many shapes, with what OpenSSL, Go and we say of each: the one table of it.
//!
//! The two other columns are held against the programs by the integration tests.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints,
};

use super::{Authority, ca_params, envelope, keys, leaf_params, moment, new_key};
use crate::{
    pem,
    request::{KeyType, Request},
    time::Timestamp,
};

/// One hierarchy with its three verdicts.
pub struct Hierarchy {
    /// Its shape.
    pub name: &'static str,
    /// The answer of an issuer with it.
    pub body: Vec<u8>,
    /// Text of cert.pem: leaf and intermediates.
    pub cert_pem: String,
    /// Text of CA.pem.
    pub ca_pem: String,
    /// Our code, with a part of the message; none when it is accepted.
    pub ours: Option<(&'static str, &'static str)>,
    /// `openssl verify` accepts it for servers and for clients.
    pub openssl: bool,
    /// Go's `crypto/x509` does.
    pub go: bool,
}

/// Accepted by all three.
const GOOD: (Option<(&str, &str)>, bool, bool) = (None, true, true);

/// Refused by all three.
const fn bad(
    code: &'static str,
    part: &'static str,
) -> (Option<(&'static str, &'static str)>, bool, bool) {
    (Some((code, part)), false, false)
}

/// Refused by us alone: by a limit of rustls that is named.
const fn ours(
    code: &'static str,
    part: &'static str,
) -> (Option<(&'static str, &'static str)>, bool, bool) {
    (Some((code, part)), true, true)
}

struct Table<'a> {
    request: &'a Request,
    now: Timestamp,
    rows: Vec<Hierarchy>,
}

type Verdicts = (Option<(&'static str, &'static str)>, bool, bool);
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

/// All of them, for `request` at `now`.
pub fn hierarchies(request: &Request, now: Timestamp) -> Vec<Hierarchy> {
    let mut table = Table {
        request,
        now,
        rows: Vec::new(),
    };
    lengths(&mut table);
    leaves(&mut table);
    keys_of_leaves(&mut table);
    intermediates(&mut table);
    limited_intermediates(&mut table);
    roots(&mut table);
    table.rows
}

impl Table<'_> {
    /// A leaf of the last of `cas`; the first is the anchor.
    fn add(&mut self, name: &'static str, cas: &[&Authority], leaf: Change<'_>, said: Verdicts) {
        self.keyed(name, cas, KeyType::EcP256, leaf, said);
    }

    fn keyed(
        &mut self,
        name: &'static str,
        cas: &[&Authority],
        kind: KeyType,
        change: Change<'_>,
        (ours, openssl, go): Verdicts,
    ) {
        let key = new_key(kind);
        let mut params = leaf_params(self.request, self.now);
        change(&mut params);
        let leaf = cas.last().unwrap().sign(params, &key);
        let above: Vec<&Vec<u8>> = cas.iter().rev().map(|ca| &ca.der).collect();
        let text = |der: &Vec<u8>| pem::encode(pem::CERTIFICATE, der);
        let links = cas[1..].iter().rev().map(|ca| text(&ca.der));
        self.rows.push(Hierarchy {
            name,
            body: envelope(&leaf, &above, Some(&key)).to_string().into(),
            cert_pem: text(&leaf) + &links.collect::<String>(),
            ca_pem: text(&cas[0].der),
            ours,
            openssl,
            go,
        });
    }

    /// A leaf below an intermediate of another shape.
    fn below(&mut self, name: &'static str, change: Change<'_>, said: Verdicts) {
        let root = Authority::root("Root", self.now);
        let mut params = ca_params("Int", self.now);
        change(&mut params);
        let int = root.intermediate_from(params);
        self.add(name, &[&root, &int], &|_| {}, said);
    }

    /// A leaf below a good intermediate of a root of another shape.
    fn under(&mut self, name: &'static str, change: Change<'_>, said: Verdicts) {
        let mut params = ca_params("Root", self.now);
        change(&mut params);
        let root = Authority::root_from(params);
        let int = root.intermediate("Int", self.now);
        self.add(name, &[&root, &int], &|_| {}, said);
    }
}

fn extension(params: &mut CertificateParams, oid: &[u64], content: &[u8], critical: bool) {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    params.custom_extensions.push(extension);
}

/// certificatePolicies with anyPolicy (RFC 5280 section 4.2.1.4).
fn policies(params: &mut CertificateParams, critical: bool) {
    let any_policy = [0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0];
    extension(params, &[2, 5, 29, 32], &any_policy, critical);
}

fn usages(params: &mut CertificateParams, usages: &[ExtendedKeyUsagePurpose]) {
    params.extended_key_usages = usages.to_vec();
}

fn lengths(table: &mut Table<'_>) {
    let now = table.now;
    let named = [
        ("no intermediate", GOOD),
        ("1 intermediate", GOOD),
        ("2 intermediates", GOOD),
        ("3 intermediates", GOOD),
        ("4 intermediates", GOOD),
        ("5 intermediates", GOOD),
        ("6 intermediates", GOOD),
        (
            "7 intermediates",
            ours("chain-path-length", "7 intermediates, at most 6"),
        ),
        (
            "8 intermediates",
            ours("chain-path-length", "8 intermediates, at most 6"),
        ),
    ];
    let mut cas = vec![Authority::root("Root", now)];
    for (at, (name, said)) in named.into_iter().enumerate() {
        let all: Vec<&Authority> = cas.iter().collect();
        table.add(name, &all, &|_| {}, said);
        let next = cas[at].intermediate(&format!("Int {at}"), now);
        cas.push(next);
    }
    let no_more = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    };
    table.under(
        "root with path length 0",
        &no_more,
        bad("chain-path-length", "`CN=Root`"),
    );
    table.below("intermediate with path length 0", &no_more, GOOD);
}

fn leaves(table: &mut Table<'_>) {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};

    let root = Authority::root("Root", table.now);
    let int = root.intermediate("Int", table.now);
    let cas = [&root, &int];
    table.add(
        "leaf without extended key usage",
        &cas,
        &|leaf| usages(leaf, &[]),
        GOOD,
    );
    let any = (Some(("server-auth", "`any` alone")), false, true);
    table.add(
        "leaf with any usage",
        &cas,
        &|leaf| usages(leaf, &[Any]),
        any,
    );
    table.add(
        "leaf with any and both usages",
        &cas,
        &|leaf| usages(leaf, &[Any, ServerAuth, ClientAuth]),
        GOOD,
    );
    let code = bad("server-auth", "serverAuth");
    table.add(
        "leaf for code signing",
        &cas,
        &|leaf| usages(leaf, &[CodeSigning]),
        code,
    );
    table.add(
        "leaf for servers only",
        &cas,
        &|leaf| usages(leaf, &[ServerAuth]),
        bad("client-auth", ""),
    );
    table.add(
        "leaf without key usage",
        &cas,
        &|leaf| leaf.key_usages.clear(),
        GOOD,
    );
    let critical = ours(
        "chain-critical-extension",
        "`CN=loki-ingester.service.consul` has the critical extension certificatePolicies",
    );
    table.add(
        "leaf with critical policies",
        &cas,
        &|leaf| policies(leaf, true),
        critical,
    );
    table.add(
        "leaf with policies",
        &cas,
        &|leaf| policies(leaf, false),
        GOOD,
    );
    let unknown = bad("chain-critical-extension", "1.2.3.4");
    table.add(
        "leaf with an unknown critical extension",
        &cas,
        &|leaf| extension(leaf, &[1, 2, 3, 4], &[5, 0], true),
        unknown,
    );
}

/// Leaves on other kinds of keys.
fn keys_of_leaves(table: &mut Table<'_>) {
    let root = Authority::root("Root", table.now);
    let int = root.intermediate("Int", table.now);
    let cas = [&root, &int];
    for (name, kind) in [
        ("leaf on P-384", KeyType::EcP384),
        ("leaf on P-521", KeyType::EcP521),
        ("leaf with Ed25519", KeyType::Ed25519),
    ] {
        table.keyed(name, &cas, kind, &|_| {}, GOOD);
    }
}

fn intermediates(table: &mut Table<'_>) {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};

    let critical = ours(
        "chain-critical-extension",
        "`CN=Int` has the critical extension certificatePolicies (2.5.29.32)",
    );
    table.below(
        "intermediate with critical policies",
        &|ca| policies(ca, true),
        critical,
    );
    table.below(
        "intermediate with policies",
        &|ca| policies(ca, false),
        GOOD,
    );
    let unknown = bad(
        "chain-critical-extension",
        "`CN=Int` has the critical extension 1.2.3.4",
    );
    table.below(
        "intermediate with an unknown critical extension",
        &|ca| extension(ca, &[1, 2, 3, 4], &[5, 0], true),
        unknown,
    );
    let any = (Some(("chain-key-usage", "")), false, true);
    table.below("intermediate with any usage", &|ca| usages(ca, &[Any]), any);
    table.below(
        "intermediate for both usages",
        &|ca| usages(ca, &[ServerAuth, ClientAuth]),
        GOOD,
    );
    table.below(
        "intermediate for servers only",
        &|ca| usages(ca, &[ServerAuth]),
        bad("chain-key-usage", ""),
    );
    table.below(
        "intermediate without key usage",
        &|ca| ca.key_usages.clear(),
        GOOD,
    );
}

/// Intermediates that are limited in what they may sign.
fn limited_intermediates(table: &mut Table<'_>) {
    let no_sign = |ca: &mut CertificateParams| ca.key_usages = vec![KeyUsagePurpose::CrlSign];
    table.below(
        "intermediate that may not sign",
        &no_sign,
        bad("chain-key-usage", "`CN=Int` may not sign"),
    );
    table.below(
        "intermediate that is no CA",
        &|ca| ca.is_ca = IsCa::ExplicitNoCa,
        bad("chain-not-ca", ""),
    );
    table.below(
        "intermediate without basic constraints",
        &|ca| ca.is_ca = IsCa::NoCa,
        bad("chain-not-ca", ""),
    );
    let hour_ago = moment(table.now.minus(std::time::Duration::from_secs(3600)));
    table.below(
        "intermediate expired",
        &|ca| ca.not_after = hour_ago,
        bad("chain-expired", ""),
    );
    let permits = |name: &'static str| {
        move |ca: &mut CertificateParams| {
            ca.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName(name.to_owned())],
                excluded_subtrees: vec![],
            });
        }
    };
    table.below(
        "intermediate that permits the names",
        &permits("service.consul"),
        GOOD,
    );
    table.below(
        "intermediate that permits others",
        &permits("example.com"),
        bad("chain-name-constraint", ""),
    );
}

fn roots(table: &mut Table<'_>) {
    let now = table.now;
    table.under(
        "root with critical policies",
        &|ca| policies(ca, true),
        GOOD,
    );
    let unknown = bad(
        "chain-critical-extension",
        "`CN=Root` has the critical extension 1.2.3.4",
    );
    let odd = |ca: &mut CertificateParams| extension(ca, &[1, 2, 3, 4], &[5, 0], true);
    table.under("root with an unknown critical extension", &odd, unknown);
    table.under("root without key usage", &|ca| ca.key_usages.clear(), GOOD);
    let no_sign = |ca: &mut CertificateParams| ca.key_usages = vec![KeyUsagePurpose::CrlSign];
    table.under(
        "root that may not sign",
        &no_sign,
        bad("chain-key-usage", "`CN=Root` may not sign"),
    );
    table.under(
        "root that is no CA",
        &|ca| ca.is_ca = IsCa::ExplicitNoCa,
        bad("chain-not-ca", "`CN=Root`"),
    );
    let hour_ago = moment(now.minus(std::time::Duration::from_secs(3600)));
    table.under(
        "root expired",
        &|ca| ca.not_after = hour_ago,
        bad("chain-expired", "`CN=Root`"),
    );
    let v1 = Authority::root_v1(keys::ROOT_V1, keys::EC_P256_PKCS8, now);
    let int = v1.intermediate("Int", now);
    table.add("root of X.509 version 1", &[&v1, &int], &|_| {}, GOOD);
    let top = Authority::root("Unknown", now).intermediate("Top", now);
    let int = top.intermediate("Int", now);
    table.add(
        "anchor that is an intermediate",
        &[&top, &int],
        &|_| {},
        (None, false, true),
    );
}
