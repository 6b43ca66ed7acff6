//! What attempts and probes change in the record, and what is shown of it.

use super::*;

#[test]
fn the_state_of_a_reload_is_what_came_of_the_last_attempt() {
    let signalled = policy(vec![Action::None, hup()]);
    let mut record = published(EventKind::Leaf);
    let no_action = policy(vec![Action::None]);
    assert_eq!(record.reload_state(&no_action), ReloadState::NotNeeded);
    assert_eq!(record.reload_state(&signalled), ReloadState::Pending);
    record.begin(0, START);
    record.answered(Ok(Delivery::Delivered), &signalled, START);
    assert_eq!(
        record.reload_state(&signalled),
        ReloadState::Pending,
        "the first action does not touch the application"
    );
    record.begin(1, START);
    assert_eq!(record.reload_state(&signalled), ReloadState::Pending);
    record.answered(Err(failure(false, false)), &signalled, START);
    assert_eq!(record.reload_state(&signalled), ReloadState::Failed);
    record.alerted(START);
    assert_eq!(record.reload_state(&signalled), ReloadState::Failed);
    record.begin(1, later(60));
    record.answered(Ok(Delivery::Delivered), &signalled, later(60));
    assert_eq!(record.reload_state(&signalled), ReloadState::Successful);
}

#[test]
fn a_probe_from_before_the_publication_proves_nothing() {
    let policy = policy(vec![hup()]);
    let mut record = published(EventKind::Leaf);
    let old = serves("02", START.minus(MINUTE));
    assert_eq!(record.saw(&old, &policy, START), ProbeVerdict::Unchanged);
    assert_eq!(next(&record, &policy, Some(&old), START), ReloadNext::Probe);
}

#[test]
fn anchors_that_change_while_the_application_starts_are_reloaded() {
    let policy = policy(vec![restart()]);
    let mut old = published(EventKind::Leaf);
    old.about.start = Start::AtFirst;
    let about = |event| Publication {
        event,
        ..published(event).about
    };
    // A new leaf proves that the newest files were read, and the anchors are those of the first.
    let leaf = ReloadRecord::new(about(EventKind::Leaf), Some(&old), later(5));
    assert_eq!(leaf.about.start, Start::AtFirst);
    // The same leaf with other anchors is served by who has read the first files too.
    let mut trust = ReloadRecord::new(about(EventKind::Trust), Some(&old), later(5));
    assert_eq!(trust.about.start, Start::AtFirstOrNow);
    let down = finding(Finding::Down, later(6));
    assert!(matches!(
        next(&trust, &policy, Some(&down), later(6)),
        ReloadNext::WaitUntil(_, Why::NotStarted)
    ));
    let seen = serves("02", later(20));
    assert_eq!(
        trust.saw(&seen, &policy, later(20)),
        ProbeVerdict::Unchanged
    );
    assert_eq!(
        next(&trust, &policy, Some(&seen), later(20)),
        ReloadNext::Act(0)
    );
    // A leaf that follows does not make it forget that.
    let again = ReloadRecord::new(about(EventKind::Leaf), Some(&trust), later(30));
    assert_eq!(again.about.start, Start::AtFirstOrNow);
}
