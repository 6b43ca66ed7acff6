//! Which anchors CA.pem holds: the union of chain, mount, pinned extras and recently trusted ones.
//!
//! Never fetches. What stays true: an anchor stays for the overlap after it was last vouched for.
