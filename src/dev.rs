//! The embedded PKI: an in-process server on loopback that speaks Vault's HTTP API as far as the
//! agent uses it, for newcomers and tests.
//!
//! Never listens beyond loopback, never persists anything. What stays true: the conformance suite
//! (`integration/conformance.rs`) sends the same requests here and to a real OpenBao.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use certagent::dev::{DevOptions, DevServer};
//! let server = DevServer::bind("127.0.0.1:0", DevOptions::default()).await?;
//! println!("{}", server.url()); // the root token is in server.root_token()
//! server.run(tokio_util::sync::CancellationToken::new()).await
//! # }
//! ```

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::Router;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, SystemClock},
    model::secret::Secret,
};

mod acl;
mod answer;
mod approle;
mod auth;
mod call;
mod duration;
mod faults;
mod fields;
mod http;
mod jwt;
mod pki;
mod random;
mod seed;
mod store;
mod sys;
mod token;
mod workload;
mod wrapping;

pub use self::{
    faults::{Fault, Faults},
    seed::{APPROLE, AUDIENCE, JWT_MOUNT, JWT_ROLE, MOUNTS, ROLE},
    workload::Workload,
};

/// How the embedded PKI starts.
pub struct DevOptions {
    /// The root token; a random one when absent.
    pub root_token: Option<Secret>,
    /// Start with mounts, roles, policies and logins (see [`MOUNTS`], [`JWT_MOUNT`]) in place.
    pub seeded: bool,
    /// Where the time of day comes from: certificates, tokens and JWTs follow it.
    pub clock: Arc<dyn Clock>,
    /// Faults on demand; keep a clone to change them.
    pub faults: Faults,
    /// Whose JWTs the seeded login accepts; keep a clone to sign them.
    pub workload: Workload,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            root_token: None,
            seeded: true,
            clock: Arc::new(SystemClock),
            faults: Faults::default(),
            workload: Workload::default(),
        }
    }
}

/// A bound, not yet running, embedded PKI.
pub struct DevServer {
    listener: TcpListener,
    addr: SocketAddr,
    root_token: Secret,
    unseal_key: Secret,
    role_id: Option<String>,
    secret_id: Option<Secret>,
    shared: http::Shared,
    workload: Workload,
}

impl DevServer {
    /// Binds an address of the loopback interface; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is not on loopback, or cannot be bound; or the initial set-up failed.
    pub async fn bind(addr: impl ToSocketAddrs, options: DevOptions) -> io::Result<Self> {
        Self::on(TcpListener::bind(addr).await?, options)
    }

    /// Takes a listener that is bound already.
    ///
    /// # Errors
    /// The listener is not on loopback, or the initial set-up failed.
    pub fn on(listener: TcpListener, options: DevOptions) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        if !addr.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the embedded PKI listens on loopback only, not on {addr}"),
            ));
        }
        let random = || Secret::new(format!("s.{}", random::letters::<24>()));
        let root_token = options.root_token.unwrap_or_else(random);
        let mut store = store::Store::new(root_token.expose(), options.clock.now());
        let mut logins = (None, None);
        if options.seeded {
            let seeded = seed::seed(
                &mut store,
                &root_token,
                &options.workload,
                options.clock.now(),
            );
            let (role_id, secret_id) = seeded.map_err(io::Error::other)?;
            logins = (Some(role_id), Some(secret_id));
        }
        Ok(Self {
            listener,
            addr,
            root_token,
            unseal_key: Secret::new(store.unseal_key.clone()),
            role_id: logins.0,
            secret_id: logins.1,
            shared: http::Shared {
                store: Arc::new(Mutex::new(store)),
                faults: options.faults,
                clock: options.clock,
            },
            workload: options.workload,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The value for `VAULT_ADDR`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The root token.
    #[must_use]
    pub fn root_token(&self) -> &Secret {
        &self.root_token
    }

    /// The key for `sys/unseal` after `sys/seal`.
    #[must_use]
    pub fn unseal_key(&self) -> &Secret {
        &self.unseal_key
    }

    /// Role id and secret id of the seeded AppRole login.
    #[must_use]
    pub fn approle(&self) -> Option<(&str, &Secret)> {
        Some((self.role_id.as_deref()?, self.secret_id.as_ref()?))
    }

    /// Who signs the JWTs that the seeded login accepts.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The faults handle.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let listener = faults::Listener {
            inner: self.listener,
            faults: self.shared.faults.clone(),
        };
        let router = Router::new().fallback(http::handle).with_state(self.shared);
        let serving = async { axum::serve(listener, router).await };
        tokio::select! {
            served = serving => served,
            () = stop.cancelled() => Ok(()),
        }
    }
}

/// Serves the embedded PKI on a loopback listener until `stop` is cancelled; for callers that need
/// none of [`DevServer`]'s facts.
///
/// # Errors
/// As [`DevServer::on`] and [`DevServer::run`].
pub async fn serve(
    listener: TcpListener,
    options: DevOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    DevServer::on(listener, options)?.run(stop).await
}

#[cfg(test)]
mod tests;
