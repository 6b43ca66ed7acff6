//! How much is logged: an outage leaves a dozen lines at most, however many attempts it takes.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry,
};

use super::rig::{DAY, Rig, secs};
use crate::{clock::Clock as _, model::failure::FailureClass, testing::issuer::Outage};

/// What is written at the usual level.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Written {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::INFO {
            let mut message = Message(format!("{} ", event.metadata().level()));
            event.record(&mut message);
            self.0.lock().unwrap().push(message.0);
        }
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.push_str(&format!("{value:?}"));
        }
    }
}

const OUTAGE: Duration = secs(600);

/// The lines from the beginning of an outage of ten minutes to the renewal, and the attempts.
async fn lines_of(class: FailureClass, ttl: Duration) -> (Vec<String>, usize) {
    let written = Written::default();
    let _here = crate::testing::log::record(registry().with(written.clone()));
    let mut rig = Rig::of_ttl(ttl);
    rig.start();
    let due = rig.until_live().await.due.unwrap();
    let from = due.minus(secs(1));
    rig.issuer.add_outage(Outage {
        from,
        until: from.plus(OUTAGE),
        class,
        retry_after: None,
    });
    tokio::time::sleep(rig.clock.now().until(from)).await;
    let (lines, calls) = (written.0.lock().unwrap().len(), rig.issuer.count());
    rig.until(secs(7_200), |status| status.counts.published == 2)
        .await;
    let said = written.0.lock().unwrap().split_off(lines);
    let attempts = rig.issuer.count() - calls;
    rig.stop().await;
    (said, attempts)
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_vault_leave_a_dozen_lines_at_most() {
    for ttl in [secs(60), secs(3_600), 10 * DAY] {
        for class in [
            FailureClass::Transport,
            FailureClass::Throttled,
            FailureClass::Unavailable,
            FailureClass::Denied,
            FailureClass::Misconfigured,
            FailureClass::BadAnswer,
        ] {
            let (lines, attempts) = lines_of(class, ttl).await;
            let shown = format!(
                "{class}, {ttl:?}, {attempts} attempts:\n{}",
                lines.join("\n")
            );
            assert!(attempts > 1, "{shown}");
            assert!(lines.len() <= 12, "{} lines, {shown}", lines.len());
            assert!(
                lines.len() > 1 && lines[0].contains("renewal failed: "),
                "{shown}"
            );
            let last = lines.last().unwrap();
            assert!(last.contains("published a certificate"), "{shown}");
            assert!(last.contains(" had failed since "), "{shown}");
            if ttl == secs(60) && class == FailureClass::Transport {
                assert!(attempts > 20, "{shown}");
                assert!(
                    lines.iter().any(|line| line.contains("(repeated ")),
                    "{shown}"
                );
                let expired = |line: &&String| line.contains("CERTIFICATE EXPIRED");
                let first = lines.iter().find(expired).unwrap();
                assert!(first.starts_with("ERROR "), "{shown}");
            }
        }
    }
}
