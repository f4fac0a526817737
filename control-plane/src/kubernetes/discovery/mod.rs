//! Match keys and conditions of every target, derived from routes, Services and targets. Pure.
