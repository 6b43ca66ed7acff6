//! What the built binary must do, one module a subject.

mod agent;
mod applications;
mod cli;
mod conformance;
mod dev;
mod doctor;
mod exec;
mod fleet;
mod hierarchies;
mod hostile;
mod leaked;
mod listener;
mod machine;
mod observe;
mod openbao;
mod origin;
mod probe;
mod publish;
mod readme;
mod reload;
mod repo;
mod returns;
mod secrets;
mod served;
mod systemd;
mod trust;
