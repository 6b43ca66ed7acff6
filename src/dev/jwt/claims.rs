//! The claims of a verified JWT against a role, with OpenBao's texts.
//!
//! Never sees a signature: [`super::Jwt`] has checked it.

use serde_json::{Map, Value, json};

use crate::model::time::Timestamp;

use super::super::{auth::Login, fields};

/// Added where `exp` or `nbf` is absent, in seconds (cap/jwt, default leeway).
const LEEWAY: i64 = 150;
/// Clock skew allowed both ways, in seconds.
const SKEW: i64 = 60;

/// Subject, audience and times.
pub(super) fn check(
    claims: &Value,
    role: &Map<String, Value>,
    now: Timestamp,
) -> Result<(), String> {
    for name in ["iat", "nbf", "exp"] {
        if !matches!(
            claims.get(name),
            None | Some(Value::Number(_) | Value::Null)
        ) {
            return Err(
                "go-jose/go-jose/jwt: expected number value to unmarshal NumericDate".to_owned(),
            );
        }
    }
    let subject = role.get("bound_subject").and_then(Value::as_str);
    let subject = subject.unwrap_or_default();
    if !subject.is_empty() && claims.get("sub").and_then(Value::as_str) != Some(subject) {
        return Err("invalid subject (sub) claim".to_owned());
    }
    let wanted = fields::strings(role.get("bound_audiences"));
    let given = one_or_many(claims.get("aud"));
    if !wanted.is_empty() && !given.iter().any(|aud| wanted.contains(aud)) {
        return Err(
            "invalid audience (aud) claim: audience claim does not match any expected audience"
                .to_owned(),
        );
    }
    check_times(claims, now.unix_secs())
}

fn check_times(claims: &Value, now: i64) -> Result<(), String> {
    let time = |name: &str| {
        let value = claims.get(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast from float saturates"
        )]
        value
            .as_i64()
            .or_else(|| value.as_f64().map(|secs| secs as i64))
    };
    let (iat, nbf, exp) = (time("iat"), time("nbf"), time("exp"));
    let Some(latest) = iat.max(nbf).or(exp) else {
        return Err(
            "no issued at (iat), not before (nbf), or expiration time (exp) claims in token"
                .to_owned(),
        );
    };
    let exp = exp.unwrap_or_else(|| latest.saturating_add(LEEWAY));
    let nbf = nbf.or(iat).unwrap_or_else(|| exp.saturating_sub(LEEWAY));
    if now > exp.saturating_add(SKEW) {
        return Err("invalid expiration time (exp) claim: token is expired".to_owned());
    }
    if now < nbf.saturating_sub(SKEW) {
        return Err("invalid not before (nbf) claim: token not yet valid".to_owned());
    }
    if iat.is_some_and(|iat| now < iat.saturating_sub(SKEW)) {
        return Err("invalid issued at (iat) claim: token issued in the future".to_owned());
    }
    Ok(())
}

/// Bound claims, user and metadata.
pub(super) fn login(
    claims: &Value,
    name: &str,
    role: &Map<String, Value>,
) -> Result<Login, String> {
    let audiences = fields::strings(role.get("bound_audiences"));
    if audiences.is_empty() && claims.get("aud").is_some() {
        return Err("audience claim found in JWT but no audiences bound to the role".to_owned());
    }
    check_bound(claims, role).map_err(|why| format!("error validating claims: {why}"))?;
    let user = user(claims, role)?;
    let mut meta = Map::new();
    meta.insert("role".to_owned(), json!(name));
    if let Some(Value::Object(mappings)) = role.get("claim_mappings") {
        for (claim, key) in mappings {
            if let (Some(Value::String(value)), Some(key)) = (claim_of(claims, claim), key.as_str())
            {
                meta.insert(key.to_owned(), json!(value));
            }
        }
    }
    Ok(Login {
        display_name: format!("jwt-{user}"),
        user,
        meta,
        role: role.clone(),
    })
}

fn user(claims: &Value, role: &Map<String, Value>) -> Result<String, String> {
    let claim = role.get("user_claim").and_then(Value::as_str);
    let claim = claim.unwrap_or_default();
    let pointer = role.get("user_claim_json_pointer") == Some(&Value::Bool(true));
    let value = match pointer {
        true => claim_of(claims, claim),
        false => claims.get(claim),
    };
    match value {
        Some(Value::String(user)) => Ok(user.clone()),
        Some(_) => Err(format!(
            "claim \"{claim}\" could not be converted to string"
        )),
        None => Err(format!("claim \"{claim}\" not found in token")),
    }
}

fn check_bound(claims: &Value, role: &Map<String, Value>) -> Result<(), String> {
    let Some(Value::Object(bound)) = role.get("bound_claims") else {
        return Ok(());
    };
    let glob = role.get("bound_claims_type").and_then(Value::as_str) == Some("glob");
    for (claim, wanted) in bound {
        let Some(given) = claim_of(claims, claim) else {
            return Err(format!("claim \"{claim}\" is missing"));
        };
        let (wanted, given) = (one_or_many(Some(wanted)), one_or_many(Some(given)));
        let fits = |given: &String| {
            wanted.iter().any(|wanted| match glob {
                true => super::super::pki::names::glob(wanted, given),
                false => wanted == given,
            })
        };
        if !given.iter().any(fits) {
            return Err(format!(
                "claim \"{claim}\" does not match any associated bound claim values"
            ));
        }
    }
    Ok(())
}

/// A claim by name, or by JSON pointer when it starts with a slash.
fn claim_of<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    match name.starts_with('/') {
        true => claims.pointer(name),
        false => claims.get(name),
    }
}

fn one_or_many(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Bool(flag)) => vec![flag.to_string()],
        Some(Value::Number(number)) => vec![number.to_string()],
        many => fields::strings(many),
    }
}
