//! An in-memory CA: roots, intermediates and leaves of any shape, also wrong ones.
