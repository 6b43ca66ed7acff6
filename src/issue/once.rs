//! One order outside of the loop: key and CSR, answer, checks; for `issue` and for `doctor --ask`.
//!
//! Never publishes and keeps no record. What stays true: it judges as the agent does.

use crate::{
    clock::Clock,
    config::CertConfig,
    issuer::{Issuer, Order},
    model::{
        answer,
        failure::Failure,
        request::Mode,
        verify::{self, Expect, Verified},
    },
};

/// Orders one certificate and verifies the answer.
///
/// # Errors
/// Those of making a key, of the issuer and of verification.
pub(crate) async fn order(
    certificate: &CertConfig,
    issuer: &impl Issuer,
    clock: &impl Clock,
) -> Result<Verified, Failure> {
    let request = &certificate.request;
    let (key, csr) = match request.mode {
        Mode::Issue => (None, None),
        Mode::Sign => {
            let key = super::new_key(request.key_type)?;
            let csr = super::csr(request, &key)?;
            (Some(key), Some(csr))
        }
    };
    let reply = issuer
        .issue(Order {
            request,
            csr: csr.as_deref(),
        })
        .await?;
    let bundle = answer::parse(&reply.body, key)?;
    let expect = Expect {
        request,
        min_remaining: certificate.renew.min_remaining,
        known_serials: &[],
        extra_anchors: &[],
    };
    Ok(verify::verify(bundle, &expect, clock.now())?)
}
