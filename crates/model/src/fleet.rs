//! Many agents at once: one row for each certificate, and for each place where none is seen.
//!
//! Never asks anything. What stays true: the most urgent row comes first, and what was not seen is
//! never counted as well.

pub mod ca;

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::time::Timestamp;

/// How one row is. The order is that of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowState {
    /// The published certificate has expired.
    Expired,
    /// Nothing is published, or the application does not serve it.
    NotReady,
    /// The agent gave no answer that can be used.
    NoAnswer,
    /// The catalogue has an application here, and no agent beside it.
    NoAgent,
    /// It works, and something is wrong.
    Degraded,
    /// All is well.
    Ready,
}

impl RowState {
    /// All, the most urgent first.
    pub const ALL: [Self; 6] = [
        Self::Expired,
        Self::NotReady,
        Self::NoAnswer,
        Self::NoAgent,
        Self::Degraded,
        Self::Ready,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotReady => "not-ready",
            Self::NoAnswer => "no-answer",
            Self::NoAgent => "no-agent",
            Self::Degraded => "degraded",
            Self::Ready => "ready",
        }
    }
}

/// Who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    /// Name of the certificate, which is the component by default; of the service where there is none.
    pub component: String,
    /// Id of the allocation, else what the catalogue or the agent calls it.
    pub instance: String,
    /// Name of the host.
    pub node: String,
    /// `host:port` of the agent, or of the application where there is no agent.
    pub address: String,
}

impl Who {
    /// Short, for messages: `ingester 1f0c2d9a on node-3`.
    #[must_use]
    pub fn label(&self) -> String {
        let on = if self.node.is_empty() { "" } else { "on" };
        [
            self.component.as_str(),
            self.short(),
            on,
            self.node.as_str(),
        ]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
    }

    /// What tells it apart on its host: the beginning of an allocation's id, a name, else its address.
    #[must_use]
    pub fn short(&self) -> &str {
        let dashes = self.instance.bytes().filter(|byte| *byte == b'-').count();
        match self.instance.split_once('-') {
            _ if self.instance.is_empty() || self.instance == self.node => &self.address,
            Some((start, rest)) if (start.len(), rest.len(), dashes) == (8, 27, 4) => start,
            _ => &self.instance,
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// How it is.
    pub state: RowState,
    /// Who it is.
    #[serde(flatten)]
    pub who: Who,
    /// Version of the agent; empty where none answered.
    pub version: String,
    /// The task of Nomad that the agent runs in; empty elsewhere.
    #[serde(skip)]
    pub task: String,
    /// What is wrong, the worst first.
    pub troubles: Vec<String>,
    /// What is published, where something is.
    pub leaf: Option<LeafRow>,
    /// The anchors in its CA.pem.
    pub anchors: Vec<AnchorRow>,
    /// Whether the application has loaded the anchors as they are now.
    pub trust_loaded: Option<bool>,
}

/// The published certificate of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeafRow {
    /// Lower-case hex with colons.
    pub serial: String,
    /// Distinguished name of the CA that signed it.
    pub issuer: String,
    /// SHA-256 of that CA's certificate.
    pub issuer_sha256: String,
    /// SHA-256 of the anchor that its chain ends in.
    pub anchor_sha256: String,
    /// Milliseconds since 1970, as all times here.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// When its renewal is due.
    pub due: Option<Timestamp>,
    /// `current`, `old` or `unknown`, as the agent sees it; a look from here replaces it.
    pub serving: String,
}

impl LeafRow {
    /// The share of its life that is left, 0 to 1.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> f64 {
        let life = self.not_before.until(self.not_after).as_secs_f64();
        (now.until(self.not_after).as_secs_f64() / life.max(1.0)).clamp(0.0, 1.0)
    }
}

/// One anchor in a CA.pem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnchorRow {
    /// Distinguished name.
    pub subject: String,
    /// SHA-256 of its DER form, in hex.
    pub sha256: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// Whether the application has loaded it; unknown without reload and probe.
    pub loaded: Option<bool>,
}

impl AnchorRow {
    /// The beginning of its fingerprint: enough to tell anchors apart, and to name one.
    #[must_use]
    pub fn short(&self) -> &str {
        self.sha256.get(..8).unwrap_or(&self.sha256)
    }
}

impl Row {
    /// A place where no agent could be seen.
    #[must_use]
    pub fn unseen(state: RowState, who: Who, trouble: String) -> Self {
        Self {
            state,
            who,
            version: String::new(),
            task: String::new(),
            troubles: vec![trouble],
            leaf: None,
            anchors: Vec::new(),
            trust_loaded: None,
        }
    }
}

/// What the agent says of one certificate, judged.
#[must_use]
pub fn state(ready: bool, degraded: bool, leaf: Option<&LeafRow>, now: Timestamp) -> RowState {
    match leaf {
        Some(leaf) if now >= leaf.not_after => RowState::Expired,
        Some(_) if ready && !degraded => RowState::Ready,
        Some(_) if ready => RowState::Degraded,
        _ => RowState::NotReady,
    }
}

/// The most urgent first: by state, then by what ends first, then by name.
pub fn sort(rows: &mut [Row]) {
    rows.sort_by_cached_key(|row| {
        let ends = row.leaf.as_ref().map(|leaf| leaf.not_after);
        (row.state, ends.is_none(), ends, row.who.clone())
    });
}

/// How many rows there are of each state that occurs.
#[must_use]
pub fn summary(rows: &[Row]) -> BTreeMap<RowState, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let count: &mut usize = counts.entry(row.state).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// Whether there is a row and all are ready.
#[must_use]
pub fn all_well(rows: &[Row]) -> bool {
    !rows.is_empty() && rows.iter().all(|row| row.state == RowState::Ready)
}

/// Every anchor of the rows, the newest first.
#[must_use]
pub fn anchors(rows: &[Row]) -> Vec<&AnchorRow> {
    let all = rows.iter().flat_map(|row| &row.anchors);
    let by_age: BTreeMap<_, _> = all
        .map(|one| ((Reverse(one.not_before), &one.sha256), one))
        .collect();
    by_age.into_values().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_900_000_000);
    pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

    pub(crate) fn leaf(hours: u64, root: &str) -> LeafRow {
        LeafRow {
            serial: "0a:0b".to_owned(),
            issuer: format!("CN={root}"),
            issuer_sha256: root.to_owned(),
            anchor_sha256: root.to_owned(),
            not_before: NOW.minus(HOUR),
            not_after: NOW.plus(HOUR.saturating_mul(u32::try_from(hours).unwrap())),
            due: Some(NOW.plus(HOUR)),
            serving: "current".to_owned(),
        }
    }

    pub(crate) fn row(name: &str, state: RowState, leaf: Option<LeafRow>) -> Row {
        let who = Who {
            component: name.to_owned(),
            instance: "1f0c2d9a-0000-4000-8000-000000000001".to_owned(),
            node: "node-1".to_owned(),
            address: "192.0.2.1:9464".to_owned(),
        };
        Row {
            leaf,
            troubles: Vec::new(),
            trust_loaded: Some(true),
            ..Row::unseen(state, who, String::new())
        }
    }

    #[test]
    fn what_is_seen_is_judged() {
        let good = leaf(5, "a");
        let gone = LeafRow {
            not_after: NOW,
            ..good.clone()
        };
        for (ready, degraded, leaf, wanted) in [
            (true, false, Some(&good), RowState::Ready),
            (true, true, Some(&good), RowState::Degraded),
            (false, false, Some(&good), RowState::NotReady),
            (true, false, Some(&gone), RowState::Expired),
            (true, false, None, RowState::NotReady),
        ] {
            assert_eq!(state(ready, degraded, leaf, NOW), wanted);
        }
    }

    #[test]
    fn a_label_tells_instances_of_one_host_apart() {
        let known = row("ingester", RowState::Ready, None).who;
        let called = |instance: &str, node: &str| Who {
            instance: instance.to_owned(),
            node: node.to_owned(),
            ..known.clone()
        };
        let uuid = known.instance.as_str();
        for (instance, node, wanted) in [
            (uuid, "node-1", "ingester 1f0c2d9a on node-1"),
            ("loki-blue-1", "node-1", "ingester loki-blue-1 on node-1"),
            ("node-1", "node-1", "ingester 192.0.2.1:9464 on node-1"),
            ("", "", "ingester 192.0.2.1:9464"),
        ] {
            assert_eq!(called(instance, node).label(), wanted);
        }
    }

    #[test]
    fn what_is_worst_and_ends_first_is_on_top() {
        let mut rows = vec![
            row("c", RowState::Ready, Some(leaf(9, "a"))),
            row("b", RowState::Ready, Some(leaf(2, "a"))),
            row("a", RowState::NoAnswer, None),
            row("d", RowState::Expired, Some(leaf(0, "a"))),
        ];
        sort(&mut rows);
        let order: Vec<&str> = rows.iter().map(|row| row.who.component.as_str()).collect();
        assert_eq!(order, ["d", "a", "b", "c"]);
        assert!(!all_well(&rows) && !all_well(&[]) && all_well(&rows[2..]));
        assert_eq!(summary(&rows)[&RowState::Ready], 2);
    }

    proptest! {
        #[test]
        fn no_row_is_lost_and_none_stands_above_a_worse_one(
            states in proptest::collection::vec((0_usize..6, 0_u64..9), 0..40)
        ) {
            let mut rows: Vec<Row> = states
                .iter()
                .map(|(state, hours)| row("a", RowState::ALL[*state], Some(leaf(*hours, "a"))))
                .collect();
            sort(&mut rows);
            prop_assert_eq!(rows.len(), states.len());
            let key = |row: &Row| (row.state, row.leaf.as_ref().unwrap().not_after);
            prop_assert!(rows.windows(2).all(|two| key(&two[0]) <= key(&two[1])));
            prop_assert_eq!(summary(&rows).values().sum::<usize>(), rows.len());
        }
    }
}
