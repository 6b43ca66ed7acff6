//! Response wrapping: an answer is kept once under a one-time token.
//!
//! Never wraps an answer without content. What stays true: an answer is handed out at most once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::model::time::Timestamp;

use super::{
    answer::{Answer, Envelope, Outcome, Refused},
    call::{Call, Op},
    fields::Kind,
    random,
    store::Store,
    token::rfc3339,
};

/// A kept answer.
pub(super) struct Wrapped {
    body: Value,
    path: String,
    created: Timestamp,
    ttl: u64,
    pub(super) expires: Timestamp,
}

/// Keeps an answer and hands out the token for it instead.
pub(super) fn wrap(store: &mut Store, call: &Call, ttl: u64, answer: Answer) -> Answer {
    let Answer::Envelope(envelope) = answer else {
        return answer;
    };
    let body = envelope.into_json();
    let token = format!("s.{}", random::letters::<24>());
    let mut info = json!({
        "token": token,
        "accessor": random::letters::<24>(),
        "ttl": ttl,
        "creation_time": rfc3339(call.now),
        "creation_path": call.path,
    });
    let inner = [
        &body["data"]["secret_id_accessor"],
        &body["auth"]["accessor"],
    ];
    if let Some(accessor) = inner.into_iter().find(|value| value.is_string()) {
        info["wrapped_accessor"] = accessor.clone();
    }
    store.wrapped.insert(
        token,
        Wrapped {
            body,
            path: call.path.clone(),
            created: call.now,
            ttl,
            expires: call.now.plus(Duration::from_secs(ttl)),
        },
    );
    Answer::Envelope(Envelope {
        wrap_info: Some(info),
        ..Envelope::default()
    })
}

/// Answers `sys/wrapping/lookup` and `sys/wrapping/unwrap`, where the wrapping token is the permit.
pub(super) fn public(store: &mut Store, call: &Call) -> Option<Outcome> {
    match (call.path.as_str(), call.op) {
        ("sys/wrapping/lookup", Op::Update | Op::Read) => Some(lookup(store, call)),
        ("sys/wrapping/unwrap", Op::Update) => Some(unwrap(store, call)),
        _ => None,
    }
}

fn wrapping_token(call: &Call) -> Result<String, Refused> {
    let fields = call.fields(&[("token", Kind::Text)])?;
    let token = match fields.text("token") {
        "" => call.token.clone().unwrap_or_default(),
        token => token.to_owned(),
    };
    match token.is_empty() {
        true => Err(Refused::new(
            403,
            "error validating wrapping token: token is empty",
        )),
        false => Ok(token),
    }
}

fn invalid() -> Refused {
    Refused::bad("wrapping token is not valid or does not exist")
}

fn lookup(store: &Store, call: &Call) -> Outcome {
    let token = wrapping_token(call)?;
    let wrapped = store.wrapped.get(&token).ok_or_else(invalid)?;
    Ok(Answer::data(json!({
        "creation_path": wrapped.path,
        "creation_time": rfc3339(wrapped.created),
        "creation_ttl": wrapped.ttl,
    })))
}

fn unwrap(store: &mut Store, call: &Call) -> Outcome {
    let token = wrapping_token(call)?;
    let wrapped = store.wrapped.remove(&token).ok_or_else(invalid)?;
    let mut body = wrapped.body;
    body["request_id"] = json!(random::uuid());
    Ok(Answer::Plain(200, body))
}
