//! `certagent run` against the embedded PKI: start, renew, repair, restart, stop.
