//! Keeping a token alive while nothing is requested.
//!
//! Wakes once per two thirds of a lease, and when a token file changes; never for a token that a new
//! login replaces as well. A refused token is not asked for again until something changes.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        call::{FailedCall, Hold, Wire},
        classify::AfterRefusal,
        wire::Ask,
    },
    Session, SessionState,
};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Auth,
    model::failure::{Failure, FailureClass},
    vault::auth::{self, Token, Way, parse_renewal},
    watch::{Changes, Watch},
};

/// After a renewal that failed for no fault of the token.
const RENEW_RETRY: Duration = Duration::from_secs(30);

impl Session {
    /// Renews the token two thirds into its lease where it must be kept; sleeps otherwise. A given
    /// token is cared for from the start, not from the first order: that may be days away.
    pub(in crate::vault) async fn tend(&self, wire: &Wire) {
        let mut file = TokenFile::watch(&self.auth);
        let mut not_before = Instant::now();
        loop {
            let due = self.due().await.map(|at| at.max(not_before));
            tokio::select! {
                () = until(due) => match self.care(wire).await {
                    Ok(()) => not_before = Instant::now(),
                    Err(failure) => {
                        self.warn_of(&failure).await;
                        let now = Instant::now();
                        not_before = now.checked_add(RENEW_RETRY).unwrap_or(now);
                    }
                },
                () = self.changed.notified() => {}
                () = changes(file.as_mut()) => {
                    self.adopt().await;
                    not_before = Instant::now();
                }
            }
        }
    }

    /// Whoever asks first, an order or the care for the token, says it.
    pub(super) async fn warn_of(&self, failure: &Failure) {
        let expiry = self.expiry().await;
        tracing::warn!(%failure, "the token was not renewed; {expiry}");
    }

    /// When the token expires, for the log.
    async fn expiry(&self) -> String {
        let state = self.state.lock().await;
        let left = state.token.as_ref().map(|token| token.left(Instant::now()));
        match left {
            Some(Some(left)) => format!("it expires at {}", SystemClock.now().plus(left)),
            Some(None) => "when it expires is not known".to_owned(),
            None => "there is none now".to_owned(),
        }
    }

    /// When the token needs care; none when it needs none.
    async fn due(&self) -> Option<Instant> {
        let state = self.state.lock().await;
        let keeps = auth::keeps_token(&self.auth);
        if state.given_up {
            return None;
        }
        match &state.token {
            None => keeps.then(Instant::now),
            Some(token) if !keeps && !token.holds_lease() => None,
            Some(_) if !state.looked_up => Some(Instant::now()),
            Some(token) => token.renew_at(),
        }
    }

    /// Uses what is in the token file now, unless it is what we have.
    async fn adopt(&self) {
        let Ok(Way::Given(secret)) = auth::prepare(&self.auth).await else {
            return;
        };
        let mut state = self.state.lock().await;
        state.given_up = false;
        if state
            .token
            .as_ref()
            .is_none_or(|held| *held.secret() != secret)
        {
            state.token = Some(Arc::new(Token::given(secret, Instant::now())));
            state.looked_up = false;
        }
    }

    /// Gets the token that is to be kept, or renews it.
    async fn care(&self, wire: &Wire) -> Result<(), Failure> {
        let hold = wire.hold()?;
        if self.state.lock().await.token.is_some() {
            return self.renew(wire, &hold).await;
        }
        let had = self.token(wire, &hold).await;
        if let Err(failure) = &had {
            let final_word = [FailureClass::Denied, FailureClass::Misconfigured];
            self.state.lock().await.given_up = final_word.contains(&failure.class);
        }
        had.map(drop)
    }

    /// Asks for the lease of a given token the first time, renews after that.
    pub(super) async fn renew(&self, wire: &Wire, hold: &Hold) -> Result<(), Failure> {
        let (token, first) = {
            let state = self.state.lock().await;
            let Some(token) = state.token.clone() else {
                return Ok(());
            };
            (token, !state.looked_up)
        };
        let (what, path) = if first {
            ("asking for the token's lease", "auth/token/lookup-self")
        } else {
            ("renewing the token", "auth/token/renew-self")
        };
        let mut ask = Ask::new(what, path);
        if first {
            ask.method = http::Method::GET;
        }
        ask.token = Some(token.secret());
        // not under the lock: an order uses the token meanwhile, also when this answer hangs
        let sent = wire.send(hold, &ask).await;
        let mut state = self.state.lock().await;
        let same = |held: &Arc<Token>| Arc::ptr_eq(held, &token);
        if !state.token.as_ref().is_some_and(same) {
            return Ok(());
        }
        let answer = match sent {
            Ok(answer) => answer,
            Err(refused) => return self.not_renewed(&mut state, refused),
        };
        let now = Instant::now();
        let mut new = if first {
            state.looked_up = true;
            token.looked_up(&answer.body, now)
        } else {
            renewed(&token, &answer.body, now)
        };
        if new.holds_lease() && new.renew_at().is_none() {
            tracing::warn!("the certificate is leased and its token can't be renewed any more");
        }
        new.keep_age(&token);
        state.token = Some(Arc::new(new));
        Ok(())
    }

    /// A token that is not known is dropped; one that may not be renewed is used as it is.
    fn not_renewed(&self, state: &mut SessionState, refused: FailedCall) -> Result<(), Failure> {
        match (refused.next, refused.failure.class) {
            (AfterRefusal::LoginAgain, _) => {
                state.token = None;
                state.given_up = !auth::logs_in(&self.auth);
                Err(refused.failure)
            }
            (_, FailureClass::Denied | FailureClass::Misconfigured) => {
                // No policy for it, batch token, not renewable: asking again changes nothing.
                state.looked_up = true;
                if let Some(token) = &state.token {
                    state.token = Some(Arc::new(token.kept_as_is()));
                }
                Err(refused.failure)
            }
            _ => Err(refused.failure),
        }
    }
}

/// Watches the token file's directory, because the file itself may be replaced.
struct TokenFile {
    changes: Changes,
    _watch: Watch,
}

impl TokenFile {
    /// None when the token is had in another way, or where nothing can be watched: each order reads
    /// the file anyway.
    fn watch(auth: &Auth) -> Option<Self> {
        let Auth::TokenFile(file) = auth else {
            return None;
        };
        let watched = Watch::new().and_then(|(watch, changes)| {
            let dir = file.path.parent().filter(|dir| !dir.as_os_str().is_empty());
            watch.add(dir.unwrap_or_else(|| Path::new(".")))?;
            Ok(Self {
                changes,
                _watch: watch,
            })
        });
        watched
            .inspect_err(
                |error| tracing::warn!(%error, "the token file is read at each issuance request only"),
            )
            .ok()
    }
}

async fn changes(file: Option<&mut TokenFile>) {
    match file {
        Some(file) => drop(file.changes.next().await),
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The token with its new lease. One that gained nothing has met its maximum: it isn't renewed again.
fn renewed(token: &Token, body: &[u8], now: Instant) -> Token {
    let Some((lease, renewable)) = parse_renewal(body) else {
        return token.kept_as_is();
    };
    let gained = token
        .left(now)
        .is_none_or(|left| lease > left.saturating_add(Duration::from_secs(1)));
    token.renewed(lease, renewable && gained, now)
}
