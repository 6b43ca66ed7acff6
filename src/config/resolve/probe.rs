//! The `probe` block of a certificate: where the application serves it, and how to look.
//!
//! Never connects anywhere. What stays true: without a word about the probe there is none.

use std::time::Duration;

use super::super::{
    layers::{Derived, Layers},
    types::{ProbeConfig, ProbeTarget, StartTls},
    values,
};
use crate::model::{request::Names, served};

/// Nomad's variable with the address of the port labelled `grpc`.
const GRPC_PORT: &str = "NOMAD_ADDR_grpc";

/// What the block and its flags and variables say; `names` are those of the certificate.
pub(super) fn probe(layers: &mut Layers<'_, '_>, names: Option<&Names>) -> Option<ProbeConfig> {
    let wanted = Derived::new(layers.mentioned().to_string(), "the probe block");
    let enabled = layers.read_or("enabled", Some(wanted), values::truth);
    let of_nomad = layers.all.environment.get(GRPC_PORT);
    let of_nomad = of_nomad.filter(|text| !text.is_empty()).cloned();
    let is_nomads = layers.written("address").is_none() && of_nomad.is_some();
    if enabled == Some(true) && of_nomad.is_none() && layers.written("address").is_none() {
        let message = format!("no address to probe: set it (on Nomad it would be {GRPC_PORT})");
        layers.problem("address", message);
    }
    let of_nomad = of_nomad.map(|address| Derived::new(address, GRPC_PORT));
    let address = layers.read_or("address", of_nomad, address);
    let server_name = server_name(layers, address.as_deref(), names);
    let mtls = layers.read("mtls", values::truth);
    let starttls = layers.read("starttls", |text| match text {
        "none" => Ok(None),
        "postgres" => Ok(Some(StartTls::Postgres)),
        "smtp" => Ok(Some(StartTls::Smtp)),
        _ => Err("not none, postgres or smtp".to_owned()),
    });
    let health = is_nomads && starttls == Some(None);
    let health = Derived::new(health.to_string(), "the address");
    let grpc_health = layers.read_or("grpc_health", Some(health), values::truth);
    let h2 = (grpc_health == Some(true)).then(|| Derived::new("h2", "grpc_health"));
    let alpn = layers.read_list("alpn", h2, alpn);
    let interval = layers.read("interval", values::positive);
    let timeout = layers.read("timeout", values::positive);
    if grpc_health == Some(true) && !alpn.iter().any(|one| one == "h2") {
        layers.problem("alpn", "gRPC needs h2 among the protocols");
    }
    if grpc_health == Some(true) && matches!(starttls, Some(Some(_))) {
        layers.problem("grpc_health", "gRPC does not begin with STARTTLS");
    }
    let found = ProbeConfig {
        target: ProbeTarget {
            address: address?,
            server_name: server_name?,
            alpn,
            mtls: mtls?,
            starttls: starttls?,
            grpc_health: grpc_health?,
            timeout: timeout?.min(Duration::from_secs(300)),
        },
        interval: interval?,
    };
    (enabled == Some(true)).then_some(found)
}

/// A client checks the name it dialled; a probe over loopback checks one that the certificate has.
fn server_name(
    layers: &mut Layers<'_, '_>,
    address: Option<&str>,
    names: Option<&Names>,
) -> Option<String> {
    let derived = match (address, names) {
        (Some(address), Some(names)) => {
            let ips: Vec<_> = names.ips.iter().copied().collect();
            let host = Some(&names.common_name).filter(|name| Names::is_host(name));
            let dns = names.dns.iter().chain(host);
            let dns: Vec<_> = dns.map(String::as_str).collect();
            let name = served::name_to_prove(address, &dns, &ips);
            Some(Derived::new(name, "the address and the certificate"))
        }
        _ => None,
    };
    layers.read_or("server_name", derived, values::server_name)
}

fn address(text: &str) -> Result<String, String> {
    match served::split_address(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not host:port, such as 127.0.0.1:9095 or [::1]:9095".to_owned()),
    }
}

/// RFC 7301 section 3.1: 1 to 255 bytes.
fn alpn(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        _ => Err("a protocol has a name of 1 to 255 bytes".to_owned()),
    }
}
