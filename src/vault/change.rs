//! What a change of the CA reads and writes at a mount; for `certagent fleet ca`.
//!
//! Never used by an agent. What stays true: each write is one that may be repeated, and does nothing the
//! second time.

use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Plain, Vault, wire::Ask};
use crate::model::failure::Failure;

impl Vault {
    /// Whether a new issuer becomes the default one by itself.
    /// Vault API, PKI, "Read issuers configuration".
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn default_follows(&self, mount: &str) -> Result<bool, Failure> {
        let path = format!("{mount}/config/issuers");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading the configuration of issuers", &path)
        };
        let (answer, _) = self.send_known(&ask).await?;
        let data = answer.json::<Plain>("configuration of issuers")?.data;
        Ok(data.get("default_follows_latest_issuer") == Some(&Value::Bool(true)))
    }

    /// Makes a root with a key that stays in Vault. Its `issuer_name` makes it one of a kind.
    /// Vault API, PKI, "Generate root".
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn make_root(&self, mount: &str, fields: &Value) -> Result<(), Failure> {
        self.change(
            "making a root",
            Method::POST,
            &format!("{mount}/root/generate/internal"),
            fields,
        )
        .await
    }

    /// Lets an issuer sign what names none.
    /// Vault API, PKI, "Set issuers configuration".
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn make_default(&self, mount: &str, id: &str) -> Result<(), Failure> {
        let fields = json!({ "default": id });
        self.change(
            "changing the default issuer",
            Method::POST,
            &format!("{mount}/config/issuers"),
            &fields,
        )
        .await
    }

    /// Takes an issuer out of the mount; its key stays.
    /// Vault API, PKI, "Delete issuer".
    ///
    /// # Errors
    /// As [`crate::issuer::Issuer::issue`].
    pub async fn remove_issuer(&self, mount: &str, id: &str) -> Result<(), Failure> {
        self.change(
            "removing an issuer",
            Method::DELETE,
            &format!("{mount}/issuer/{id}"),
            &Value::Null,
        )
        .await
    }

    async fn change(
        &self,
        what: &str,
        method: Method,
        path: &str,
        fields: &Value,
    ) -> Result<(), Failure> {
        let body = if fields.is_null() {
            Vec::new()
        } else {
            fields.to_string().into_bytes()
        };
        let ask = Ask {
            method,
            body: Zeroizing::new(body),
            ..Ask::new(what, path)
        };
        self.send_known(&ask).await.map(|_| ())
    }
}
