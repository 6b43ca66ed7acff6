//! Where the agents are: Consul's catalogue, Nomad's service discovery, or a list.
//!
//! Never writes, and never takes an unverified server's word. What stays true: variables mean what they
//! mean to Consul's and Nomad's own command lines; a switch that turns verification off is refused.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use reqwest::{
    Client, RequestBuilder, Url,
    header::{HeaderMap, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::Place;
use crate::{
    config::{Environment, TlsConfig},
    disk, http_client,
    model::{fleet::Who, foreign::shortened, secret::Secret, served::split_address},
    vault,
};

/// For one question.
const CATALOGUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one answer: some thousand instances.
const MAX_CATALOGUE_BYTES: usize = 8 << 20;

/// Bytes of a token's file.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Services beside the agent's that are looked at.
const MAX_SERVICES: usize = 64;

/// What the agents' service is called, after the name of the application.
const AGENT_SUFFIX: &str = "certagent";

/// What a catalogue's own command line reads: names of variables.
struct Variables {
    kind: &'static str,
    address: (&'static str, &'static str),
    token: (&'static str, &'static str),
    token_file: Option<&'static str>,
    auth: &'static str,
    /// Name, and the value that would switch verification off.
    verify: (&'static str, bool),
    /// CA file, CA directory, certificate, key, name to verify.
    tls: [&'static str; 5],
    /// Query parameter, variable.
    query: [(&'static str, &'static str); 2],
}

/// Consul, api/api.go.
const CONSUL: Variables = Variables {
    kind: "Consul",
    address: ("CONSUL_HTTP_ADDR", "127.0.0.1:8500"),
    token: ("CONSUL_HTTP_TOKEN", "X-Consul-Token"),
    token_file: Some("CONSUL_HTTP_TOKEN_FILE"),
    auth: "CONSUL_HTTP_AUTH",
    verify: ("CONSUL_HTTP_SSL_VERIFY", false),
    tls: [
        "CONSUL_CACERT",
        "CONSUL_CAPATH",
        "CONSUL_CLIENT_CERT",
        "CONSUL_CLIENT_KEY",
        "CONSUL_TLS_SERVER_NAME",
    ],
    query: [
        ("ns", "CONSUL_NAMESPACE"),
        ("partition", "CONSUL_PARTITION"),
    ],
};

/// Nomad, api/api.go.
const NOMAD: Variables = Variables {
    kind: "Nomad",
    address: ("NOMAD_ADDR", "http://127.0.0.1:4646"),
    token: ("NOMAD_TOKEN", "X-Nomad-Token"),
    token_file: None,
    auth: "NOMAD_HTTP_AUTH",
    verify: ("NOMAD_SKIP_VERIFY", true),
    tls: [
        "NOMAD_CACERT",
        "NOMAD_CAPATH",
        "NOMAD_CLIENT_CERT",
        "NOMAD_CLIENT_KEY",
        "NOMAD_TLS_SERVER_NAME",
    ],
    query: [("namespace", "NOMAD_NAMESPACE"), ("region", "NOMAD_REGION")],
};

/// A catalogue that can be asked.
pub struct Catalogue {
    variables: &'static Variables,
    client: Client,
    base: Url,
    /// The host that is meant where the URL has the name to verify.
    shown: String,
    token: Option<Secret>,
    auth: Option<Secret>,
}

impl Catalogue {
    /// Consul, as its variables say.
    ///
    /// # Errors
    /// What can't be used, by its variable.
    pub fn consul(environment: &Environment) -> Result<Self, String> {
        Self::of(&CONSUL, environment)
    }

    /// Nomad, as its variables say.
    ///
    /// # Errors
    /// As [`Catalogue::consul`].
    pub fn nomad(environment: &Environment) -> Result<Self, String> {
        Self::of(&NOMAD, environment)
    }

    fn of(variables: &'static Variables, environment: &Environment) -> Result<Self, String> {
        let set = |name: &str| {
            environment
                .get(name)
                .filter(|text| !text.is_empty())
                .cloned()
        };
        let (verify, off) = variables.verify;
        if let Some(text) = set(verify) {
            let value =
                truth(&text).ok_or_else(|| format!("{verify}: {text:?} is not true or false"))?;
            if value == off {
                let ca = variables.tls[0];
                return Err(format!(
                    "{verify} is refused: without verification another host could name the agents; set {ca} instead"
                ));
            }
        }
        let [ca_cert, ca_path, client_cert, client_key, server_name] = variables.tls.map(set);
        let path = |text: Option<String>| text.map(PathBuf::from);
        let files = TlsConfig {
            ca_cert: path(ca_cert),
            ca_path: path(ca_path),
            client_cert: path(client_cert),
            client_key: path(client_key),
            server_name,
            ca_cert_bytes: None,
        };
        let (name, usual) = variables.address;
        let named = set(name);
        let text = named.as_deref().unwrap_or(usual);
        let secure = name == "CONSUL_HTTP_ADDR"
            && set("CONSUL_HTTP_SSL").is_some_and(|text| truth(&text) == Some(true));
        let token = match variables.token_file.and_then(set) {
            Some(file) => Some(token_of(&file)?),
            None => set(variables.token.0).map(Secret::new),
        };
        let (client, mut base, mut shown) =
            client(text, secure, &files).map_err(|why| format!("{name} {text:?}: {why}"))?;
        if named.is_none() {
            shown.push_str(&format!(" ({name} is not set)"));
        }
        for (key, name) in variables.query {
            if let Some(value) = set(name) {
                base.query_pairs_mut().append_pair(key, &value);
            }
        }
        Ok(Self {
            variables,
            client,
            base,
            shown,
            token,
            auth: set(variables.auth).map(Secret::new),
        })
    }

    /// The agents of `service`, and the applications beside them that have none.
    ///
    /// # Errors
    /// Why it can't be asked, or that there is no agent.
    pub async fn places(&self, service: &str) -> Result<Vec<Place>, String> {
        let (names, filtered) = self.services().await?;
        let agents = self.entries(service).await?;
        if agents.is_empty() {
            let near: Vec<String> = names
                .iter()
                .take(6)
                .map(|name| shortened(name, 60))
                .collect();
            let why = match (filtered, near.is_empty()) {
                (true, _) => {
                    "its answers are filtered by ACLs: the token lacks the rights".to_owned()
                }
                (false, true) => "it shows no service at all to this token".to_owned(),
                (false, false) => format!("it knows {}; use --service", near.join(", ")),
            };
            return Err(format!(
                "{} at {} has no instance of {service:?}: {why}",
                self.variables.kind, self.shown
            ));
        }
        let mut places: Vec<Place> = agents.iter().map(|one| one.place(true)).collect();
        let Some(stem) = service
            .strip_suffix(AGENT_SUFFIX)
            .filter(|stem| !stem.is_empty())
        else {
            return Ok(places);
        };
        let mut bare: BTreeMap<String, Place> = BTreeMap::new();
        let beside = names
            .iter()
            .filter(|name| name.starts_with(stem) && *name != service);
        for name in beside.take(MAX_SERVICES) {
            for one in self.entries(name).await? {
                if one.is_application() && !agents.iter().any(|agent| agent.is_beside(&one)) {
                    let place = one.place(false);
                    bare.entry(place.who.instance.clone()).or_insert(place);
                }
            }
        }
        places.extend(bare.into_values());
        Ok(places)
    }

    /// Names of all services, and whether some were kept back.
    async fn services(&self) -> Result<(Vec<String>, bool), String> {
        if self.variables.kind == CONSUL.kind {
            let (all, filtered): (BTreeMap<String, serde_json::Value>, bool) =
                self.ask(&["catalog", "services"]).await?;
            return Ok((all.into_keys().collect(), filtered));
        }
        let (all, filtered): (Vec<NomadNamespace>, bool) = self.ask(&["services"]).await?;
        let names = all
            .into_iter()
            .flat_map(|one| one.services)
            .map(|one| one.service_name);
        Ok((names.collect(), filtered))
    }

    async fn entries(&self, service: &str) -> Result<Vec<Entry>, String> {
        if self.variables.kind == CONSUL.kind {
            let (found, _): (Vec<ConsulEntry>, bool) =
                self.ask(&["catalog", "service", service]).await?;
            return Ok(found.into_iter().map(Entry::from).collect());
        }
        let (found, _): (Vec<NomadEntry>, bool) = self.ask(&["service", service]).await?;
        Ok(found.into_iter().map(Entry::from).collect())
    }

    async fn ask<T: DeserializeOwned>(&self, path: &[&str]) -> Result<(T, bool), String> {
        let request = self.client.get(self.url(path));
        let asked = tokio::time::timeout(CATALOGUE_TIMEOUT, self.whole(request)).await;
        let asked =
            asked.unwrap_or_else(|_| Err(format!("no answer within {CATALOGUE_TIMEOUT:?}")));
        let read = asked.and_then(|(headers, body)| {
            let filtered = headers
                .get("X-Consul-Results-Filtered-By-ACLs")
                .is_some_and(|text| text == "true");
            let read = serde_json::from_slice(&body);
            let read = read.map_err(|error| format!("the answer can't be read: {error}"))?;
            Ok((read, filtered))
        });
        read.map_err(|why| format!("{} at {}: {why}", self.variables.kind, self.shown))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    /// The answer, when it is a good one.
    async fn whole(&self, request: RequestBuilder) -> Result<(HeaderMap, Vec<u8>), String> {
        let request = self.sign(request);
        let asked = http_client::whole(self.client.clone(), request, MAX_CATALOGUE_BYTES).await;
        let (status, headers, body) = asked?;
        if status.is_success() {
            return Ok((headers, body));
        }
        let said = shortened(String::from_utf8_lossy(&body).trim(), 200);
        let hint = match status.as_u16() {
            401 | 403 => format!("; check {}", self.variables.token.0),
            _ => String::new(),
        };
        Err(format!(
            "it answered with {}: {said}{hint}",
            status.as_u16()
        ))
    }

    fn sign(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(Ok(mut value)) = self
            .token
            .as_ref()
            .map(|token| HeaderValue::from_str(token.expose()))
        {
            value.set_sensitive(true);
            request = request.header(self.variables.token.1, value);
        }
        match self.auth.as_ref().map(|auth| {
            auth.expose()
                .split_once(':')
                .unwrap_or_else(|| (auth.expose(), ""))
        }) {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// Asks the agent in an allocation of Nomad for a renewal: SIGUSR1 to its task.
    /// Nomad API, "Signal Allocation".
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn signal_renewal(&self, allocation: &str, task: &str) -> Result<(), String> {
        let url = self.url(&["client", "allocation", allocation, "signal"]);
        let body = serde_json::json!({ "Task": task, "Signal": "SIGUSR1" }).to_string();
        let request = self.client.post(url).timeout(CATALOGUE_TIMEOUT).body(body);
        let request = request.header("content-type", "application/json");
        let sent = self.whole(request).await;
        sent.map(|_| ()).map_err(|why| format!("Nomad: {why}"))
    }
}

/// Places that were named one by one.
///
/// # Errors
/// The one that is no address.
pub fn listed(targets: &[String]) -> Result<Vec<Place>, String> {
    let each = targets.iter().map(|text| {
        split_address(text).ok_or_else(|| format!("{:?} is not HOST:PORT", shortened(text, 80)))?;
        let who = Who {
            address: text.clone(),
            ..Who::default()
        };
        Ok(Place {
            who,
            is_agent: true,
        })
    });
    each.collect()
}

/// As Go reads it (strconv.ParseBool).
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn token_of(file: &str) -> Result<Secret, String> {
    let read = disk::read(file.as_ref(), MAX_TOKEN_BYTES)
        .map_err(|error| format!("the token in {file}: {error}"))?;
    let text =
        std::str::from_utf8(&read.bytes).map_err(|_| format!("the token in {file} is not text"))?;
    Ok(Secret::new(text.trim().to_owned()))
}

/// The client, the URL that it asks, and the address to show.
fn client(text: &str, secure: bool, files: &TlsConfig) -> Result<(Client, Url, String), String> {
    let plain = text.split_once("://").map_or(text, |(_, rest)| rest);
    let scheme = match text.split_once("://") {
        Some(("unix", _)) => "unix",
        Some(("https", _)) => "https",
        Some(("http", _)) | None if secure => "https",
        Some(("http", _)) | None => "http",
        Some(_) => return Err("the scheme is none of http, https and unix".to_owned()),
    };
    let tls = vault::client_tls(files, scheme == "https").map_err(|failure| failure.message)?;
    let mut builder = http_client::fenced(tls).connect_timeout(CATALOGUE_TIMEOUT / 2);
    let mut url = match scheme {
        "unix" => {
            builder = builder.unix_socket(std::path::Path::new(plain));
            Url::parse("http://localhost")
        }
        _ => Url::parse(&format!("{scheme}://{plain}")),
    }
    .map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not contain a user name or password".to_owned());
    }
    let shown = if scheme == "unix" {
        text.to_owned()
    } else {
        url.as_str().trim_end_matches('/').to_owned()
    };
    if let (Some(name), "https") = (&files.server_name, scheme) {
        let real = (
            url.host_str().unwrap_or_default().to_owned(),
            url.port_or_known_default().unwrap_or(443),
        );
        let found =
            std::net::ToSocketAddrs::to_socket_addrs(&real).map_err(|error| error.to_string())?;
        builder = builder.resolve_to_addrs(name, &found.collect::<Vec<_>>());
        url.set_host(Some(name))
            .map_err(|error| error.to_string())?;
    }
    Ok((http_client::build(builder)?, url, shown))
}

/// One instance, whichever catalogue has it.
struct Entry {
    service: String,
    node: String,
    address: String,
    /// The allocation's id, where Nomad registered it.
    allocation: Option<String>,
    id: String,
    is_proxy: bool,
}

impl Entry {
    fn is_application(&self) -> bool {
        !self.is_proxy && !self.service.ends_with("-sidecar-proxy")
    }

    fn is_beside(&self, other: &Self) -> bool {
        match (&self.allocation, &other.allocation) {
            (Some(own), Some(other)) => own == other,
            _ => self.node == other.node,
        }
    }

    fn place(&self, is_agent: bool) -> Place {
        let short = |text: &str| shortened(text, 200);
        Place {
            who: Who {
                component: if is_agent {
                    String::new()
                } else {
                    short(&self.service)
                },
                instance: short(self.allocation.as_ref().unwrap_or(&self.id)),
                node: short(&self.node),
                address: short(&self.address),
            },
            is_agent,
        }
    }
}

/// Consul API, "List Nodes for Service".
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConsulEntry {
    node: String,
    address: String,
    service_address: String,
    service_port: u16,
    #[serde(rename = "ServiceID")]
    service_id: String,
    service_name: String,
    service_kind: String,
    service_meta: Option<BTreeMap<String, String>>,
}

impl From<ConsulEntry> for Entry {
    fn from(one: ConsulEntry) -> Self {
        let host = if one.service_address.is_empty() {
            &one.address
        } else {
            &one.service_address
        };
        let meta = one.service_meta.unwrap_or_default();
        // Nomad's ids: _nomad-task-<allocation>-<task>-<service>-<port>
        let in_id = one
            .service_id
            .strip_prefix("_nomad-task-")
            .and_then(|rest| rest.get(..36));
        Self {
            allocation: meta
                .get("alloc_id")
                .cloned()
                .or_else(|| in_id.map(str::to_owned)),
            address: joined(host, one.service_port),
            service: one.service_name,
            node: one.node,
            id: one.service_id,
            is_proxy: !one.service_kind.is_empty(),
        }
    }
}

/// Nomad API, "Read Service".
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NomadEntry {
    address: String,
    port: u16,
    #[serde(rename = "AllocID")]
    alloc_id: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    service_name: String,
}

impl From<NomadEntry> for Entry {
    fn from(one: NomadEntry) -> Self {
        Self {
            address: joined(&one.address, one.port),
            allocation: Some(one.alloc_id.clone()),
            service: one.service_name,
            node: one.node_id.chars().take(8).collect(),
            id: one.alloc_id,
            is_proxy: false,
        }
    }
}

/// Nomad API, "List Services".
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NomadNamespace {
    services: Vec<NomadService>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NomadService {
    service_name: String,
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
