//! Roles of every kind, and what they allow.

use serde_json::{Value, json};

use super::{Case, base_role, post};

/// Name, settings, orders.
type Variant = (&'static str, Value, Vec<Value>);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, settings, orders) in [names_and_times(), keys_and_usages(), subjects()].concat() {
        let role = base_role(&settings);
        cases.push(post(
            &format!("role {name}"),
            &format!("pki/roles/{name}"),
            &role,
        ));
        for order in orders {
            let path = format!("pki/issue/{name}");
            cases.push(post(&format!("issue by {name}: {order}"), &path, &order));
        }
    }
    cases
}

fn names_and_times() -> Vec<Variant> {
    let cn = json!({"common_name": "x1.service.consul"});
    vec![
        ("lease", json!({"generate_lease": true}), vec![cn.clone()]),
        (
            "nocn",
            json!({"require_cn": false}),
            vec![json!({}), json!({"ip_sans": "10.0.0.1"})],
        ),
        (
            "anyk",
            json!({"key_type": "any", "key_bits": 0}),
            vec![
                cn.clone(),
                json!({"common_name": "x1.service.consul", "key_type": "ec"}),
                json!({"common_name": "x1.service.consul", "key_type": "ec", "key_bits": 384}),
                json!({"common_name": "x1.service.consul", "key_type": "ed25519"}),
            ],
        ),
        (
            "uri",
            json!({"allowed_uri_sans": ["spiffe://x/*"]}),
            vec![
                json!({"common_name": "x1.service.consul", "uri_sans": "spiffe://x/a"}),
                json!({"common_name": "x1.service.consul", "uri_sans": "spiffe://x/a,spiffe://y/b"}),
            ],
        ),
        (
            "noip",
            json!({"allow_ip_sans": false}),
            vec![json!({"common_name": "x1.service.consul", "ip_sans": "10.0.0.1"})],
        ),
        ("srv", json!({"client_flag": false}), vec![cn.clone()]),
        (
            "notafter",
            json!({"not_after": "2027-01-01T00:00:00Z", "ttl": 0}),
            vec![
                cn.clone(),
                json!({"common_name": "x1.service.consul", "ttl": "60s"}),
            ],
        ),
    ]
}

fn keys_and_usages() -> Vec<Variant> {
    let cn = json!({"common_name": "x1.service.consul"});
    vec![
        (
            "ed",
            json!({"key_type": "ed25519", "key_bits": 0}),
            vec![cn.clone()],
        ),
        ("p384", json!({"key_bits": 384}), vec![cn.clone()]),
        (
            "rsa",
            json!({"key_type": "rsa", "key_bits": 2048}),
            vec![cn.clone()],
        ),
        (
            "bare",
            json!({"allow_bare_domains": true, "allow_subdomains": false}),
            vec![
                json!({"common_name": "service.consul"}),
                json!({"common_name": "Service.Consul"}),
                json!({"common_name": "*.service.consul"}),
                cn.clone(),
            ],
        ),
        (
            "glob",
            json!({"allow_glob_domains": true, "allow_subdomains": false,
                   "allowed_domains": ["x*.service.consul"]}),
            vec![cn.clone(), json!({"common_name": "y1.service.consul"})],
        ),
        (
            "nbd",
            json!({"not_before_duration": "10m"}),
            vec![cn.clone()],
        ),
        (
            "ku",
            json!({"key_usage": [], "server_flag": false, "client_flag": false}),
            vec![cn.clone()],
        ),
        (
            "usages",
            json!({"key_usage": ["DigitalSignature", "CertSign"], "code_signing_flag": true,
                   "email_protection_flag": true, "ext_key_usage": ["TimeStamping"]}),
            vec![cn.clone()],
        ),
        (
            "noenf",
            json!({"enforce_hostnames": false}),
            vec![json!({"common_name": "a_b.service.consul"})],
        ),
        (
            "nowild",
            json!({"allow_wildcard_certificates": false, "allow_localhost": false}),
            vec![
                json!({"common_name": "*.service.consul"}),
                json!({"common_name": "localhost"}),
            ],
        ),
        (
            "csrno",
            json!({"use_csr_sans": false, "use_csr_common_name": false}),
            vec![cn.clone()],
        ),
    ]
}

fn subjects() -> Vec<Variant> {
    vec![(
        "org",
        json!({"allow_any_name": true, "organization": "Org", "ou": "A", "country": "DE"}),
        vec![
            json!({"common_name": "any.name", "alt_names": "x@y.z"}),
            json!({"common_name": "Any Name!"}),
        ],
    )]
}
