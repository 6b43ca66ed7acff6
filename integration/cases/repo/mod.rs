//! The repository itself: layers of the source, shipped settings, how programs are found.

mod commands;
mod configs;
mod links;
mod programs;
mod rooms;
mod runbooks;
mod security;
mod words;
