//! The same requests to the embedded PKI and to a real OpenBao; differences fail.
