//! The built binary and the auth methods against a real OpenBao.
