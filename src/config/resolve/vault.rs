//! The `vault` block.

use std::path::PathBuf;

use super::super::{
    layers::Layers,
    types::{TlsConfig, VaultConfig},
    values,
};

pub(super) fn vault(layers: &mut Layers<'_, '_>) -> Option<VaultConfig> {
    let addresses = layers.read_list("address", None, values::address);
    let allow_plain = layers.read("allow_plain_http", values::truth);
    let namespace = layers.read("namespace", values::api_path);
    let tls = tls(layers);
    let timeout = layers.read("timeout", values::positive);
    let max_retries = layers.read("max_retries", |text| match values::count(text)? {
        many if many > 100 => Err("more than 100".to_owned()),
        some => Ok(some),
    });
    let rate_limit = layers.read("rate_limit", values::rate);
    let proxy = layers.read("proxy", values::proxy);
    let disable_redirects = layers.read("disable_redirects", values::truth);
    let headers = layers.read_list("headers", None, values::header);
    if addresses.is_empty() {
        layers.problem("address", "no address that can be used");
    }
    if proxy.is_some() && addresses.iter().any(|one| one.starts_with("unix:")) {
        layers.problem(
            "proxy",
            "a unix:// address can't be reached through a proxy",
        );
    }
    let found = VaultConfig {
        addresses,
        allow_plain_http: allow_plain?,
        namespace,
        tls,
        timeout: timeout?,
        proxy,
        rate_limit,
        max_retries: max_retries?,
        disable_redirects: disable_redirects?,
        headers,
    };
    refuse_plain(layers, &found);
    Some(found)
}

/// Never without TLS by accident, and never because an attacker blocks the address that has it.
fn refuse_plain(layers: &mut Layers<'_, '_>, vault: &VaultConfig) {
    let has = |scheme| vault.addresses.iter().any(|one| one.starts_with(scheme));
    if has("http://") && has("https://") {
        layers.problem(
            "address",
            "mixes http:// and https://: whoever blocks the latter would get the token over the \
             former; write https:// for all",
        );
    }
    if vault.allow_plain_http {
        return;
    }
    let plain: Vec<String> = vault.plain_addresses().map(str::to_owned).collect();
    for address in plain {
        layers.problem(
            "address",
            format!(
                "{address} is another host without TLS: an attacker on the network can read the \
                 token and the private key, or answer instead of Vault; write https://, or set \
                 allow_plain_http"
            ),
        );
    }
}

fn tls(layers: &mut Layers<'_, '_>) -> TlsConfig {
    let path = |text: &str| Ok(PathBuf::from(values::text(text)?));
    let strongest = strongest_ca(layers);
    let mut tls = TlsConfig {
        ca_cert: layers.read("ca_cert", path),
        ca_cert_bytes: layers.read("ca_cert_bytes", values::pem),
        ca_path: layers.read("ca_path", path),
        client_cert: layers.read("client_cert", path),
        client_key: layers.read("client_key", path),
        server_name: layers.read("tls_server_name", values::server_name),
    };
    match (&tls.client_cert, &tls.client_key) {
        (Some(_), None) if layers.written("client_key").is_none() => {
            layers.problem("client_cert", "needs client_key beside it");
        }
        (None, Some(_)) if layers.written("client_cert").is_none() => {
            layers.problem("client_key", "needs client_cert beside it");
        }
        _ => {}
    }
    if strongest != Some("ca_cert") {
        tls.ca_cert = None;
    }
    if strongest != Some("ca_cert_bytes") {
        tls.ca_cert_bytes = None;
    }
    if strongest != Some("ca_path") {
        tls.ca_path = None;
    }
    tls
}

/// The one source of trust anchors that counts: the strongest place, and within it the order of
/// the Vault client (CACERT, CACERT_BYTES, CAPATH). A note names the others.
fn strongest_ca(layers: &mut Layers<'_, '_>) -> Option<&'static str> {
    let mut set: Vec<_> = ["ca_cert", "ca_cert_bytes", "ca_path"]
        .into_iter()
        .filter_map(|key| Some((layers.written(key)?, key)))
        .collect();
    set.sort_by_key(|(source, _)| std::cmp::Reverse(source.strength()));
    let (winner, others) = set.split_first()?;
    for (source, key) in others {
        layers.all.notes.push(format!(
            "{source}: vault.{key} has no effect, because vault.{} is set ({})",
            winner.1, winner.0
        ));
    }
    Some(winner.1)
}
