//! `decide(&Facts, &Policy, now) -> Next`: the whole agent in one pure function.
//!
//! Never waits. What stays true: the same facts give the same decision, whatever woke the agent.
