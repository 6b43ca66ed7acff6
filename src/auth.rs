//! A token, however it is had: JWT, file, environment, AppRole, TLS certificate, Kubernetes.
//!
//! Never caches a credential file: each login reads it anew.
