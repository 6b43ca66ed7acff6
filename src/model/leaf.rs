//! Facts of one certificate: names, serial, validity, key, usages; read from DER.
//!
//! Never judges them. What stays true: facts are computed from the bytes alone, once.
