//! A lock in a Nomad variable, so that one allocation at a time is between reload and proof.
//!
//! Never waits for it: the caller asks again, and acts without it once `model::reload::may_wait` says
//! no. What stays true: a holder that is gone blocks no allocation for longer than the lock's TTL_RANGE and
//! delay, because Nomad lets it lapse.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CALL_TIMEOUT, Nomad, NomadAnswer, NomadCall, refused};
use crate::model::reload::ReloadFailure;

/// Nomad takes TTLs from 10 seconds to 24 hours (structs/variables.go).
const TTL_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
/// How long no allocation gets the lock after it has lapsed.
const LOCK_DELAY: &str = "1s";

/// A lock that we hold until it lapses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    path: String,
    id: String,
    /// It lapses when it is not renewed for this long.
    pub ttl: Duration,
}

/// The answer to the wish for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is ours.
    Mine(Lock),
    /// Another allocation holds it.
    Held,
}

#[cfg(test)]
impl Lock {
    /// One of a test's own.
    pub(crate) fn held(path: &str, id: &str, ttl: Duration) -> Self {
        Self {
            path: path.to_owned(),
            id: id.to_owned(),
            ttl,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl Nomad {
    /// Asks for the lock in the variable at `path`, as `nomad/jobs/loki/certagent-lock`. It lapses
    /// after `ttl` (10 s to 24 h) unless it is renewed.
    /// Nomad API, "Variables": `?lock-acquire`.
    ///
    /// # Errors
    /// Each refusal by its name; `nomad-lock-denied` when the token may not write the variable.
    pub async fn acquire(&self, path: &str, ttl: Duration) -> Result<Taken, ReloadFailure> {
        let ttl = ttl.clamp(TTL_RANGE.0, TTL_RANGE.1);
        let body = json!({
            "Path": path,
            "Items": { "holder": self.config.alloc_id },
            "Lock": { "TTL": format!("{}s", ttl.as_secs()), "LockDelay": LOCK_DELAY },
        });
        let answer = self.variable("taking", path, "lock-acquire", body).await?;
        if answer.status == 409 {
            return Ok(Taken::Held);
        }
        let read: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        match read["Lock"]["ID"].as_str() {
            Some(id) if !id.is_empty() => Ok(Taken::Mine(Lock {
                path: path.to_owned(),
                id: id.to_owned(),
                ttl,
            })),
            _ => {
                let text = format!("taking the lock {path}: the answer names no lock");
                Err(ReloadFailure::passing("nomad-lock", text, ""))
            }
        }
    }

    /// Keeps the lock for another TTL; false when it has lapsed.
    /// Nomad API, "Variables": `?lock-renew`.
    ///
    /// # Errors
    /// Each refusal by its name.
    pub async fn renew(&self, lock: &Lock) -> Result<bool, ReloadFailure> {
        let body = json!({ "Path": lock.path, "Lock": { "ID": lock.id } });
        let answer = self
            .variable("renewing", &lock.path, "lock-renew", body)
            .await?;
        Ok(answer.status != 409)
    }

    /// Gives the lock back. Whether that works does not matter: it lapses by itself.
    /// Nomad API, "Variables": `?lock-release`.
    ///
    /// # Errors
    /// Each refusal by its name, for the log.
    pub async fn release(&self, lock: Lock) -> Result<(), ReloadFailure> {
        let body = json!({ "Path": lock.path, "Lock": { "ID": lock.id } });
        self.variable("giving back", &lock.path, "lock-release", body)
            .await
            .map(drop)
    }

    /// Any 2xx or 409.
    async fn variable(
        &self,
        verb: &str,
        path: &str,
        operation: &str,
        body: Value,
    ) -> Result<NomadAnswer, ReloadFailure> {
        let what = format!("{verb} the lock {path}");
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~/".contains(&byte);
        if path.is_empty() || path.len() > 128 || !path.bytes().all(good) {
            let text = format!("{what}: this is not the path of a variable");
            let hint = "it has letters, digits, dashes, underscores, tildes and slashes";
            return Err(ReloadFailure::lasting("nomad-lock", text, hint));
        }
        let call = NomadCall {
            what: &what,
            path: &format!("var/{path}?{operation}"),
            body,
            limit: CALL_TIMEOUT,
        };
        let answer = self.send(&call).await?;
        match answer.status {
            200..300 | 409 => Ok(answer),
            // A lock that is not ours (any more).
            400 | 500 if answer.text.contains("lock") && answer.text.contains("conflict") => {
                Ok(NomadAnswer {
                    status: 409,
                    ..answer
                })
            }
            403 => Err(ReloadFailure {
                code: "nomad-lock-denied",
                hint: "attach a policy to the certagent task that may write this variable; \
                       without it the allocations take turns by slots only",
                ..refused::token(&what, answer.status, &answer.text)
            }),
            401 => Err(refused::token(&what, answer.status, &answer.text)),
            status => Err(refused::other(&what, status, &answer.text)),
        }
    }
}
