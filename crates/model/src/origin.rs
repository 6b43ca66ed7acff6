//! Where the private key of a certificate is made, and what mode `auto` learns about it.
//!
//! Never asks. What stays true: no order is sent twice in one attempt, and what an accepted order
//! has shown is kept until an order of its kind is refused.

use std::fmt;

use crate::{
    failure::{Failure, FailureClass},
    request::{KeyType, Mode, Request},
};

/// The token may not send this order.
pub const PERMISSION_DENIED: &str = "permission-denied";
/// The role signs other keys than the one of the CSR.
pub const KEY_NOT_ALLOWED: &str = "key-not-allowed";
/// The role leaves the key open, and the order did not name one (OpenBao).
pub const KEY_TYPE_MISSING: &str = "key-type-missing";
/// The role leaves the key open, so it signs and issues nothing (Vault).
pub const ROLE_ONLY_SIGNS: &str = "role-only-signs";

/// Where a private key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// On this machine: Vault signs a CSR and never has the key (`<mount>/sign/<role>`).
    Here(KeyType),
    /// In Vault, of the kind that the role names (`<mount>/issue/<role>`).
    OfRole,
    /// In Vault, of the kind that we ask for.
    Asked(KeyType),
}

impl KeyOrigin {
    /// Vault's word for the order, which is also a part of its path.
    #[must_use]
    pub fn order(self) -> &'static str {
        match self {
            Self::Here(_) => "sign",
            Self::OfRole | Self::Asked(_) => "issue",
        }
    }

    /// Where such an order goes, below `/v1/`: `pki/sign/internal`.
    #[must_use]
    pub fn path(self, request: &Request) -> String {
        format!("{}/{}/{}", request.mount, self.order(), request.role)
    }
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(kind) => write!(f, "made here ({kind})"),
            Self::OfRole => f.write_str("made by Vault"),
            Self::Asked(kind) => write!(f, "made by Vault ({kind})"),
        }
    }
}

/// The origin of the next key, and the refusal that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenOrigin {
    /// Where the next key is made.
    pub origin: KeyOrigin,
    /// Why it is not what the mode begins with: the code of a refusal.
    pub because: Option<String>,
}

impl ChosenOrigin {
    /// What the mode begins with. `auto` signs: a key that never travels can't be read on the way.
    #[must_use]
    pub fn first(request: &Request) -> Self {
        let origin = match request.mode {
            Mode::Auto | Mode::Sign => KeyOrigin::Here(request.key_type),
            Mode::Issue => in_vault(request),
        };
        Self {
            origin,
            because: None,
        }
    }
}

/// Where the key is made when the first choice is not permitted: in mode `auto` in Vault.
#[must_use]
pub fn second(request: &Request) -> Option<KeyOrigin> {
    (request.mode == Mode::Auto).then(|| in_vault(request))
}

fn in_vault(request: &Request) -> KeyOrigin {
    if request.key_type_open {
        KeyOrigin::OfRole
    } else {
        KeyOrigin::Asked(request.key_type)
    }
}

/// The orders of one attempt.
#[derive(Debug)]
pub struct OrderSeries<'a> {
    request: &'a Request,
    now: ChosenOrigin,
    refused: Vec<(KeyOrigin, Failure)>,
}

impl<'a> OrderSeries<'a> {
    /// Begins with what was learned.
    #[must_use]
    pub fn new(request: &'a Request, chosen: &ChosenOrigin) -> Self {
        Self {
            request,
            now: chosen.clone(),
            refused: Vec::new(),
        }
    }

    /// The order to send.
    #[must_use]
    pub fn origin(&self) -> KeyOrigin {
        self.now.origin
    }

    /// The order was accepted: what the next attempt begins with.
    #[must_use]
    pub fn accepted(self) -> ChosenOrigin {
        self.now
    }

    /// The order failed: another one is to be sent now, or the attempt has failed.
    ///
    /// # Errors
    /// The failure of the attempt.
    pub fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        let next = self.after(&failure);
        let code = failure.code.clone();
        self.refused.push((self.now.origin, failure));
        let tried = |origin| self.refused.iter().any(|(refused, _)| *refused == origin);
        match next.filter(|origin| !tried(*origin)) {
            Some(origin) => {
                self.now = ChosenOrigin {
                    because: (origin != ChosenOrigin::first(self.request).origin).then_some(code),
                    origin,
                };
                Ok(())
            }
            None => Err(self.together()),
        }
    }

    fn after(&self, failure: &Failure) -> Option<KeyOrigin> {
        let auto = self.request.mode == Mode::Auto;
        let here = KeyOrigin::Here(self.request.key_type);
        match (self.now.origin, failure.code.as_str()) {
            (KeyOrigin::Here(_), PERMISSION_DENIED) if auto => Some(in_vault(self.request)),
            (KeyOrigin::Here(kind), KEY_NOT_ALLOWED) if self.request.key_type_open => {
                wanted(&failure.message, kind).map(KeyOrigin::Here)
            }
            (KeyOrigin::OfRole, KEY_TYPE_MISSING) => Some(KeyOrigin::Asked(self.request.key_type)),
            (KeyOrigin::OfRole | KeyOrigin::Asked(_), PERMISSION_DENIED | ROLE_ONLY_SIGNS)
                if auto =>
            {
                Some(here)
            }
            _ => None,
        }
    }

    /// One failure for all orders: the last one leads, the others are named.
    fn together(&mut self) -> Failure {
        let Some((_, mut failure)) = self.refused.pop() else {
            return Failure::local("no-order", "no order was sent".to_owned());
        };
        let denied = |failure: &Failure| failure.code == PERMISSION_DENIED;
        let all_denied = denied(&failure) && self.refused.iter().all(|(_, one)| denied(one));
        if all_denied && !self.refused.is_empty() {
            failure.hint = Some(format!(
                "the token's policy must grant `update` on {0}/sign/{1} (the key then stays on this \
                 machine) or on {0}/issue/{1}",
                self.request.mount, self.request.role
            ));
        }
        for (origin, one) in &self.refused {
            let note = format!("; before that, {}: {}", origin.order(), one.message);
            failure.message.push_str(&note);
            failure.class = worst(failure.class, one.class);
        }
        failure
    }
}

/// A policy can be put right as well as a role: the plan with the earlier retries counts.
fn worst(last: FailureClass, before: FailureClass) -> FailureClass {
    match (last, before) {
        (FailureClass::Misconfigured, FailureClass::Denied) => FailureClass::Denied,
        _ => last,
    }
}

/// The key that a refused CSR should have had. Vault's words: `role requires keys of type rsa`,
/// `role requires a minimum of a 3072-bit key, but CSR's key is 2048 bits` (builtin/logical/pki,
/// `signCert`); OpenBao has kept them.
fn wanted(refusal: &str, had: KeyType) -> Option<KeyType> {
    let (_, rest) = refusal.split_once("role requires ")?;
    if let Some(family) = rest.strip_prefix("keys of type ") {
        let family = family.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        return KeyType::ALL
            .into_iter()
            .find(|kind| kind.vault().0 == family);
    }
    let bits = rest.strip_prefix("a minimum of a ")?.split('-').next()?;
    let (bits, (family, _)) = (bits.parse::<u32>().ok()?, had.vault());
    KeyType::ALL
        .into_iter()
        .find(|kind| kind.vault().0 == family && kind.vault().1 >= bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGN: KeyOrigin = KeyOrigin::Here(KeyType::EcP256);
    const RSA: &str = "role requires keys of type rsa";
    const BITS: &str = "role requires a minimum of a 3072-bit key, but CSR's key is 2048 bits";

    fn request(mode: Mode, key_type_open: bool) -> Request {
        Request {
            mode,
            key_type_open,
            ..Request::example()
        }
    }

    fn refusal(code: &str, message: &str) -> Failure {
        let class = match code {
            PERMISSION_DENIED => FailureClass::Denied,
            _ => FailureClass::Misconfigured,
        };
        Failure {
            class,
            ..Failure::local(code, format!("400 {message}"))
        }
    }

    /// The orders that are sent when these refusals come; the last one is accepted if it differs.
    fn sent(request: &Request, refusals: &[(&str, &str)]) -> (Vec<KeyOrigin>, Option<Failure>) {
        let mut series = OrderSeries::new(request, &ChosenOrigin::first(request));
        let mut sent = vec![series.origin()];
        for (code, message) in refusals {
            match series.failed(refusal(code, message)) {
                Ok(()) => sent.push(series.origin()),
                Err(failure) => return (sent, Some(failure)),
            }
        }
        (sent, None)
    }

    #[test]
    fn each_refusal_leads_to_the_order_that_may_be_accepted() {
        use KeyOrigin::{Asked, Here, OfRole};
        let denied = (PERMISSION_DENIED, "permission denied");
        let missing = (KEY_TYPE_MISSING, "without providing key_type");
        let only_signs = (ROLE_ONLY_SIGNS, "only signing");
        let (rsa, bits) = ((KEY_NOT_ALLOWED, RSA), (KEY_NOT_ALLOWED, BITS));
        type Row<'a> = (Mode, bool, &'a [(&'a str, &'a str)], &'a [KeyOrigin]);
        let table: &[Row<'_>] = &[
            (Mode::Auto, true, &[], &[SIGN]),
            (Mode::Auto, true, &[denied], &[SIGN, OfRole]),
            (
                Mode::Auto,
                true,
                &[denied, missing],
                &[SIGN, OfRole, Asked(KeyType::EcP256)],
            ),
            (
                Mode::Auto,
                false,
                &[denied],
                &[SIGN, Asked(KeyType::EcP256)],
            ),
            (
                Mode::Auto,
                true,
                &[rsa, bits],
                &[SIGN, Here(KeyType::Rsa2048), Here(KeyType::Rsa3072)],
            ),
            (
                Mode::Auto,
                true,
                &[rsa, denied],
                &[SIGN, Here(KeyType::Rsa2048), OfRole],
            ),
            (
                Mode::Issue,
                true,
                &[missing],
                &[OfRole, Asked(KeyType::EcP256)],
            ),
        ];
        for (mode, open, refusals, orders) in table {
            let (sent, failed) = sent(&request(*mode, *open), refusals);
            assert_eq!(
                (&sent[..], failed),
                (*orders, None),
                "{mode} {open} {refusals:?}"
            );
        }
        for (mode, open, refusals) in [
            (Mode::Auto, true, &[denied, denied][..]),
            (Mode::Auto, true, &[denied, only_signs]),
            (Mode::Auto, false, &[rsa]),
            (Mode::Sign, false, &[denied]),
            (Mode::Sign, false, &[rsa]),
            (Mode::Issue, true, &[denied]),
            (Mode::Issue, true, &[only_signs]),
            (Mode::Issue, false, &[missing]),
            (Mode::Auto, true, &[("unknown-role", "")]),
        ] {
            let (sent, failed) = sent(&request(mode, open), refusals);
            assert!(failed.is_some(), "{mode} {open} {refusals:?}");
            assert_eq!(sent.len(), refusals.len(), "{mode} {open} {refusals:?}");
        }
    }

    /// Whatever a server answers: the orders of an attempt are few, and none is repeated.
    #[test]
    fn an_attempt_ends_against_a_server_that_takes_turns() {
        let table = [
            vec![(PERMISSION_DENIED, ""); 9],
            [
                (KEY_NOT_ALLOWED, RSA),
                (KEY_NOT_ALLOWED, "role requires keys of type ec"),
            ]
            .repeat(5),
            [
                (KEY_NOT_ALLOWED, RSA),
                (PERMISSION_DENIED, ""),
                (ROLE_ONLY_SIGNS, ""),
            ]
            .repeat(3),
        ];
        for refusals in table {
            let (sent, failed) = sent(&request(Mode::Auto, true), &refusals);
            assert!(failed.is_some(), "{refusals:?}");
            assert!(sent.len() <= 4, "{sent:?}");
        }
    }

    #[test]
    fn what_was_accepted_is_remembered_with_its_reason_until_it_is_refused() {
        let auto = request(Mode::Auto, true);
        let mut series = OrderSeries::new(&auto, &ChosenOrigin::first(&auto));
        series.failed(refusal(PERMISSION_DENIED, "")).unwrap();
        let learned = series.accepted();
        assert_eq!(learned.origin, KeyOrigin::OfRole);
        assert_eq!(learned.because.as_deref(), Some(PERMISSION_DENIED));
        let mut series = OrderSeries::new(&auto, &learned);
        assert_eq!(series.origin(), KeyOrigin::OfRole);
        series.failed(refusal(PERMISSION_DENIED, "")).unwrap();
        assert_eq!(series.accepted(), ChosenOrigin::first(&auto));
    }

    #[test]
    fn a_failed_attempt_names_every_order_and_both_grants() {
        let refusals = [
            (PERMISSION_DENIED, "no to sign"),
            (PERMISSION_DENIED, "no to issue"),
        ];
        let failure = sent(&request(Mode::Auto, true), &refusals).1.unwrap();
        assert_eq!(failure.class, FailureClass::Denied);
        assert_eq!(
            failure.message,
            "400 no to issue; before that, sign: 400 no to sign"
        );
        let hint = failure.hint.unwrap();
        for grant in ["pki/sign/internal", "pki/issue/internal"] {
            assert!(hint.contains(grant), "{hint}");
        }
        let refusals = [(PERMISSION_DENIED, ""), (ROLE_ONLY_SIGNS, "")];
        let failure = sent(&request(Mode::Auto, true), &refusals).1.unwrap();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Denied, ROLE_ONLY_SIGNS)
        );
    }

    #[test]
    fn only_the_words_of_a_refusal_name_a_key() {
        let table = [
            (
                "x: 400 role requires keys of type ed25519",
                Some(KeyType::Ed25519),
            ),
            (RSA, Some(KeyType::Rsa2048)),
            ("role requires keys of type dsa", None),
            (
                "role requires a minimum of a 384-bit key, but",
                Some(KeyType::EcP384),
            ),
            ("role requires a minimum of a 8192-bit key, but", None),
            ("role requires a minimum of a key", None),
            ("something else", None),
        ];
        for (text, kind) in table {
            assert_eq!(wanted(text, KeyType::EcP256), kind, "{text}");
        }
    }
}
