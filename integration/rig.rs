//! Starts what the tests need: the built binary, OpenBao, the embedded PKI; ends it by id.
