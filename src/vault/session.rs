//! The token and its life: had when needed, kept alive only where a new login may not work.
//!
//! A login is cheap and a kept token is a trap (leases, maximum ttl), so a token is used while its
//! lease lasts and then had anew. It is renewed only when it was given to us, came from a wrapped
//! secret id, or carries a leased certificate. Never revokes a token that it did not ask for.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};
use zeroize::Zeroizing;

use super::{
    call::{Ask, Hold, Refused, Wire},
    classify::{Next, failure, misconfigured},
};
use crate::{
    auth::{self, Login, Token, Way, parse_renewal},
    config::{Auth, VaultConfig},
    model::{
        failure::{Failure, FailureClass},
        secret::Secret,
    },
};

/// The longest that giving back a token may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// After a renewal that failed for no fault of the token.
const AGAIN: Duration = Duration::from_secs(30);

/// The way to a token, and the token.
pub(super) struct Session {
    auth: Auth,
    state: Mutex<State>,
    /// Wakes [`Session::tend`] when there is another token.
    changed: Notify,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The wrapping token that was unwrapped, and the secret id that was in it.
    unwrapped: Option<(Secret, Secret)>,
    /// The token's lease was asked for, or can't be.
    looked_up: bool,
}

#[derive(Deserialize)]
struct WrapLookup {
    data: WrapData,
}

#[derive(Deserialize)]
struct WrapData {
    creation_path: String,
}

#[derive(Deserialize)]
struct Unwrapped {
    data: SecretId,
}

#[derive(Deserialize)]
struct SecretId {
    secret_id: String,
}

/// What can be told to be wrong without asking anybody.
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
            state: Mutex::new(State::default()),
            changed: Notify::new(),
        }
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
        drop(state);
        self.changed.notify_one();
        Ok(token)
    }

    /// Logs in. When the login is refused and the credential file has changed meanwhile, we read it
    /// while it was being written: once more.
    async fn log_in(
        &self,
        wire: &Wire,
        hold: &Hold,
        state: &mut State,
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
        state: &mut State,
        way: Way,
    ) -> Result<Login, Failure> {
        match (way, &self.auth) {
            (Way::Login(login), _) => Ok(login),
            (Way::Unwrap { wrapping }, Auth::AppRole { mount, role_id, .. }) => {
                let known = state.unwrapped.as_ref().filter(|(old, _)| *old == wrapping);
                let secret_id = match known {
                    Some((_, secret_id)) => secret_id.clone(),
                    None => unwrap(wire, hold, &wrapping, mount).await?,
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
        tracing::info!(
            method = login.method,
            accessor = token.accessor(),
            lease_secs = token.lease().map(|lease| lease.as_secs()),
            "logged in"
        );
        Ok(token)
    }

    /// The issuer does not know this token. True when it makes sense to have another.
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
            // Somebody may have written a new one since.
            Auth::TokenFile(_) => match auth::prepare(&self.auth).await {
                Ok(Way::Given(secret)) => secret != *token.secret(),
                _ => false,
            },
            _ => true,
        }
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
        if auth::logs_in(&self.auth) {
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
    }

    /// Renews the token two thirds into its lease where it must be kept; sleeps otherwise.
    pub(super) async fn tend(&self, wire: &Wire) {
        let mut not_before = Instant::now();
        loop {
            match self.due().await {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.max(not_before)) => {
                        match self.renew(wire).await {
                            Ok(()) => not_before = Instant::now(),
                            Err(failure) => {
                                tracing::warn!(%failure, "the token was not renewed");
                                not_before = Instant::now() + AGAIN;
                            }
                        }
                    }
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// When the token needs care; none when it needs none.
    async fn due(&self) -> Option<Instant> {
        let state = self.state.lock().await;
        let token = state.token.as_ref()?;
        if !auth::keeps_token(&self.auth) && !token.holds_lease() {
            return None;
        }
        if state.looked_up {
            token.renew_at()
        } else {
            Some(Instant::now())
        }
    }

    /// Asks for the lease of a given token the first time, renews after that.
    async fn renew(&self, wire: &Wire) -> Result<(), Failure> {
        let hold = wire.hold()?;
        let mut state = self.state.lock().await;
        let Some(token) = state.token.clone() else {
            return Ok(());
        };
        let first = !state.looked_up;
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
        let answer = match wire.send(&hold, &ask).await {
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
    fn not_renewed(&self, state: &mut State, refused: Refused) -> Result<(), Failure> {
        match (refused.next, refused.failure.class) {
            (Next::LoginAgain, _) => {
                state.token = None;
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

/// The token with its new lease. One that gained nothing has met its maximum: it isn't renewed again.
fn renewed(token: &Token, body: &[u8], now: Instant) -> Token {
    let Some((lease, renewable)) = parse_renewal(body) else {
        return token.kept_as_is();
    };
    let gained = token
        .left(now)
        .is_none_or(|left| lease > left + Duration::from_secs(1));
    token.renewed(lease, renewable && gained, now)
}

/// Looks where a wrapped secret id comes from, then unwraps it.
async fn unwrap(
    wire: &Wire,
    hold: &Hold,
    wrapping: &Secret,
    mount: &str,
) -> Result<Secret, Failure> {
    let secrets = [wrapping.clone()];
    let body = serde_json::json!({ "token": wrapping.expose() }).to_string();
    let ask = Ask {
        body: Zeroizing::new(body.into_bytes()),
        secrets: &secrets,
        ..Ask::new("looking up the wrapped secret id", "sys/wrapping/lookup")
    };
    let answer = wire.send(hold, &ask).await?;
    let path = answer
        .json::<WrapLookup>("wrapping data")?
        .data
        .creation_path;
    if !is_secret_id_path(&path, mount) {
        let message = format!("unwrapping the secret id: it was wrapped at `{path}`");
        let hint = "somebody may have swapped it: destroy it and issue a new one";
        return Err(failure(
            FailureClass::Denied,
            "wrapping-token-strange",
            message,
            hint,
        ));
    }
    let ask = Ask {
        token: Some(wrapping),
        repeatable: false,
        ..Ask::new("unwrapping the secret id", "sys/wrapping/unwrap")
    };
    let answer = wire.send(hold, &ask).await?;
    let read: Unwrapped = answer.json("secret id")?;
    Ok(Secret::new(read.data.secret_id))
}

/// `auth/<mount>/role/<role>/secret-id`, perhaps below a namespace.
fn is_secret_id_path(path: &str, mount: &str) -> bool {
    let start = format!("auth/{}/role/", mount.trim_matches('/'));
    let Some(at) = path.find(&start) else {
        return false;
    };
    let below = at == 0 || path[..at].ends_with('/');
    let mut rest = path[at + start.len()..].split('/');
    let role = rest.next().is_some_and(|role| !role.is_empty());
    below && role && rest.next() == Some("secret-id") && rest.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_id_of_this_mount_is_unwrapped() {
        let table = [
            ("auth/approle/role/web/secret-id", true),
            ("team-a/auth/approle/role/web/secret-id", true),
            ("auth/other/role/web/secret-id", false),
            ("auth/approle/role//secret-id", false),
            ("auth/approle/role/web/secret-id/x", false),
            ("xauth/approle/role/web/secret-id", false),
            ("cubbyhole/evil", false),
            ("auth/approle/login", false),
            ("", false),
        ];
        for (path, good) in table {
            assert_eq!(is_secret_id_path(path, "approle"), good, "{path}");
        }
    }
}
