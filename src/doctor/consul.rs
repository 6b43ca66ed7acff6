//! Consul as the application sees it from this task: its HTTP API and its names.
//!
//! Loki keeps its rings in the Consul agent and finds its peers by `*.service.consul`. In a container
//! 127.0.0.1 and the resolver are others than on the node, so both are asked from here. What stays
//! true: a connection and a look-up, nothing is sent.

use std::time::Duration;

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{CheckOutcome, DoctorFacts, facts::ConsulFacts};
use crate::config::{Config, Environment};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A name that every Consul with a server resolves: <https://developer.hashicorp.com/consul/docs/discover/dns>.
const KNOWN_NAME: &str = "consul.service.consul";
const HTTP_PORT: u16 = 8500;

/// Asked where the environment names an agent; names, where a certificate has one under `.consul` too.
pub(super) async fn ask(config: Option<&Config>, environment: &Environment) -> ConsulFacts {
    const NO_ADDRESS: &str = "CONSUL_HTTP_ADDR names no address";
    let Some(address) = address(environment) else {
        return ConsulFacts {
            agent: Err(NO_ADDRESS),
            names: Err(NO_ADDRESS),
        };
    };
    let certificates = config.iter().flat_map(|config| &config.certificates);
    let mut names = certificates.map(|one| &one.request.names.common_name);
    let names = match names.any(|name| name.ends_with(".service.consul")) {
        true => Ok(resolves().await),
        false => Err("no certificate has a name under .service.consul"),
    };
    let agent = Ok((address.clone(), connects(&address).await));
    ConsulFacts { agent, names }
}

/// Host and port of `CONSUL_HTTP_ADDR`, which may have a scheme; none for a unix socket.
fn address(environment: &Environment) -> Option<String> {
    let text = environment.get("CONSUL_HTTP_ADDR")?.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    if scheme == "unix" {
        return None;
    }
    let bracketed = host.ends_with(']');
    match host.rsplit_once(':') {
        Some(_) if !bracketed => Some(host.to_owned()),
        _ => Some(format!("{host}:{HTTP_PORT}")),
    }
}

async fn connects(address: &str) -> Result<(), String> {
    match timeout(ANSWER_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

async fn resolves() -> Result<(), String> {
    match timeout(ANSWER_TIMEOUT, lookup_host((KNOWN_NAME, HTTP_PORT))).await {
        Ok(Ok(mut found)) => match found.next() {
            Some(_) => Ok(()),
            None => Err("the answer has no address".to_owned()),
        },
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

pub(super) fn unreachable(facts: &DoctorFacts) -> CheckOutcome {
    match &facts.consul.agent {
        Err(why) => CheckOutcome::skipped(*why),
        Ok((_, Ok(()))) => CheckOutcome::Fine,
        Ok((address, Err(why))) => CheckOutcome::wrong(
            address,
            format!("the Consul agent takes no connection from here: {why}"),
        ),
    }
}

pub(super) fn unresolved(facts: &DoctorFacts) -> CheckOutcome {
    match &facts.consul.names {
        Err(why) => CheckOutcome::skipped(*why),
        Ok(Ok(())) => CheckOutcome::Fine,
        Ok(Err(why)) => CheckOutcome::wrong(KNOWN_NAME, format!("it does not resolve here: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_address_is_read_as_consul_reads_it() {
        let of = |text: &str| {
            let set = [("CONSUL_HTTP_ADDR".to_owned(), text.to_owned())];
            address(&set.into_iter().collect::<Environment>())
        };
        let table = [
            ("10.0.0.1:8500", Some("10.0.0.1:8500")),
            ("http://consul:8500", Some("consul:8500")),
            ("https://consul:8501/", Some("consul:8501")),
            ("consul", Some("consul:8500")),
            ("[::1]:8500", Some("[::1]:8500")),
            ("[::1]", Some("[::1]:8500")),
            ("unix:///run/consul.sock", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(of(text).as_deref(), wanted, "{text}");
        }
    }
}
