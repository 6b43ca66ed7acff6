//! No key and no token in any output, at the most verbose level.
