//! The loop under a paused clock with a fake issuer.

mod alarm;
mod basics;
mod budget;
mod clocks;
mod disk;
mod outages;
mod returns;
mod rig;
mod tell;
mod turns;
