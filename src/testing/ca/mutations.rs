//! Wrong answers, each with the code it must be refused with.

use serde_json::Value;

use super::TestCa;
use crate::model::{request::Request, time::Timestamp};

/// One wrong answer.
pub(crate) struct Mutation {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// The code of the first problem.
    pub(crate) code: &'static str,
}

/// All wrong answers to `request` (issue mode), for a CA at `now`.
pub(crate) fn mutations(ca: &TestCa, request: &Request, now: Timestamp) -> Vec<Mutation> {
    let mut all = Vec::new();
    let mut add = |name, code, change: &dyn Fn(&mut Value)| {
        let mut answer = ca.answer_json(request, now);
        change(&mut answer);
        all.push(Mutation {
            name,
            body: answer.to_string().into_bytes(),
            code,
        });
    };
    add("data is null", "data-null", &|answer| {
        answer["data"] = Value::Null
    });
    all
}
