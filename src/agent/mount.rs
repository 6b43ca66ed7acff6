//! Polls which CA certificates a PKI mount has, once for all certificates that come from it.
//!
//! Never judges them: `model/trust.rs` does. What stays true: a failed poll changes nothing that is
//! known; nothing is asked after cancellation.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};

use super::{context::Context, wall};
use crate::{
    clock::Clock,
    issuance,
    issuer::{Issuer, MountIssuers},
    model::{
        leaf,
        schedule::fraction,
        trust::{MountIssuer, Standing},
    },
};

/// What one mount has; absent until the first poll that worked.
pub(super) type KnownCas = Option<MountCas>;

/// The CA certificates of one mount.
#[derive(Clone, Debug)]
pub(super) struct MountCas {
    /// Ordered and without duplicates.
    pub(super) all: Arc<[MountIssuer]>,
    /// Of all of them and of which one is the default issuer.
    pub(super) fingerprint: String,
}

/// Time between two polls while answers are refused: a repair of the CA brings the next request.
const SOON: Duration = Duration::from_secs(60);

/// One mount to poll.
#[derive(Clone, Debug)]
pub(super) struct PolledMount {
    /// Its path.
    pub(super) path: String,
    /// Time between two polls; more than zero.
    pub(super) every: Duration,
    /// Seed of the jitter, so that allocations do not poll together.
    pub(super) seed: String,
}

/// Polls until cancelled; `known` gets a new value only when something changed.
pub(super) async fn poll<I: Issuer, C: Clock>(
    mount: PolledMount,
    context: Arc<Context<I, C>>,
    known: watch::Sender<KnownCas>,
) {
    let Context {
        issuer,
        clock,
        cancel,
        ..
    } = &*context;
    let mut failing = false;
    for round in 0_u64.. {
        let Some(answer) = cancel
            .run_until_cancelled(issuer.issuers(&mount.path))
            .await
        else {
            return;
        };
        match answer {
            Ok(found) => {
                failing = false;
                note(&found, &known);
            }
            Err(failure) if failing => debug!(mount = %mount.path, "{failure}"),
            Err(failure) => {
                failing = true;
                info!(
                    mount = %mount.path,
                    "cannot list the issuers of the mount, CA.pem is unchanged: {failure}"
                );
                // who waits for the first answer need not wait on
                known.send_if_modified(|known| known.is_none());
            }
        }
        // by either clock: a step back must not put the poll off, a suspended machine neither
        let (pause, since) = (mount.pause(round), Instant::now());
        let next = clock.now().plus(pause);
        while clock.now() < next && since.elapsed() < pause {
            if since.elapsed() >= SOON && context.repair_awaited.swap(false, Ordering::Relaxed) {
                break;
            }
            if cancel
                .run_until_cancelled(wall::slice(
                    &**clock,
                    Some(next),
                    context.tick,
                    &context.ticks,
                ))
                .await
                .is_none()
            {
                return;
            }
        }
    }
}

fn note(found: &MountIssuers, known: &watch::Sender<KnownCas>) {
    let cas = issuance::listed(found);
    // sent each time: who has listed what, and when, is what `model/trust.rs` remembers
    known.send_replace(Some(MountCas {
        fingerprint: fingerprint(&cas, found.default.as_deref()),
        all: cas.into(),
    }));
}

fn fingerprint(cas: &[MountIssuer], default: Option<&str>) -> String {
    let each = cas.iter().map(|issuer| {
        let mark = if issuer.standing == Standing::Revoked {
            "-"
        } else {
            ""
        };
        leaf::sha256(&issuer.der) + mark
    });
    let default = leaf::sha256(default.unwrap_or_default().as_bytes());
    let all: Vec<String> = each.chain([default]).collect();
    leaf::sha256(all.concat().as_bytes())
}

impl PolledMount {
    /// Between 90 % and 110 % of `every`, by a hash: no two allocations keep in step.
    fn pause(&self, round: u64) -> Duration {
        let seed = format!("{} {}", self.seed, self.path);
        let thousandth = (fraction("poll", &seed, round) * 201.0) as u32;
        self.every.saturating_mul(900 + thousandth) / 1_000
    }
}
