//! `certagent exec`: certificates first, then a command as its child, as PID 1 too.
