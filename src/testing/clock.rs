//! A clock that follows tokio's pausable time, and can be stepped.
