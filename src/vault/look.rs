//! Questions that change nothing at the issuer: for `certagent doctor`.
//!
//! Never asks for a certificate. What stays true: none of them writes, and each takes one request.

use http::Method;
use serde::Deserialize;

use super::{Plain, Vault, call::Ask};
use crate::model::{failure::Failure, time::Timestamp};

/// What `sys/health` says.
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

/// What the issuer knows of the token in use.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenFacts {
    /// Seconds that are left; 0 is without end.
    #[serde(default)]
    pub ttl: u64,
    /// May it be renewed?
    #[serde(default)]
    pub renewable: bool,
    /// Requests that are left; 0 is without limit.
    #[serde(default)]
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
    #[serde(default)]
    version: String,
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
        let ask = Ask {
            method: Method::GET,
            query: Some(
                "standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200\
                 &drsecondarycode=200",
            ),
            ..Ask::new("asking for its health", "sys/health")
        };
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

    /// What the issuer knows of the token in use (`auth/token/lookup-self`). Costs one of its uses
    /// where those are counted.
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn token_facts(&self) -> Result<TokenFacts, Failure> {
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("looking the token up", "auth/token/lookup-self")
        };
        let (answer, _) = self.send_known(&ask).await?;
        Ok(answer.json::<TokenBody>("token")?.data)
    }

    /// The CA certificate behind a reference of the mount: an id, a name, or `default`.
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn signer(&self, mount: &str, reference: &str) -> Result<Signer, Failure> {
        let path = format!("{mount}/issuer/{reference}/json");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading the issuer", &path)
        };
        let hold = self.wire.hold()?;
        let answer = self.wire.send(&hold, &ask).await?;
        let certificate = answer.json::<super::IssuerJson>("issuer")?.data.certificate;
        Ok(Signer {
            certificate,
            not_after_behavior: self.not_after_behavior(mount, reference).await,
        })
    }

    /// Most policies that may issue may not read this.
    async fn not_after_behavior(&self, mount: &str, reference: &str) -> Option<String> {
        let path = format!("{mount}/issuer/{reference}");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading the issuer's settings", &path)
        };
        let (answer, _) = self.send_known(&ask).await.ok()?;
        let data = answer.json::<Plain>("issuer's settings").ok()?.data;
        Some(data.get("leaf_not_after_behavior")?.as_str()?.to_owned())
    }
}
