//! The rules of the confirm by themselves, and a gate that goes by them.

mod asking;
mod rules;
