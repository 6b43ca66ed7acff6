//! Asks every agent for its status, and looks at what its application serves when that is wanted.
//!
//! Never more than `MAX_CONNECTIONS` at once, never without a limit of time and size. What stays true:
//! as many places as were named are in the answer, each with one row at least.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use reqwest::Client;
use rustls::RootCertStore;
use tokio::time::timeout;

use super::{Place, report};
use crate::{
    config::{ProbeTarget, StartTls},
    http_client,
    model::{
        fleet::{self, Row, RowState},
        served::split_address,
        time::Timestamp,
    },
    probe::{Identity, probe},
    status::ProbePlace,
};

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;

/// For one agent's answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// For one look at an application.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes of one agent's answer: some 400 certificates.
const MAX_STATUS_BYTES: usize = 1 << 20;

/// Asks agents.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    identity: Option<Arc<Identity>>,
}

impl Fetcher {
    /// `identity`: also look at what each application serves, with this set.
    ///
    /// # Errors
    /// Why there is no HTTP client.
    pub fn new(identity: Option<Identity>) -> Result<Self, String> {
        let builder = http_client::builder(RootCertStore::empty())?;
        Ok(Self {
            client: http_client::build(builder)?,
            identity: identity.map(Arc::new),
        })
    }

    /// One row for each certificate and each place without one, the most urgent first.
    pub async fn rows(&self, places: &[Place], now: Timestamp) -> Vec<Row> {
        let each = places.iter().map(|place| self.place(place, now));
        let found: Vec<Vec<Row>> = stream::iter(each)
            .buffer_unordered(MAX_CONNECTIONS)
            .collect()
            .await;
        let mut rows = found.concat();
        fleet::sort(&mut rows);
        rows
    }

    async fn place(&self, place: &Place, now: Timestamp) -> Vec<Row> {
        if !place.is_agent {
            let why = "no agent is registered for this application".to_owned();
            return vec![Row::unseen(RowState::NoAgent, place.who.clone(), why)];
        }
        let asked = timeout(STATUS_TIMEOUT, self.status(&place.who.address)).await;
        let body = asked.unwrap_or_else(|_| Err(format!("no answer within {STATUS_TIMEOUT:?}")));
        let seen = body.and_then(|body| report::rows(&body, &place.who, now));
        let seen = match seen {
            Ok(seen) => seen,
            Err(why) => return vec![report::unseen(&place.who, &why)],
        };
        let mut rows = Vec::new();
        for (mut row, at) in seen {
            if let (Some(identity), Some(at)) = (&self.identity, at) {
                look(&mut row, &at, identity).await;
            }
            rows.push(row);
        }
        rows
    }

    async fn status(&self, address: &str) -> Result<Vec<u8>, String> {
        let request = self.client.get(format!("http://{address}/status"));
        let asked = http_client::whole(self.client.clone(), request, MAX_STATUS_BYTES).await;
        match asked.map(|(status, _, body)| (status.as_u16(), body))? {
            (200, body) => Ok(body),
            (404, _) => {
                Err("it serves no /status: is it an older certagent, or something else?".to_owned())
            }
            (other, _) => Err(format!("it answered with {other}")),
        }
    }
}

/// What is served counts more than what the agent believes.
async fn look(row: &mut Row, at: &ProbePlace, identity: &Identity) {
    let Some(leaf) = &mut row.leaf else { return };
    let target = ProbeTarget {
        address: from_here(&at.address, &row.who.address),
        server_name: at.server_name.clone(),
        alpn: at.alpn.iter().take(4).cloned().collect(),
        mtls: true,
        starttls: match at.starttls.as_deref() {
            Some("postgres") => Some(StartTls::Postgres),
            Some("smtp") => Some(StartTls::Smtp),
            _ => None,
        },
        grpc_health: false,
        timeout: PROBE_TIMEOUT,
    };
    let (serving, trouble) = match probe(&target, identity).await {
        Ok(served) if served.serial != leaf.serial => {
            ("old", Some(format!("it serves {}", served.serial)))
        }
        Ok(served) => match served.trust {
            crate::model::served::ChainTrust::Verified => ("current", None),
            crate::model::served::ChainTrust::Refused(why) => {
                ("old", Some(format!("what it serves is refused: {why}")))
            }
        },
        Err(failure) => ("unknown", Some(failure.message)),
    };
    serving.clone_into(&mut leaf.serving);
    if let Some(trouble) = trouble {
        let trouble = crate::model::foreign::shortened(&format!("seen from here: {trouble}"), 200);
        row.troubles.insert(0, trouble);
        row.state = row.state.min(RowState::NotReady);
    }
}

/// An address that the agent uses on its own host, as it is seen from elsewhere.
fn from_here(address: &str, agent: &str) -> String {
    let port = split_address(address).map(|(_, port)| port);
    let here = address.starts_with("localhost:")
        || address
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_loopback());
    match (port, agent.rsplit_once(':')) {
        (Some(port), Some((host, _))) if here => format!("{host}:{port}"),
        _ => address.to_owned(),
    }
}
