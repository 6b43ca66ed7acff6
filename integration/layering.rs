//! src/model touches nothing outside; module headers and file sizes hold.
