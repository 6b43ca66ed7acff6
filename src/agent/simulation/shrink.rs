//! The smallest part of a schedule that fails still.
//!
//! Never adds anything. What stays true: what it returns breaks a rule.

use std::time::Duration;

use super::{driver::run, schedule::Schedule};
use crate::testing::planted::Planted;

/// Leaves out what is not needed, then shortens what is.
pub(super) fn shrink(mut schedule: Schedule, planted: Option<Planted>) -> Schedule {
    let fails = |schedule: &Schedule| run(schedule, planted, false).broken.is_some();
    let mut index = 0;
    while index < schedule.events.len() {
        let mut fewer = schedule.clone();
        fewer.events.remove(index);
        if fails(&fewer) {
            (schedule, index) = (fewer, 0);
        } else {
            index += 1;
        }
    }
    for index in 0..schedule.switches.len() {
        let mut plainer = schedule.clone();
        plainer.switches[index] = false;
        if fails(&plainer) {
            schedule = plainer;
        }
    }
    for index in 0..schedule.events.len() {
        loop {
            let mut shorter = schedule.clone();
            let lasts = &mut shorter.events[index].lasts;
            *lasts = Duration::from_secs(lasts.as_secs() / 2);
            if lasts.is_zero() || !fails(&shorter) {
                break;
            }
            schedule = shorter;
        }
    }
    schedule
}
