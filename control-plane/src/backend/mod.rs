//! The backends without a cluster: `local` runs processes, `manual` leaves everything to a person.

pub mod local;
