//! Revoking a certificate by its own key.
//!
//! Never revokes by serial number: a role with `no_store` knows none. What stays true: a login that may do
//! this can end only certificates whose key it has.

use serde_json::json;
use zeroize::Zeroizing;

use super::{Plain, Vault, classify, wire::Ask};
use crate::model::{
    failure::{Failure, FailureClass},
    secret::Secret,
};

impl Vault {
    /// Vault API, PKI, "Revoke certificate with private key".
    pub(super) async fn revoke_with_key(
        &self,
        mount: &str,
        certificate: &str,
        key: &Secret,
    ) -> Result<(), Failure> {
        let path = format!("{mount}/revoke-with-key");
        let body = Zeroizing::new(
            json!({ "certificate": certificate, "private_key": key.expose() }).to_string(),
        );
        let ask = Ask {
            body: Zeroizing::new(body.as_bytes().to_vec()),
            secrets: std::slice::from_ref(key),
            ..Ask::new("revoking the old certificate", &path)
        };
        let (answer, _) = self.send_known(&ask).await?;
        let said = answer.json::<Plain>("revocation").ok();
        let revoked = said.is_some_and(|said| said.data["revocation_time"].as_i64() > Some(0));
        if revoked {
            return Ok(());
        }
        // It answers with a warning only where it can't, as for one that has expired.
        Err(classify::failure(
            FailureClass::BadAnswer,
            "not-revoked",
            "revoking the old certificate: Vault does not confirm it".to_owned(),
            "look at the certificate with `certagent inspect`: one that has expired can't be revoked",
        ))
    }
}
