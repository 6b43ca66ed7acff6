//! One question to whichever address answers it.
//!
//! Addresses are tried in turn, beginning with the one that last worked: one that can't be reached,
//! is sealed or is a standby is passed over; a refusal is the answer. A redirect (307, 308) is followed
//! once, and only to another listed address: anywhere else the token does not go. An order is never
//! sent twice when it may have arrived. What stays true: the whole call ends within twice the
//! request timeout.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use reqwest::Url;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    address::Address,
    cause::NoAnswer,
    classify::{AfterRefusal, Said, failure, judge, misconfigured},
    header::{http_date, retry_after},
    rate::Limiter,
    tls::Tls,
    wire::{Ask, Common, Received, Server},
};
use crate::{
    clock::{Clock, SystemClock},
    config::VaultConfig,
    model::{
        failure::{Failure, FailureClass},
        time::Timestamp,
    },
};

/// Between two rounds over all addresses, times the number of rounds done.
const ROUND_DELAY: Duration = Duration::from_millis(250);

/// A success (2xx).
pub(super) struct Success {
    pub body: Zeroizing<Vec<u8>>,
    pub date: Option<Timestamp>,
    at: String,
}

impl Success {
    /// Reads the body as JSON; the error holds no part of it.
    pub(super) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| {
            failure(
                FailureClass::BadAnswer,
                "not-json",
                format!(
                    "reading the {what} from {}: the answer has another form",
                    self.at
                ),
                "check that the address is Vault's or OpenBao's",
            )
        })
    }
}

/// No success.
#[derive(Debug)]
pub(super) struct FailedCall {
    pub failure: Failure,
    pub next: AfterRefusal,
}

impl From<Failure> for FailedCall {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            next: AfterRefusal::Stop,
        }
    }
}

impl From<FailedCall> for Failure {
    fn from(refused: FailedCall) -> Self {
        refused.failure
    }
}

/// Keeps connections open while a request is under way; drop it, and the last one closes them.
pub(super) type Hold = Arc<Vec<Server>>;

/// All addresses and what requests to them have in common.
pub(super) struct Wire {
    addresses: Vec<Address>,
    common: Common,
    tls: Tls,
    limiter: Option<Limiter>,
    max_retries: u32,
    /// Not even to a listed address.
    no_redirects: bool,
    /// Index of the address to begin with.
    first: AtomicUsize,
    open: Mutex<Weak<Vec<Server>>>,
}

impl Wire {
    /// Checks all settings; connects nowhere.
    pub(super) fn new(config: &VaultConfig) -> Result<Self, Failure> {
        let addresses: Result<Vec<_>, _> = config
            .addresses
            .iter()
            .map(|text| Address::parse(text))
            .collect();
        let addresses = addresses?;
        if addresses.is_empty() {
            let text = "connecting to Vault: no address is configured".to_owned();
            return Err(misconfigured(
                "address",
                text,
                "set vault.address or VAULT_ADDR",
            ));
        }
        let uses_tls = addresses.iter().any(Address::is_tls);
        let wire = Self {
            tls: Tls::new(&config.tls, uses_tls)?,
            common: Common {
                namespace: namespace(config)?,
                server_name: config.tls.server_name.clone(),
                proxy: config.proxy.clone(),
                timeout: config.timeout,
                headers: headers(config)?,
            },
            addresses,
            limiter: config
                .rate_limit
                .map(|(rate, burst)| Limiter::new(rate, burst)),
            max_retries: config.max_retries,
            no_redirects: config.disable_redirects,
            first: AtomicUsize::new(0),
            open: Mutex::new(Weak::new()),
        };
        wire.hold()?;
        Ok(wire)
    }

    /// For Debug and messages.
    pub(super) fn addresses(&self) -> String {
        let shown: Vec<&str> = self.addresses.iter().map(|a| a.shown.as_str()).collect();
        shown.join(", ")
    }

    /// Clients for all addresses; shared by everyone who is busy at this moment.
    pub(super) fn hold(&self) -> Result<Hold, Failure> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hold) = open.upgrade() {
            return Ok(hold);
        }
        let tls = self.tls.config()?;
        let servers: Result<Vec<_>, _> = self
            .addresses
            .iter()
            .map(|address| Server::new(address, tls.clone(), &self.common))
            .collect();
        let hold = Arc::new(servers?);
        *open = Arc::downgrade(&hold);
        Ok(hold)
    }

    /// Asks until an address answers or none is left.
    pub(super) async fn send(&self, hold: &Hold, ask: &Ask<'_>) -> Result<Success, FailedCall> {
        let until = Instant::now() + self.common.timeout.saturating_mul(2);
        let mut passed: Vec<(String, FailedCall)> = Vec::new();
        for round in 0..=self.max_retries {
            if round > 0 {
                tokio::time::sleep(ROUND_DELAY * round).await;
            }
            passed.clear();
            let first = self.first.load(Ordering::Relaxed);
            for turn in 0..hold.len() {
                let index = (first + turn) % hold.len();
                if until <= Instant::now() {
                    return Err(together(ask, passed));
                }
                match self.one(hold, index, ask, until).await {
                    Ok(answer) => return Ok(answer),
                    Err(refused) if refused.next == AfterRefusal::Elsewhere => {
                        passed.push((hold[index].address.shown.clone(), refused));
                    }
                    Err(refused) => return Err(refused),
                }
            }
            let transport = |(_, refused): &(String, FailedCall)| {
                refused.failure.class == FailureClass::Transport
            };
            if !passed.iter().any(transport) {
                break;
            }
        }
        Err(together(ask, passed))
    }

    /// Asks every address at the same time, one of `checks` each; the first one that is `best`
    /// is the answer, without one the first that is any. `ask` is for the message.
    pub(super) async fn any<T>(
        &self,
        hold: &Hold,
        ask: &Ask<'_>,
        checks: impl Iterator<Item = impl Future<Output = Result<T, FailedCall>>>,
        best: impl Fn(&T) -> bool,
    ) -> Result<T, FailedCall> {
        let numbered = checks.enumerate();
        let mut checks: FuturesUnordered<_> = numbered
            .map(|(index, look)| async move { (index, look.await) })
            .collect();
        let mut passed: Vec<(String, FailedCall)> = Vec::new();
        let mut second = None;
        while let Some((index, found)) = checks.next().await {
            match found {
                Ok(found) if best(&found) => return Ok(found),
                Ok(found) => second = second.or(Some(found)),
                Err(refused) => passed.push((hold[index].address.shown.clone(), refused)),
            }
        }
        second.ok_or_else(|| together(ask, passed))
    }

    /// One address, and the address that it redirects to.
    pub(super) async fn one(
        &self,
        hold: &Hold,
        index: usize,
        ask: &Ask<'_>,
        until: Instant,
    ) -> Result<Success, FailedCall> {
        let mut place = index;
        let mut redirected = false;
        loop {
            let server = &hold[place];
            self.turn(ask, until).await?;
            let left = until.saturating_duration_since(Instant::now());
            let mut under_way = UnderWay {
                wire: self,
                place: Some(place),
            };
            let sent = server.send(ask, &self.common, left).await;
            under_way.place = None;
            let received = match sent {
                Ok(received) => received,
                Err(trouble) => return Err(self.no_answer(hold, place, ask, trouble)),
            };
            match received.status {
                200..=299 => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok(Success {
                        date: date(&received.headers),
                        body: received.body,
                        at: server.address.shown.clone(),
                    });
                }
                300..=399 => match target(hold, place, &received) {
                    Some(listed) if !redirected && !self.no_redirects => {
                        redirected = true;
                        place = listed;
                    }
                    _ => return Err(redirect_refused(server, ask, &received)),
                },
                _ => return Err(refusal(server, ask, &received)),
            }
        }
    }

    /// Waits for this request's turn under our own rate limit, but not beyond the call's end.
    async fn turn(&self, ask: &Ask<'_>, until: Instant) -> Result<(), FailedCall> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let turn = tokio::time::timeout_at(until, limiter.turn()).await;
        turn.map_err(|_| {
            let message = format!("{}: held back by the configured rate limit", tried(ask));
            let hint = "raise rate_limit (VAULT_RATE_LIMIT)";
            failure(FailureClass::Throttled, "own-rate-limit", message, hint).into()
        })
    }

    /// The next attempt begins with the next address, unless another one has answered since.
    fn leave(&self, place: usize) {
        let next = (place + 1) % self.addresses.len();
        let (was, is) = (Ordering::Relaxed, Ordering::Relaxed);
        let _another = self.first.compare_exchange(place, next, was, is);
    }

    fn no_answer(&self, hold: &Hold, place: usize, ask: &Ask<'_>, trouble: NoAnswer) -> FailedCall {
        let class = match trouble.code {
            "answer-too-large" | "answer-endless" => FailureClass::BadAnswer,
            "unsendable" => FailureClass::Misconfigured,
            _ => FailureClass::Transport,
        };
        let once = trouble.sent && !ask.repeatable;
        if once {
            self.leave(place);
        }
        let next = if once || class != FailureClass::Transport {
            AfterRefusal::Stop
        } else {
            AfterRefusal::Elsewhere
        };
        let text = ask.scrub(trouble.text);
        let message = format!("{} at {}: {text}", tried(ask), hold[place].address.shown);
        FailedCall {
            failure: failure(class, trouble.code, message, trouble.hint),
            next,
        }
    }
}

/// A request that waits for its answer. Whoever drops it had no more patience with this address.
struct UnderWay<'a> {
    wire: &'a Wire,
    /// None when it is over.
    place: Option<usize>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.wire.leave(place);
        }
    }
}

/// `issuing a certificate (POST pki/issue/internal)`.
fn tried(ask: &Ask<'_>) -> String {
    format!("{} ({} {})", ask.what, ask.method, ask.path)
}

/// Index of the listed address that a redirect names; from TLS to no TLS there is no way, nor back.
fn target(hold: &Hold, from: usize, received: &Received) -> Option<usize> {
    if !matches!(received.status, 307 | 308) {
        return None;
    }
    let tls = hold[from].address.is_tls();
    let url = location(&hold[from], received)?;
    let mut listed = hold.iter().map(|server| &server.address).enumerate();
    let found = listed
        .find(|(place, address)| *place != from && address.is_at(&url) && address.is_tls() == tls);
    found.map(|(place, _)| place)
}

fn location(from: &Server, received: &Received) -> Option<Url> {
    let location = received.headers.get(header::LOCATION)?.to_str().ok()?;
    from.address.origin.join(location).ok()
}

fn redirect_refused(server: &Server, ask: &Ask<'_>, received: &Received) -> FailedCall {
    let location = location(server, received);
    let secure = location.as_ref().is_some_and(|url| url.scheme() == "https");
    let to = location.map_or_else(
        || "nowhere".to_owned(),
        |url| url.origin().ascii_serialization(),
    );
    let message = format!(
        "{} at {}: redirected ({}) to {to}, which was not followed",
        tried(ask),
        server.address.shown,
        received.status
    );
    let hint = if secure && !server.address.is_tls() {
        "the request itself went without TLS: write https:// in vault.address"
    } else {
        "a token is sent to listed addresses only: add that one if it is Vault's"
    };
    FailedCall {
        failure: failure(FailureClass::Unavailable, "redirect", message, hint),
        next: AfterRefusal::Elsewhere,
    }
}

fn refusal(server: &Server, ask: &Ask<'_>, received: &Received) -> FailedCall {
    let said = Said::read(&received.body, |text| ask.scrub(text));
    let judged = judge(received.status, &said, ask.who());
    let text = if said.text.is_empty() {
        "no reason given".to_owned()
    } else {
        said.text
    };
    let message = format!(
        "{} at {}: {} {text}",
        tried(ask),
        server.address.shown,
        received.status
    );
    let hint = match judged.code {
        "permission-denied" if ask.method == Method::GET => {
            "the token's policy must grant `read` on this path"
        }
        _ => judged.hint,
    };
    let mut failure = failure(judged.class, judged.code, message, hint);
    let now = date(&received.headers).unwrap_or_else(|| SystemClock.now());
    failure.retry_after = received
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, now));
    FailedCall {
        failure,
        next: judged.next,
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// One failure for all addresses: the one that says most leads, the others are named.
fn together(ask: &Ask<'_>, mut passed: Vec<(String, FailedCall)>) -> FailedCall {
    let rank = |refused: &FailedCall| match refused.failure.class {
        FailureClass::Transport => 0,
        _ if refused.failure.code == "not-vault" => 1,
        _ => 2,
    };
    let best = (0..passed.len())
        .rev()
        .max_by_key(|index| rank(&passed[*index].1));
    let Some(best) = best else {
        let message = format!("{}: no answer in time from any address", tried(ask));
        return failure(FailureClass::Transport, "timeout", message, "").into();
    };
    let (_, mut lead) = passed.swap_remove(best);
    for (address, refused) in passed {
        let note = format!("; {address}: {}", refused.failure.code);
        lead.failure.message.push_str(&note);
    }
    lead
}

/// Vault's own headers and those of HTTP itself are not the user's to set.
fn headers(config: &VaultConfig) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let wrong = |why: &str| {
            let message = format!("reading the extra header `{name}`: {why}");
            misconfigured("header", message, "check vault.headers (VAULT_HEADERS)")
        };
        let name: HeaderName = name.parse().map_err(|_| wrong("it is no header name"))?;
        let reserved = ["host", "content-length", "transfer-encoding", "connection"];
        if name.as_str().starts_with("x-vault-token") || reserved.contains(&name.as_str()) {
            return Err(wrong("certagent sets this one itself"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| wrong("its value contains a control character"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// Checked here because vaultrs panics on what no header can carry.
fn namespace(config: &VaultConfig) -> Result<Option<String>, Failure> {
    let Some(namespace) = config.namespace.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if HeaderValue::from_str(namespace).is_err() {
        let message = "reading the namespace: it contains a control character".to_owned();
        return Err(misconfigured(
            "namespace",
            message,
            "check vault.namespace (VAULT_NAMESPACE)",
        ));
    }
    Ok(Some(namespace.to_owned()))
}
