//! The embedded PKI: an in-process server on loopback that speaks Vault's HTTP API as far as the
//! main job needs it, for the demonstration and for tests.
//!
//! Login by JWT, `issue` and `sign`, the issuers, health, the token's calls about itself, and the
//! seal. Everything is there from the start and nothing can be configured: two mounts ([`MOUNTS`]),
//! one role in both ([`ROLE`]), one login ([`JWT_MOUNT`], [`JWT_ROLE`]). Private keys are PKCS #8.
//!
//! Never listens beyond loopback, never persists anything. What stays true: the conformance suite
//! (`integration/cases/conformance.rs`) sends the same requests here and to a real OpenBao.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! let server = certagent_dev::DevServer::bind("127.0.0.1:0").await?;
//! println!("{}", server.url()); // the root token is in server.root_token()
//! server.run(tokio_util::sync::CancellationToken::new()).await
//! # }
//! ```

use std::{io, net::SocketAddr, sync::Arc};

use certagent_model::secret::Secret;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio_util::sync::CancellationToken;

mod answer;
mod authority;
mod http;
mod identity;
mod input;
mod issue;
mod log;
mod policy;
mod random;
mod role;
mod store;
mod token;

#[cfg(test)]
mod tests;

pub use self::{
    authority::MOUNTS,
    identity::{AUDIENCE, JWT_MOUNT, JWT_ROLE, Workload},
    log::RequestLog,
    role::ROLE,
};

/// A bound, not yet running, embedded PKI.
pub struct DevServer {
    listener: TcpListener,
    addr: SocketAddr,
    root_token: Secret,
    unseal_key: Secret,
    workload: Workload,
    shared: Arc<http::Server>,
}

impl DevServer {
    /// Binds an address of the loopback interface; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is not on loopback, or cannot be bound; or a key could not be made.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        if !addr.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the embedded PKI listens on loopback only, not on {addr}"),
            ));
        }
        let (root_token, unseal_key) = (token::new_id(), random::letters::<32>());
        let workload = Workload::new()?;
        let store = store::Store::new(&root_token, &unseal_key, workload.clone(), http::now());
        Ok(Self {
            listener,
            addr,
            root_token: Secret::new(root_token),
            unseal_key: Secret::new(unseal_key),
            workload,
            shared: Arc::new(http::Server::new(store.map_err(io::Error::other)?)),
        })
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

    /// Who signs the JWTs that the login accepts.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// What was asked so far; clones see the same log.
    #[must_use]
    pub fn log(&self) -> RequestLog {
        self.shared.log.clone()
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let router = http::router(self.shared);
        let serving = async { axum::serve(self.listener, router).await };
        tokio::select! {
            served = serving => served,
            () = stop.cancelled() => Ok(()),
        }
    }
}
