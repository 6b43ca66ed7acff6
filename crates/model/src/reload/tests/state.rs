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
