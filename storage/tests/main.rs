//! What every storage promises, on every kind of database, under faults, and with Optuna on the same database.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it was skipped"
)]

mod conformance;
mod cost;
mod databases;
mod faults;
mod optuna;
