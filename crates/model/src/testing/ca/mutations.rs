//! Wrong answers, each with the code it must be refused with; and odd ones that must be accepted.

mod chains;
mod fields;
mod leaves;

use serde_json::Value;

use super::TestCa;
use crate::{request::Request, time::Timestamp};

/// One wrong answer.
pub struct Mutation {
    /// What is wrong with it.
    pub name: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// The code of the first problem.
    pub code: &'static str,
}

/// One odd answer that is good enough.
pub struct Tolerated {
    /// What is odd about it.
    pub name: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// Part of a warning it gives; empty when it gives none.
    pub warning: &'static str,
}

/// All wrong answers to `request` (issue mode, P-256) of a CA at `now`, when the set from the
/// answer `live` is live. More come when the request pins an issuer.
pub fn mutations(ca: &TestCa, request: &Request, now: Timestamp, live: &[u8]) -> Vec<Mutation> {
    let mut bench = Bench::new(ca, request, now);
    fields::bodies(&mut bench);
    fields::certificate(&mut bench);
    fields::certificate_pem(&mut bench);
    fields::key(&mut bench);
    fields::key_content(&mut bench);
    fields::chain(&mut bench);
    fields::beside(&mut bench);
    leaves::all(&mut bench);
    chains::all(&mut bench);
    bench.raw("the live set once more", "serial-repeated", live.to_vec());
    bench.wrong
}

/// Odd answers that must be published all the same.
pub fn tolerated(ca: &TestCa, request: &Request, now: Timestamp) -> Vec<Tolerated> {
    let mut bench = Bench::new(ca, request, now);
    fields::odd(&mut bench);
    chains::odd(&mut bench);
    bench.odd
}

/// Where answers are bent.
struct Bench<'a> {
    ca: &'a TestCa,
    request: &'a Request,
    now: Timestamp,
    wrong: Vec<Mutation>,
    odd: Vec<Tolerated>,
}

impl<'a> Bench<'a> {
    fn new(ca: &'a TestCa, request: &'a Request, now: Timestamp) -> Self {
        Self {
            ca,
            request,
            now,
            wrong: Vec::new(),
            odd: Vec::new(),
        }
    }

    /// A body as it is.
    fn raw(&mut self, name: &'static str, code: &'static str, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.wrong.push(Mutation { name, body, code });
    }

    /// A fresh good answer with something changed.
    fn bend(&mut self, name: &'static str, code: &'static str, change: impl FnOnce(&mut Value)) {
        let mut answer = self.ca.answer_json(self.request, self.now);
        change(&mut answer);
        self.raw(name, code, answer.to_string());
    }

    /// A fresh good answer with one field of `data` replaced.
    fn set(
        &mut self,
        name: &'static str,
        code: &'static str,
        field: &str,
        value: impl Into<Value>,
    ) {
        self.bend(name, code, |answer| answer["data"][field] = value.into());
    }

    /// A fresh good answer with the text of one field of `data` changed.
    fn text(
        &mut self,
        name: &'static str,
        code: &'static str,
        field: &str,
        change: impl FnOnce(&str) -> String,
    ) {
        self.bend(name, code, |answer| {
            let text = change(answer["data"][field].as_str().unwrap());
            answer["data"][field] = text.into();
        });
    }

    /// A fresh good answer with something odd.
    fn tolerate(
        &mut self,
        name: &'static str,
        warning: &'static str,
        change: impl FnOnce(&mut Value),
    ) {
        let mut answer = self.ca.answer_json(self.request, self.now);
        change(&mut answer);
        self.odd.push(Tolerated {
            name,
            body: answer.to_string().into_bytes(),
            warning,
        });
    }
}
