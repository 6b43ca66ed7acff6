//! The issuers of a mount, with what can be learned of their standing.
//!
//! Certificates are had without a token. What stays true: a question about standing uses up no
//! credential, and where it is refused the issuers are listed all the same.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Vault, call::Hold, classify, wire::Ask};
use crate::{
    issuer::{ListedIssuer, MountIssuers},
    model::{
        failure::{Failure, FailureClass},
        trust::Standing,
    },
};

/// The most issuers of one mount that are read.
const MAX_ISSUERS: usize = 256;
/// The longest name of an issuer that is kept.
const MAX_NAME_CHARS: usize = 128;
/// Time between two logins for these questions alone, while the list stays as it is.
const LOGIN_INTERVAL: Duration = Duration::from_secs(3_600);

/// What was learned of a mount at the last poll.
#[derive(Default)]
pub(super) struct KnownIssuers {
    /// When a login was last had, or tried, for it.
    asked: Option<Instant>,
    standings: BTreeMap<String, Standing>,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

/// Vault API, PKI, "List issuers".
#[derive(Default, Deserialize)]
struct Listed {
    keys: Vec<String>,
    #[serde(default)]
    key_info: BTreeMap<String, ListedInfo>,
}

#[derive(Default, Deserialize)]
struct ListedInfo {
    #[serde(default)]
    issuer_name: String,
    #[serde(default)]
    serial_number: String,
    key_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct IssuerBody {
    pub(super) certificate: String,
    /// Not in `issuer/:ref/json`.
    revoked: Option<bool>,
}

#[derive(Deserialize)]
struct StoredCertificate {
    certificate: String,
    #[serde(default)]
    revocation_time: i64,
}

impl Vault {
    /// All issuers of a mount.
    pub(super) async fn mount_issuers(&self, mount: &str) -> Result<MountIssuers, Failure> {
        let hold = self.wire.hold()?;
        let listed = self.issuer_list(&hold, mount).await?;
        let before = self.known_issuers().remove(mount).unwrap_or_default();
        let same = listed
            .keys
            .iter()
            .all(|id| before.standings.contains_key(id));
        let rested = same && before.asked.is_some_and(|at| at.elapsed() < LOGIN_INTERVAL);
        let mut token = if listed.keys.is_empty() {
            None
        } else {
            self.session.spare_token(&self.wire, &hold, !rested).await
        };
        let asked = if rested {
            before.asked
        } else {
            Some(Instant::now())
        };
        let mut issuers = Vec::new();
        for id in &listed.keys {
            let info = listed.key_info.get(id);
            let settings = match &token {
                Some(known) => {
                    let found = self.issuer_settings(&hold, mount, id, known.secret());
                    found.await?.inspect(|_| known.note_accepted())
                }
                None => None,
            };
            if settings.is_none() {
                token = None; // refused once, refused for all
            }
            let body = match settings {
                Some(body) => body,
                None => self.issuer_body(&hold, mount, id).await?,
            };
            let revoked = match (body.revoked, info) {
                (None, Some(info)) => self.is_revoked(&hold, mount, info, &body).await?,
                (seen, _) => seen,
            };
            issuers.push(ListedIssuer {
                standing: standing(revoked, info, before.standings.get(id)),
                name: info.map(plain_name).unwrap_or_default(),
                id: id.clone(),
                certificate: body.certificate,
            });
        }
        let standings = issuers
            .iter()
            .map(|one| (one.id.clone(), one.standing))
            .collect();
        let known = KnownIssuers { asked, standings };
        self.known_issuers().insert(mount.to_owned(), known);
        let default = if issuers.is_empty() {
            None
        } else {
            // a mount may have none, and one of an old server doesn't know the word
            match self.issuer_body(&hold, mount, "default").await {
                Ok(body) => Some(body.certificate),
                Err(failure) if is_an_answer(failure.class) => None,
                Err(failure) => return Err(failure),
            }
        };
        Ok(MountIssuers { issuers, default })
    }

    async fn issuer_list(&self, hold: &Hold, mount: &str) -> Result<Listed, Failure> {
        // GET with list=true instead of the LIST method: proxies let it pass.
        let path = format!("{mount}/issuers");
        let ask = Ask {
            method: Method::GET,
            query: Some("list=true"),
            ..Ask::new("listing the issuers", &path)
        };
        let mut listed = match self.wire.send(hold, &ask).await {
            Ok(answer) if answer.body.is_empty() => Listed::default(),
            Ok(answer) => answer.json::<Answer<Listed>>("issuers")?.data,
            Err(refused) if refused.failure.code == "empty-list" => Listed::default(),
            Err(refused) => return Err(refused.failure),
        };
        if listed.keys.len() > MAX_ISSUERS {
            let message = format!(
                "listing the issuers: {mount} has {}, at most {MAX_ISSUERS} are read",
                listed.keys.len()
            );
            let hint = "remove old issuers, or give the application a mount of its own";
            let class = FailureClass::Misconfigured;
            return Err(classify::failure(class, "too-many-issuers", message, hint));
        }
        // They become part of a path.
        listed.keys.retain(|id| is_id(id));
        Ok(listed)
    }

    /// An issuer with its settings; none where the token may not read them.
    async fn issuer_settings(
        &self,
        hold: &Hold,
        mount: &str,
        id: &str,
        token: &crate::model::secret::Secret,
    ) -> Result<Option<IssuerBody>, Failure> {
        let path = format!("{mount}/issuer/{id}");
        let ask = Ask {
            method: Method::GET,
            token: Some(token),
            ..Ask::new("reading the settings of an issuer", &path)
        };
        match self.wire.send(hold, &ask).await {
            Ok(answer) => Ok(Some(answer.json::<Answer<IssuerBody>>("issuer")?.data)),
            Err(refused) if refused.failure.class == FailureClass::Denied => Ok(None),
            Err(refused) => Err(refused.failure),
        }
    }

    /// An issuer as every user may see it.
    pub(super) async fn issuer_body(
        &self,
        hold: &Hold,
        mount: &str,
        id: &str,
    ) -> Result<IssuerBody, Failure> {
        let path = format!("{mount}/issuer/{id}/json");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading an issuer", &path)
        };
        let answer = self.wire.send(hold, &ask).await?;
        Ok(answer.json::<Answer<IssuerBody>>("issuer")?.data)
    }

    /// What the mount says to every user of an issuer that it made itself: that one is stored there as
    /// any certificate is. None for others.
    /// Vault API, PKI, "Read certificate".
    async fn is_revoked(
        &self,
        hold: &Hold,
        mount: &str,
        info: &ListedInfo,
        issuer: &IssuerBody,
    ) -> Result<Option<bool>, Failure> {
        let serial = info.serial_number.replace(':', "-");
        if !is_id(&serial) {
            return Ok(None);
        }
        let path = format!("{mount}/cert/{serial}");
        let ask = Ask {
            method: Method::GET,
            ..Ask::new("reading the certificate of an issuer", &path)
        };
        let stored = match self.wire.send(hold, &ask).await {
            Ok(answer) => answer.json::<Answer<StoredCertificate>>("certificate").ok(),
            Err(refused) if is_an_answer(refused.failure.class) => None,
            Err(refused) => return Err(refused.failure),
        };
        // Another CA may have given the same serial number to something else.
        let stored = stored.map(|found| found.data);
        let same = stored.filter(|one| one.certificate.trim() == issuer.certificate.trim());
        Ok(same.map(|one| one.revocation_time > 0))
    }
}

/// Revocation can't be taken back; what was seen within the last hours is still known when no one
/// may look at the moment.
fn standing(
    revoked: Option<bool>,
    info: Option<&ListedInfo>,
    before: Option<&Standing>,
) -> Standing {
    let key = info.and_then(|info| info.key_id.as_deref());
    match (revoked, key, before) {
        (Some(true), ..) | (None, _, Some(Standing::Revoked)) => Standing::Revoked,
        (_, Some(""), _) => Standing::Keyless,
        (Some(false), ..) | (None, _, Some(Standing::Able)) => Standing::Able,
        _ => Standing::Unseen,
    }
}

fn is_id(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=128).contains(&text.len()) && text.bytes().all(good)
}

fn plain_name(info: &ListedInfo) -> String {
    let name = &info.issuer_name;
    let good = name.len() <= MAX_NAME_CHARS && name.bytes().all(|byte| byte.is_ascii_graphic());
    if good { name.clone() } else { String::new() }
}

/// It was there, and said no.
fn is_an_answer(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Denied | FailureClass::Misconfigured | FailureClass::BadAnswer
    )
}
