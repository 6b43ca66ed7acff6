//! A manual renewal that replaces a key which others may know: the old certificate is revoked after the new
//! one is published.
//!
//! Never revokes what is still published. What stays true: whatever comes of it, the new certificate
//! files stay, and what was not revoked is said with the certificate that is needed to do it.

use super::Renewer;
use crate::{clock::Clock, issuer::Issuer, status::Revocation};

impl<I: Issuer, C: Clock> Renewer<I, C> {
    /// Takes over what a person wants since the last time. True when it is anything.
    pub(super) fn take_wish(&mut self) -> bool {
        let Some(wish) = self.inputs.take_forced() else {
            return false;
        };
        self.manual.wanted = true;
        self.manual.wish = self.manual.wish.and(wish);
        if wish.revoke_old
            && let Some(old) = self.holdings.lock().superseded(self.now())
        {
            let all = &mut self.manual.superseded;
            if all.iter().all(|one| one.serial != old.serial) {
                all.push(old);
            }
        }
        true
    }

    /// Revokes what was replaced.
    pub(super) async fn revoke_superseded(&mut self) {
        let all = std::mem::take(&mut self.manual.superseded);
        if all.is_empty() {
            return;
        }
        self.holdings.lock().forget_previous();
        let (context, mount) = (&self.context, &self.config.request.mount);
        for old in all {
            let revoking = context.issuer.revoke(mount, &old.certificate, &old.key);
            let Some(outcome) = context.cancel.run_until_cancelled(revoking).await else {
                return;
            };
            match &outcome {
                Ok(()) => tracing::info!(serial = %old.serial, "the old certificate is revoked"),
                Err(failure) => tracing::error!(
                    serial = %old.serial, code = failure.code,
                    "the new certificate is published, and the old one is not revoked: {failure}"
                ),
            }
            self.manual.revoked.push(Revocation {
                serial: old.serial,
                certificate: old.certificate,
                outcome,
            });
        }
    }
}
