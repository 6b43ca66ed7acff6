//! Help, exit codes, errors, streams and colours of the built binary.
