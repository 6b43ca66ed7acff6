//! Questions that change nothing at Vault: for `certagent doctor`, and for a Vault that is unavailable.
//!
//! Never asks for a certificate. What stays true: none of them writes.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Plain, Vault,
    call::{FailedCall, Hold},
    classify,
    wire::Ask,
};
use crate::model::{
    answer::whole,
    failure::{Failure, FailureClass},
    health::IssuerHealth,
    time::Timestamp,
};

/// One health check of a Vault that is unavailable takes no longer than this.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections are kept this long from check to check.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What `sys/health` says.
/// Vault API, `/sys/health`.
#[derive(Clone, Debug)]
pub struct Health {
    /// It has been initialised.
    pub initialized: bool,
    /// It is sealed.
    pub sealed: bool,
    /// It is a standby; it forwards what it can't answer.
    pub standby: bool,
    /// Its version, as it says.
    pub version: String,
    /// The `Date` of the answer, whole seconds.
    pub date: Option<Timestamp>,
}

/// What Vault knows of the token in use.
/// Vault API, "Lookup a token (self)".
#[derive(Clone, Debug, Deserialize)]
pub struct TokenFacts {
    /// Seconds that are left; 0 is without end.
    #[serde(default, deserialize_with = "whole")]
    pub ttl: u64,
    /// May it be renewed?
    #[serde(default)]
    pub renewable: bool,
    /// Requests that are left; 0 is without limit.
    #[serde(default, deserialize_with = "whole")]
    pub num_uses: u32,
    /// Names of its policies.
    #[serde(default)]
    pub policies: Vec<String>,
}

/// The CA certificate that signs for a mount.
#[derive(Clone, Debug)]
pub struct Signer {
    /// PEM.
    pub certificate: String,
    /// `err`, `truncate` or `permit`, where it may be read.
    pub not_after_behavior: Option<String>,
}

#[derive(Deserialize)]
struct HealthBody {
    #[serde(default)]
    initialized: bool,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    standby: bool,
    /// Not said by OpenBao since 2.6.
    #[serde(default)]
    performance_standby: bool,
    #[serde(default)]
    replication_dr_mode: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct LeaderBody {
    #[serde(default)]
    leader_address: String,
}

#[derive(Deserialize)]
struct TokenBody {
    data: TokenFacts,
}

impl Vault {
    /// State, version and clock of the issuer; without a token. A sealed one is an answer.
    ///
    /// # Errors
    /// Why there was no answer, or what else answered.
    pub async fn health(&self) -> Result<Health, Failure> {
        let ask = of_its_health();
        let hold = self.wire.hold()?;
        let answer = self.wire.send(&hold, &ask).await?;
        let body: HealthBody = answer.json("health")?;
        Ok(Health {
            initialized: body.initialized,
            sealed: body.sealed,
            standby: body.standby,
            version: body.version,
            date: answer.date,
        })
    }

    /// Whether any address can serve orders: asks all of them at once, without a token. A standby
    /// that knows an active node can, for it forwards; one that is sealed, not initialised or a
    /// disaster recovery secondary can't. The connections are kept for the order that follows.
    ///
    /// # Errors
    /// Why none can, or why none can be asked.
    pub async fn able(&self) -> Result<IssuerHealth, Failure> {
        let health = of_its_health();
        let (since, hold) = self.connected()?;
        let until = Instant::now() + HEALTH_CHECK_TIMEOUT;
        let checks = (0..hold.len()).map(|index| self.able_at(&hold, index, &health, until));
        let active = |able: &IssuerHealth| *able == IssuerHealth::Active;
        let said = self.wire.any(&hold, &health, checks, active).await;
        let said = said.map_err(Failure::from);
        if !matches!(&said, Err(failure) if failure.class == FailureClass::Transport) {
            *self.kept() = Some((since, hold));
        }
        said
    }

    /// The connections of the check before, and since when they are kept; new ones now and then, so
    /// that changed TLS files are read.
    fn connected(&self) -> Result<(Instant, Hold), Failure> {
        let kept = self.kept().take();
        if let Some(kept) = kept.filter(|(since, _)| since.elapsed() < IDLE_CONNECTION_TIMEOUT) {
            return Ok(kept);
        }
        Ok((Instant::now(), self.wire.hold()?))
    }

    async fn able_at(
        &self,
        hold: &Hold,
        index: usize,
        health: &Ask<'_>,
        until: Instant,
    ) -> Result<IssuerHealth, FailedCall> {
        let answer = self.wire.one(hold, index, health, until).await?;
        let body: HealthBody = answer.json("health")?;
        if !body.initialized {
            return Err(not_able("not-initialized", "it is not initialised").into());
        }
        if body.sealed {
            return Err(not_able("sealed", "it is sealed").into());
        }
        if body.replication_dr_mode == "secondary" {
            return Err(not_able("standby", "it is a disaster recovery secondary").into());
        }
        if !body.standby || body.performance_standby {
            return Ok(IssuerHealth::Active);
        }
        let leader = of_the_server("asking who is active", "sys/leader");
        let Ok(answer) = self.wire.one(hold, index, &leader, until).await else {
            // something in between that lets only health pass: an order will show
            return Ok(IssuerHealth::Standby);
        };
        let leader: LeaderBody = answer.json("leader")?;
        if leader.leader_address.is_empty() {
            return Err(not_able("standby", "it is a standby and no node is active").into());
        }
        Ok(IssuerHealth::Standby)
    }

    /// What Vault knows of the token in use (`auth/token/lookup-self`). Costs one of its uses
    /// where those are counted.
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn token_facts(&self) -> Result<TokenFacts, Failure> {
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("looking up the token", "auth/token/lookup-self")
        };
        let (answer, _) = self.send_known(&ask).await?;
        Ok(answer.json::<TokenBody>("token")?.data)
    }

    /// The CA certificate behind a reference of the mount: an id, a name, or `default`.
    /// Vault API, PKI, "Read issuer".
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn signer(&self, mount: &str, reference: &str) -> Result<Signer, Failure> {
        let hold = self.wire.hold()?;
        let body = self.issuer_body(&hold, mount, reference).await?;
        Ok(Signer {
            certificate: body.certificate,
            not_after_behavior: self.not_after_behavior(mount, reference).await,
        })
    }

    /// Most policies that may issue may not read this.
    async fn not_after_behavior(&self, mount: &str, reference: &str) -> Option<String> {
        let path = format!("{mount}/issuer/{reference}");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading the settings of the issuer", &path)
        };
        let (answer, _) = self.send_known(&ask).await.ok()?;
        let data = answer.json::<Plain>("issuer's settings").ok()?.data;
        Some(data.get("leaf_not_after_behavior")?.as_str()?.to_owned())
    }
}

/// Whatever its state, it answers with 200 and its state is in the body.
fn of_its_health<'a>() -> Ask<'a> {
    Ask {
        query: Some(
            "standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200&drsecondarycode=200",
        ),
        ..of_the_server("asking for its health", "sys/health")
    }
}

/// Asked without a token and without the namespace.
fn of_the_server<'a>(what: &'a str, path: &'a str) -> Ask<'a> {
    Ask {
        method: Method::GET,
        root: true,
        ..Ask::new(what, path)
    }
}

/// It answers, and says that it can't serve.
fn not_able(code: &str, why: &str) -> Failure {
    let message = format!("asking for its health: {why}");
    classify::failure(FailureClass::Unavailable, code, message, "")
}
