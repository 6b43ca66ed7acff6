//! All metrics: one table with name, kind, unit, labels, help and how to read each.
//!
//! Never counts anything itself: values come from the loops' own [`View`]. What stays true: a
//! metric that is not in the table does not exist; docs/metrics.md is made from it; names and units
//! follow OpenMetrics 1.0 and Prometheus' conventions (base units, `_total`, `_timestamp_seconds`).

mod table;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use super::view::View;
use crate::model::time::Timestamp;

pub use table::METRICS;

/// How the values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, for whoever names it.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4, which every reader knows.
    Text,
}

impl Format {
    /// The one for a request with this header `Accept`.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Media type of the answer.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Counts up from the start of the process; its sample ends in `_total`.
    Counter,
    /// Text in labels, value 1; its sample ends in `_info`.
    Info,
}

impl MetricKind {
    /// The word in the exposition and in the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Info => "info",
        }
    }
}

/// One metric.
pub struct Metric {
    /// Name without unit and without the suffix of its kind.
    stem: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// `seconds`, or none for plain numbers.
    pub unit: Option<&'static str>,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence without a full stop.
    pub help: &'static str,
    read: fn(&View, &mut Samples),
}

impl Metric {
    /// The name of its samples, as in queries: `certagent_failures_total`.
    #[must_use]
    pub fn name(&self) -> String {
        let suffix = match self.kind {
            MetricKind::Gauge => "",
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
        };
        self.family() + suffix
    }

    /// What OpenMetrics describes: the name without the suffix of its kind.
    fn family(&self) -> String {
        let unit = self
            .unit
            .map_or_else(String::new, |unit| format!("_{unit}"));
        format!("{}{unit}", self.stem)
    }
}

/// The samples of one metric while they are read.
#[derive(Default)]
struct Samples(Vec<(Vec<String>, SampleValue)>);

#[derive(Clone, Copy, Debug)]
enum SampleValue {
    Whole(u64),
    Number(f64),
}

impl Samples {
    /// A count or a small number.
    fn whole(&mut self, labels: &[&str], value: impl Into<u64>) {
        self.push(labels, SampleValue::Whole(value.into()));
    }

    fn yes_or_no(&mut self, labels: &[&str], value: bool) {
        self.push(labels, SampleValue::Whole(u64::from(value)));
    }

    /// A moment, in seconds since 1970; nothing when there is none.
    fn moment(&mut self, labels: &[&str], at: Option<Timestamp>) {
        if let Some(at) = at {
            self.push(labels, SampleValue::Number(seconds(at.unix_millis())));
        }
    }

    fn number(&mut self, labels: &[&str], value: f64) {
        self.push(labels, SampleValue::Number(value));
    }

    fn push(&mut self, labels: &[&str], value: SampleValue) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push((labels, value));
    }
}

/// Milliseconds as seconds; exact for all moments of the next 285,000 years.
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// The whole exposition.
///
/// # Errors
/// Never in practice: writing into memory.
pub fn exposition(view: View, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(view)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(match format {
        Format::OpenMetrics => out,
        Format::Text => plain(&out),
    })
}

/// OpenMetrics in the text format of Prometheus: it describes a metric by the name of its samples, has
/// neither units nor an end, and an info is a gauge. Samples are the same.
fn plain(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let Some(described) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut words = described.splitn(3, ' ');
        let (Some(what @ ("HELP" | "TYPE")), Some(family), Some(text)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let metric = METRICS.iter().find(|metric| metric.family() == family);
        let name = metric.map_or_else(|| family.to_owned(), Metric::name);
        let text = match (what, text) {
            ("TYPE", "info") => "gauge",
            _ => text,
        };
        out.push_str(&format!("# {what} {name} {text}\n"));
    }
    out
}

#[derive(Debug)]
struct Scrape(View);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in METRICS {
            let mut samples = Samples::default();
            (metric.read)(&self.0, &mut samples);
            encode(metric, &samples, &mut encoder)?;
        }
        Ok(())
    }
}

/// Name, help and type always; so that a metric without a sample is known to exist.
fn encode(metric: &Metric, samples: &Samples, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
    let kind = match metric.kind {
        MetricKind::Gauge => MetricType::Gauge,
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Info => MetricType::Info,
    };
    let help = format!("{}.", metric.help);
    let mut family = out.encode_descriptor(metric.stem, &help, unit.as_ref(), kind)?;
    for (values, value) in &samples.0 {
        let names = metric.labels.iter().copied();
        let labels: Vec<(&str, &str)> = names.zip(values.iter().map(String::as_str)).collect();
        match (metric.kind, value) {
            (MetricKind::Info, _) => family.encode_info(&labels)?,
            (_, value) if labels.is_empty() => number(&mut family, metric.kind, *value)?,
            (_, value) => {
                number(&mut family.encode_family(&labels)?, metric.kind, *value)?;
            }
        }
    }
    Ok(())
}

fn number(out: &mut MetricEncoder<'_>, kind: MetricKind, value: SampleValue) -> fmt::Result {
    const NONE: Option<&Exemplar<NoLabelSet, u64>> = None;
    match (kind, value) {
        (MetricKind::Counter, SampleValue::Whole(count)) => out.encode_counter(&count, NONE),
        (MetricKind::Counter, SampleValue::Number(number)) => out.encode_counter(&number, NONE),
        (_, SampleValue::Whole(count)) => out.encode_gauge(&count),
        (_, SampleValue::Number(number)) => out.encode_gauge(&number),
    }
}

#[cfg(test)]
mod tests;
