//! An issuer with latency, faults, any answer, and a call log.
