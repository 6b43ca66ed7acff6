//! The repository itself: layers of the source, shipped settings, how programs are found.

mod configs;
mod links;
mod programs;
mod rooms;
mod security;
mod words;
