//! What an issuer answered, taken apart: leaf, intermediates, anchors, key; and how it is rendered.
//!
//! Never checks trust. What stays true: intermediates are in verify order, anchors apart from them.
