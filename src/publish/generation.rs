//! Writing and switching generations: the numbered algorithm of the design page.
//!
//! Never touches anything outside the certificate directory.
