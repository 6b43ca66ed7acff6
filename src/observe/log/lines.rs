//! One event, one line: text for people, one JSON object for machines.
//!
//! Never waits and never keeps an event. What stays true: the certificate that a line is about stands
//! in front of the text, and in JSON at the top level; no key stands twice; text from outside ends no
//! line and steers no terminal.

use std::fmt;

use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    clock::{Clock as _, SystemClock},
    config::LogFormat,
    model::{foreign::harmless, time::Timestamp},
    terminal::Style,
};

/// The field of a span that names its certificate.
const CERTIFICATE: &str = "certificate";

/// Writes each event with `write`, as one line.
pub(super) struct Lines<W> {
    pub(super) format: LogFormat,
    pub(super) colour: bool,
    pub(super) write: W,
}

/// The certificate that a span is about.
struct About(String);

/// The fields of an event or a span, in their sequence.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.others.push((name, value)),
        }
    }

    fn certificate(&self) -> Option<&str> {
        let found = self.others.iter().find(|(name, _)| *name == CERTIFICATE);
        found.and_then(|(_, value)| value.as_str())
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(name)) = (context.span(id), fields.certificate()) {
            span.extensions_mut().insert(About(name.to_owned()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = context.event_scope(event).into_iter().flatten();
        let outer = spans.find_map(|span| Some(span.extensions().get::<About>()?.0.clone()));
        let certificate = fields.certificate().map(str::to_owned).or(outer);
        fields.others.retain(|(name, _)| *name != CERTIFICATE);
        let (at, level) = (time(SystemClock.now()), *event.metadata().level());
        let mut line = match self.format {
            LogFormat::Text => text(&at, level, certificate.as_deref(), &fields, self.colour),
            LogFormat::Json => json(&at, level, certificate, fields),
        };
        line.push('\n');
        (self.write)(line.as_bytes());
    }
}

/// RFC 3339 with milliseconds.
fn time(now: Timestamp) -> String {
    let text = now.to_string();
    let millis = now.unix_millis().rem_euclid(1_000);
    format!("{}.{millis:03}Z", text.trim_end_matches('Z'))
}

fn text(
    at: &str,
    level: Level,
    certificate: Option<&str>,
    fields: &Fields,
    colour: bool,
) -> String {
    let paint = |style: Style, text: String| {
        if colour { style.paint(&text) } else { text }
    };
    let style = match level {
        Level::ERROR => Style::Bad,
        Level::WARN => Style::Warning,
        Level::INFO => Style::Good,
        _ => Style::Faint,
    };
    let mut line = format!(
        "{} {} ",
        paint(Style::Faint, at.to_owned()),
        paint(style, format!("{:5}", level.as_str()))
    );
    if let Some(name) = certificate {
        line.push_str(&paint(Style::Strong, harmless(name)));
        line.push_str(": ");
    }
    line.push_str(&harmless(&fields.message));
    for (name, value) in &fields.others {
        let value = match value {
            Value::String(text) if text.contains([' ', '"', '=']) => harmless(&format!("{text:?}")),
            Value::String(text) => harmless(text),
            other => other.to_string(),
        };
        line.push_str(&paint(Style::Faint, format!(" {name}={value}")));
    }
    line
}

fn json(at: &str, level: Level, certificate: Option<String>, fields: Fields) -> String {
    let mut all: Vec<(&str, Value)> = vec![
        ("timestamp", at.into()),
        ("level", level.as_str().into()),
        ("message", fields.message.into()),
    ];
    all.extend(certificate.map(|name| (CERTIFICATE, name.into())));
    for (name, value) in fields.others {
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, value));
        }
    }
    let mut line = Vec::new();
    let mut to = serde_json::Serializer::new(&mut line);
    // a list of texts and numbers into memory: nothing can fail
    let _ = serde::Serializer::collect_map(&mut to, all);
    harmless(&String::from_utf8_lossy(&line))
}
