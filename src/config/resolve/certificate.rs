//! One `certificate` block, and what Nomad's variables say when it is silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::super::{
    file::WrittenBlock,
    layers::{Derived, Gathered, Layers},
    table::Section,
    types::{CertConfig, Files},
    values,
};
use super::{probe, reload};
use crate::model::{
    duration,
    issuance_limit::IssuanceLimit,
    request::{KeyType, Mode, Names, Request},
    schedule::{MinRemaining, RenewAt, RenewPolicy},
    trust::{TrustPolicy, TrustScope},
};

/// An anchor that is no longer listed stays for at least this, when nothing else is said.
const MIN_RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// The certificate of `block`, or of flags and variables alone; `several`: it is not the only one.
pub(super) fn certificate(
    all: &mut Gathered<'_>,
    block: Option<&WrittenBlock>,
    several: bool,
) -> Option<CertConfig> {
    let mut layers = Layers {
        certificate: block.and_then(|block| block.label.clone()),
        all,
        section: Section::Certificate,
        block,
        outer: !several,
    };
    let first_row = layers.all.table.as_ref().map_or(0, Vec::len);
    let component = component(&mut layers);
    let name = name(&mut layers, component.as_deref());
    if layers.certificate.is_none() {
        layers.certificate.clone_from(&name);
        for row in layers.all.table.iter_mut().flatten().skip(first_row) {
            row.certificate.clone_from(&name);
        }
    }
    let names = names(&mut layers, component.as_deref());
    let request = request(&mut layers, names);
    let seed = request.as_ref().map(|request| seed_of(&request.names));
    let renew = renew(&mut layers, name.as_deref(), request.as_ref(), seed);
    let files = files(&mut layers, name.as_deref().filter(|_| several));
    let ready_file = ready_file(&mut layers, name.as_deref().filter(|_| several));
    let extra_ca = layers.read("extra_ca", path);
    let ca_poll_interval = layers.read("ca_poll_interval", values::duration);
    let trust = trust(&mut layers, ca_poll_interval);
    let ca_retention = ca_retention(&mut layers, request.as_ref());
    let names = request.as_ref().map(|request| &request.names);
    let probe = probe::probe(&mut layers.inner(Section::Probe), names);
    let common_name = names.map(|names| names.common_name.as_str());
    let reload = reload::reload(&mut layers.inner(Section::Reload), common_name);
    let ttl = request.as_ref().map(|request| request.ttl);
    let inner = &mut layers.inner(Section::Rollback);
    let rollback = reload::rollback(inner, ttl, probe.is_some());
    Some(CertConfig {
        name: name?,
        request: request?,
        renew: renew?,
        files: files?,
        ready_file,
        extra_ca,
        trust: trust?,
        ca_poll_interval: ca_poll_interval?,
        ca_retention: ca_retention?,
        probe,
        reload: Some(reload?),
        rollback,
    })
}

/// What is to be trusted of the mount; without polls nothing of it can be.
fn trust(layers: &mut Layers<'_, '_>, poll: Option<Duration>) -> Option<TrustPolicy> {
    let scope = layers.read("trust", str::parse::<TrustScope>);
    let named = layers.read_list("trust_issuers", None, values::anchor);
    let distrusted = layers.read_list("distrust", None, values::anchor);
    let polls = poll.is_none_or(|every| !every.is_zero());
    if !polls && layers.written("trust").is_some() && scope != Some(TrustScope::Chain) {
        layers.problem("trust", "the mount is never asked: ca_poll_interval is 0");
    }
    if !polls && !named.is_empty() {
        layers.problem(
            "trust_issuers",
            "the mount is never asked: ca_poll_interval is 0",
        );
    }
    if let Some(both) = named.iter().find(|name| distrusted.contains(name)) {
        layers.problem("distrust", format!("{both} is in trust_issuers too"));
    }
    Some(TrustPolicy {
        scope: scope?,
        named,
        distrusted,
    })
}

/// Until everything that an issuer could have signed for the peers, before it left, has expired.
fn ca_retention(layers: &mut Layers<'_, '_>, request: Option<&Request>) -> Option<Duration> {
    let derived = request.map(|request| {
        let span = request.ttl.max(MIN_RETENTION);
        Derived::new(duration::print(span), "the ttl")
    });
    layers.read_or("ca_retention", derived, values::duration)
}

/// Two certificates in one directory, or with one ready file, would overwrite each other.
pub(super) fn distinct(all: &mut Gathered<'_>, found: &[CertConfig]) {
    let mut taken = BTreeMap::new();
    for one in found {
        let places = [
            ("dir", Some(&one.files.dir)),
            ("ready_file", one.ready_file.as_ref()),
        ];
        for (key, path) in places {
            let Some(path) = path else { continue };
            // Components leave out `.` and doubled slashes.
            let place = (key, path.components().collect::<Vec<_>>());
            if let Some(other) = taken.insert(place, &one.name) {
                clash(all, key, other, &one.name, path);
            }
        }
    }
}

fn clash(all: &mut Gathered<'_>, key: &str, first: &str, second: &str, path: &Path) {
    let message = format!(
        "the certificates {first} and {second} would overwrite each other in {}",
        path.display()
    );
    all.problems
        .add(None, &format!("certificate.{key}"), message);
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(values::text(text)?))
}

fn component(layers: &mut Layers<'_, '_>) -> Option<String> {
    let group = nomad(layers, "NOMAD_GROUP_NAME");
    let derived = group.map(|group| Derived::new(group, "NOMAD_GROUP_NAME"));
    layers.read_or("component", derived, |text| match values::dns_name(text) {
        Ok(name) if !name.contains(['.', '*']) => Ok(name),
        _ => Err("does not fit into a DNS name; set component or common_name".to_owned()),
    })
}

fn name(layers: &mut Layers<'_, '_>, component: Option<&str>) -> Option<String> {
    let derived = match (component, nomad(layers, "NOMAD_TASK_NAME")) {
        (Some(component), _) => Derived::new(component, "the component"),
        (None, Some(task)) => Derived::new(task, "NOMAD_TASK_NAME"),
        (None, None) => Derived::new("certs", "the usual name"),
    };
    layers.read_or("name", Some(derived), values::label)
}

fn nomad(layers: &Layers<'_, '_>, name: &str) -> Option<String> {
    let text = layers.all.environment.get(name)?;
    (!text.is_empty()).then(|| text.clone())
}

fn names(layers: &mut Layers<'_, '_>, component: Option<&str>) -> Option<Names> {
    let derived = component
        .map(|component| Derived::new(format!("loki-{component}.service.consul"), "the component"));
    if derived.is_none() && layers.written("common_name").is_none() {
        layers.problem(
            "common_name",
            "no name to request: set component or common_name (inside a Nomad group the component \
             is NOMAD_GROUP_NAME)",
        );
    }
    let common_name = layers.read_or("common_name", derived, values::common_name);
    let dns = layers.read_list("dns_sans", None, values::dns_name);
    let ports = ports(layers);
    let mut ips: BTreeSet<IpAddr> = layers
        .read_list("ip_sans", ports, values::ip)
        .into_iter()
        .collect();
    ips.extend(layers.read("node_ip", values::ip));
    let uris = layers.read_list("uri_sans", None, values::uri);
    if ips.is_empty() {
        let name = layers.certificate.as_deref().unwrap_or("certs");
        layers.all.notes.push(format!(
            "certificate {name}: carries no IP address, so it can't be reached by one; \
             set ip_sans, or CERTAGENT_NODE_IP"
        ));
    }
    let common_name = common_name?;
    let has_host = Names::is_host(&common_name);
    if !has_host && dns.is_empty() && ips.is_empty() && uris.is_empty() {
        layers.problem(
            "common_name",
            "it is no host name and there is no other name: set dns_sans, ip_sans or uri_sans",
        );
    }
    Some(Names {
        common_name,
        dns: dns.into_iter().collect(),
        ips,
        uris: uris.into_iter().collect(),
    })
}

/// Every distinct address that Nomad gave a port of this group; `grpc` first, which peers dial.
fn ports(layers: &Layers<'_, '_>) -> Option<Derived> {
    let mut found: Vec<(&str, &str)> = layers
        .all
        .environment
        .iter()
        .filter(|(name, ip)| name.starts_with("NOMAD_IP_") && !ip.is_empty())
        .map(|(name, ip)| (name.as_str(), ip.as_str()))
        .collect();
    found.sort_by_key(|(name, _)| *name != "NOMAD_IP_grpc");
    let mut seen = BTreeSet::new();
    found.retain(|(_, ip)| seen.insert(*ip));
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    (!found.is_empty()).then(|| Derived {
        texts: found.iter().map(|(_, ip)| (*ip).to_owned()).collect(),
        from: names.join(", "),
    })
}

fn request(layers: &mut Layers<'_, '_>, names: Option<Names>) -> Option<Request> {
    let mount = layers.read("mount", values::api_path);
    let role = layers.read("role", values::api_name);
    let mode = layers.read("mode", str::parse::<Mode>);
    let ttl = layers.read("ttl", |text| match values::positive(text)? {
        odd if odd.subsec_nanos() != 0 => Err("Vault counts whole seconds".to_owned()),
        whole => Ok(whole),
    });
    let key_type = layers.read("key_type", str::parse::<KeyType>);
    let key_type_open = mode != Some(Mode::Sign) && layers.written("key_type").is_none();
    let reuse_key = layers.read("reuse_key", values::truth);
    let issuer_sha256 = layers.read("issuer_sha256", values::sha256);
    if mode.is_some_and(|mode| mode != Mode::Sign) && reuse_key == Some(true) {
        layers.problem(
            "reuse_key",
            "a key that Vault makes is a new one each time; set mode to sign",
        );
    }
    Some(Request {
        mount: mount?,
        role: role?,
        mode: mode?,
        names: names?,
        ttl: ttl?,
        key_type: key_type?,
        key_type_open,
        reuse_key: reuse_key?,
        issuer_sha256,
    })
}

/// Outside of Nomad and without a host name: at least different for different certificates.
fn seed_of(names: &Names) -> String {
    let ips: Vec<_> = names.ips.iter().map(IpAddr::to_string).collect();
    format!("{} {}", names.common_name, ips.join(" "))
}

fn renew(
    layers: &mut Layers<'_, '_>,
    name: Option<&str>,
    request: Option<&Request>,
    seed: Option<String>,
) -> Option<RenewPolicy> {
    let ttl = request.map(|request| request.ttl);
    let at = layers.read("renew_at", values::renew_at);
    let splay = layers.read("splay", values::duration);
    let seed = ["NOMAD_ALLOC_ID", "HOSTNAME"]
        .into_iter()
        .find_map(|variable| Some(Derived::new(nomad(layers, variable)?, variable)))
        .or_else(|| Some(Derived::new(seed?, "the names")));
    let splay_seed = layers.read_or("splay_seed", seed, values::text);
    let margin = ttl.map(|ttl| {
        let margin = (ttl / 20).min(Duration::from_secs(300));
        Derived::new(duration::print(margin), "the ttl")
    });
    let min_remaining = layers.read_or("min_remaining", margin, values::duration);
    let min_remaining = match layers.written("min_remaining") {
        Some(_) => min_remaining.map(MinRemaining::Configured),
        None => min_remaining.map(MinRemaining::Derived),
    };
    let limit = ttl.map(|ttl| IssuanceLimit::Derived { ttl });
    let shown = limit.map(|limit| Derived::new(limit.per_hour(None).to_string(), "the ttl"));
    let per_hour = layers.read_or("max_issuances_per_hour", shown, values::at_least_one);
    let max_issuances_per_hour = match layers.written("max_issuances_per_hour") {
        Some(_) => per_hour.map(IssuanceLimit::Configured),
        None => limit,
    };
    let startup_timeout = layers.read("startup_timeout", values::positive);
    if let (Some(ttl), Some(MinRemaining::Configured(margin))) = (ttl, min_remaining)
        && margin >= ttl
    {
        let ttl = duration::print(ttl);
        layers.problem("min_remaining", format!("not less than the ttl of {ttl}"));
    }
    if let (Some(ttl), Some(RenewAt::Before(before))) = (ttl, at)
        && before >= ttl / 2
    {
        layers.all.notes.push(format!(
            "certificate.renew_at: {} before expiry is half the ttl of {} or more; 2/3 of the \
             lifetime is used",
            duration::print(before),
            duration::print(ttl),
        ));
    }
    Some(RenewPolicy {
        at: at?,
        splay: splay?,
        splay_seed: format!("{}/{}", splay_seed?, name?),
        min_remaining: min_remaining?,
        max_issuances_per_hour: max_issuances_per_hour?,
        startup_timeout: startup_timeout?,
    })
}

/// `one_of`: the name, when several certificates need directories of their own.
fn files(layers: &mut Layers<'_, '_>, one_of: Option<&str>) -> Option<Files> {
    let last = one_of.map_or_else(|| "certs".to_owned(), |name| format!("certs-{name}"));
    let derived = match nomad(layers, "NOMAD_SECRETS_DIR") {
        Some(secrets) => Derived::new(
            Path::new(&secrets).join(last).display().to_string(),
            "NOMAD_SECRETS_DIR",
        ),
        None => Derived::new(format!("secrets/{last}"), "the working directory"),
    };
    let dir = layers.read_or("dir", Some(derived), path);
    let cert_perms = layers.read("cert_perms", values::mode);
    let key_perms = layers.read("key_perms", values::key_perms);
    let uid = layers.read("uid", values::count);
    let gid = layers.read("gid", values::count);
    Some(Files {
        dir: dir?,
        cert_perms: cert_perms?,
        key_perms: key_perms?,
        uid,
        gid,
    })
}

fn ready_file(layers: &mut Layers<'_, '_>, one_of: Option<&str>) -> Option<PathBuf> {
    let last = one_of.map_or_else(
        || "ready.json".to_owned(),
        |name| format!("ready-{name}.json"),
    );
    let derived = nomad(layers, "NOMAD_ALLOC_DIR").map(|alloc| {
        let path = Path::new(&alloc).join("certagent").join(last);
        Derived::new(path.display().to_string(), "NOMAD_ALLOC_DIR")
    });
    layers.read_or("ready_file", derived, path)
}
