//! What can go wrong with a storage.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another worker has the trial now.
    #[error("trial {number} was taken over by another worker: this one was silent for too long")]
    LeaseLost {
        /// The trial.
        number: u64,
    },
}
