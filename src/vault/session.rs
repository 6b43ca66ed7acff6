//! The token and its life: had when needed, kept alive only where a new login may not work.
//!
//! A login is cheap and a kept token is a trap (leases, maximum ttl), so a token is used while its
//! lease lasts and then had anew. It is renewed only when it was given to us, came from a wrapped
//! secret id, or carries a leased certificate. Never revokes a token that it did not ask for.

mod keep;
mod wrapped;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

use super::{
    call::{Hold, Wire},
    classify::{failure, misconfigured},
    wire::Ask,
};
use crate::{
    config::{Auth, VaultConfig},
    issuer::SpendingRecord,
    model::{
        failure::{Failure, FailureClass},
        leaf,
        secret::Secret,
    },
    vault::auth::{self, Login, Token, Way},
};

/// The longest that giving back a token may take.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// The way to a token, and the token.
pub(super) struct Session {
    auth: Auth,
    state: Mutex<SessionState>,
    /// Wakes [`Session::tend`] when there is another token.
    changed: Notify,
    logins: AtomicU64,
    spent: StdMutex<Spent>,
}

/// The wrapping tokens that were unwrapped by ourselves.
#[derive(Default)]
struct Spent {
    /// Their fingerprints: we sent them to be unwrapped, now or before a restart, and they were not
    /// refused. Several: the record of each certificate has one, and not all are of the same time.
    sent: BTreeSet<String>,
    /// Where that is written down.
    record: Option<SpendingRecord>,
}

#[derive(Default)]
struct SessionState {
    token: Option<Arc<Token>>,
    /// The wrapping token that was unwrapped, and the secret id that was in it.
    unwrapped: Option<(Secret, Secret)>,
    /// The token's lease was asked for, or can't be.
    looked_up: bool,
    /// Vault refused what there is; no use in caring for it until something changes.
    given_up: bool,
}

/// What is seen to be wrong without a request.
pub(super) fn check(config: &VaultConfig, auth: &Auth) -> Result<(), Failure> {
    if !matches!(auth, Auth::Cert { .. }) {
        return Ok(());
    }
    let wrong = |why: &str, hint: &str| {
        let message = format!("setting up login by TLS certificate: {why}");
        Err(misconfigured("auth-cert", message, hint))
    };
    if config.tls.client_cert.is_none() {
        return wrong(
            "there is no client certificate",
            "set client_cert and client_key",
        );
    }
    if !config
        .addresses
        .iter()
        .all(|address| address.starts_with("https://"))
    {
        return wrong(
            "an address is not https://",
            "a client certificate needs TLS",
        );
    }
    Ok(())
}

impl Session {
    /// Nothing is asked for yet.
    pub(super) fn new(auth: Auth) -> Self {
        Self {
            auth,
            state: Mutex::new(SessionState::default()),
            changed: Notify::new(),
            logins: AtomicU64::new(0),
            spent: StdMutex::default(),
        }
    }

    /// Where the fingerprint of a wrapping token is written down before it is unwrapped.
    pub(super) fn record_spending(&self, record: SpendingRecord) {
        self.lock_spent().record = Some(record);
    }

    /// A wrapping token with this fingerprint was sent to be unwrapped, now or before a restart.
    pub(super) fn recall(&self, fingerprint: &str) {
        self.lock_spent().sent.insert(fingerprint.to_owned());
    }

    /// Writes it down, durably; empty: none was sent.
    fn write_down(&self, fingerprint: &str) -> Result<(), Failure> {
        let record = self.lock_spent().record.clone();
        record.map_or(Ok(()), |record| record(fingerprint))
    }

    fn lock_spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn unwrap_once(
        &self,
        wire: &Wire,
        hold: &Hold,
        wrapping: &Secret,
        mount: &str,
    ) -> Result<Secret, Failure> {
        let fingerprint = leaf::sha256(wrapping.expose().as_bytes());
        let ours = self.lock_spent().sent.contains(&fingerprint);
        let by_whom = |failure: Failure| match failure.code == wrapped::USED && ours {
            true => wrapped::used_by_us(failure),
            false => failure,
        };
        wrapped::look_up(wire, hold, wrapping, mount)
            .await
            .map_err(by_whom)?;
        self.write_down(&fingerprint)?;
        self.recall(&fingerprint);
        let unwrapped = wrapped::unwrap(wire, hold, wrapping).await;
        if !ours
            && unwrapped
                .as_ref()
                .is_err_and(|failure| failure.code == wrapped::USED)
        {
            // another party was faster; the alarm matters more than a disk that takes no note of it
            let _unwritable = self.write_down("");
            self.lock_spent().sent.remove(&fingerprint);
        }
        unwrapped.map_err(by_whom)
    }

    /// The token there is, or a new one. Those who come at the same time share one login.
    pub(super) async fn token(&self, wire: &Wire, hold: &Hold) -> Result<Arc<Token>, Failure> {
        let mut state = self.state.lock().await;
        let reads_file = matches!(self.auth, Auth::TokenFile(_));
        let held = state.token.as_ref().filter(|_| !reads_file);
        if let Some(token) = held.filter(|token| token.usable(Instant::now())) {
            return Ok(Arc::clone(token));
        }
        let token = match auth::prepare(&self.auth).await? {
            Way::Given(secret) => {
                let same = state
                    .token
                    .as_ref()
                    .filter(|token| *token.secret() == secret);
                if let Some(token) = same {
                    return Ok(Arc::clone(token));
                }
                state.looked_up = false;
                Token::given(secret, Instant::now())
            }
            way => {
                state.looked_up = true;
                self.log_in(wire, hold, &mut state, way).await?
            }
        };
        let token = Arc::new(token);
        state.token = Some(Arc::clone(&token));
        state.given_up = false;
        drop(state);
        self.changed.notify_one();
        Ok(token)
    }

    /// A token for a question that may stay unasked: none where a use of it is counted, and no login
    /// but with a credential that any number of logins may use, and only if `may_log_in`.
    pub(super) async fn spare_token(
        &self,
        wire: &Wire,
        hold: &Hold,
        may_log_in: bool,
    ) -> Option<Arc<Token>> {
        let held = self.state.lock().await.token.clone();
        let usable = held.is_some_and(|token| token.usable(Instant::now()));
        if !usable && auth::logs_in(&self.auth) && !(may_log_in && auth::login_is_free(&self.auth))
        {
            return None;
        }
        self.token(wire, hold).await.ok()?;
        if !self.state.lock().await.looked_up {
            // how often it may be used is not known yet
            if let Err(failure) = self.renew(wire, hold).await {
                self.warn_of(&failure).await;
                return None;
            }
        }
        let state = self.state.lock().await;
        state.token.clone().filter(|token| token.is_unlimited())
    }

    /// Logs in. When the login is refused and the credential file has changed meanwhile, we read it
    /// while it was being written: once more.
    async fn log_in(
        &self,
        wire: &Wire,
        hold: &Hold,
        state: &mut SessionState,
        way: Way,
    ) -> Result<Token, Failure> {
        let login = self.login_of(wire, hold, state, way).await?;
        let refused = match self.send_login(wire, hold, &login).await {
            Ok(token) => return Ok(token),
            Err(failure) => failure,
        };
        if refused.class != FailureClass::Denied {
            return Err(refused);
        }
        match auth::prepare(&self.auth).await {
            Ok(Way::Login(again)) if again.body != login.body => {
                self.send_login(wire, hold, &again).await
            }
            _ => Err(refused),
        }
    }

    async fn login_of(
        &self,
        wire: &Wire,
        hold: &Hold,
        state: &mut SessionState,
        way: Way,
    ) -> Result<Login, Failure> {
        match (way, &self.auth) {
            (Way::Login(login), _) => Ok(login),
            (Way::Unwrap { wrapping }, Auth::AppRole { mount, role_id, .. }) => {
                let known = state.unwrapped.as_ref().filter(|(old, _)| *old == wrapping);
                let secret_id = match known {
                    Some((_, secret_id)) => secret_id.clone(),
                    None => self.unwrap_once(wire, hold, &wrapping, mount).await?,
                };
                let login = Login::approle(mount, role_id, Some(&secret_id));
                state.unwrapped = Some((wrapping, secret_id));
                Ok(login)
            }
            _ => Err(misconfigured(
                "auth",
                "logging in: no such way".to_owned(),
                "",
            )),
        }
    }

    async fn send_login(&self, wire: &Wire, hold: &Hold, login: &Login) -> Result<Token, Failure> {
        let what = format!("logging in by {}", login.method);
        let ask = Ask {
            body: login.body.clone(),
            login: true,
            secrets: &login.secrets,
            ..Ask::new(&what, &login.path)
        };
        let answer = wire.send(hold, &ask).await?;
        let token = Token::from_login(&answer.body, Instant::now()).map_err(|why| {
            let hint = "check that address and auth mount are right";
            failure(
                FailureClass::BadAnswer,
                "login-answer",
                format!("{what}: {why}"),
                hint,
            )
        })?;
        self.logins.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            method = login.method,
            accessor = token.accessor(),
            lease_secs = token.lease().map(|lease| lease.as_secs()),
            "logged in"
        );
        Ok(token)
    }

    /// Vault does not know this token. True when it makes sense to have another.
    pub(super) async fn forget(&self, token: &Arc<Token>) -> bool {
        let mut state = self.state.lock().await;
        if state
            .token
            .as_ref()
            .is_some_and(|held| !Arc::ptr_eq(held, token))
        {
            return true;
        }
        state.token = None;
        drop(state);
        match &self.auth {
            Auth::Token(_) => false,
            // A new one may have been written since.
            Auth::TokenFile(_) => match auth::prepare(&self.auth).await {
                Ok(Way::Given(secret)) => secret != *token.secret(),
                _ => false,
            },
            _ => true,
        }
    }

    /// True when it has its tokens by logins.
    pub(super) fn logs_in(&self) -> bool {
        auth::logs_in(&self.auth)
    }

    /// Logins that went well.
    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Relaxed)
    }

    /// Something about the token is new: [`Session::tend`] looks again.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Revokes an own token that nothing hangs on.
    pub(super) async fn revoke(&self, wire: &Wire) {
        let farewell = async {
            let token = self.state.lock().await.token.take();
            let Some(token) = token.filter(|token| token.revocable(Instant::now())) else {
                return;
            };
            let Ok(hold) = wire.hold() else { return };
            let mut ask = Ask::new("revoking the token", "auth/token/revoke-self");
            ask.token = Some(token.secret());
            match wire.send(&hold, &ask).await {
                Ok(_) => tracing::debug!(accessor = token.accessor(), "revoked the token"),
                Err(refused) => tracing::debug!(failure = %refused.failure, "token not revoked"),
            }
        };
        if self.logs_in() {
            let _ = tokio::time::timeout(REVOKE_TIMEOUT, farewell).await;
        }
    }
}
