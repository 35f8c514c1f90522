//! What runs tapes.

use super::tape::Tape;

/// A device that failed, has no room, or is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(pub String);

/// Memory and launches. One device belongs to one engine: what it is asked to do happens in order.
pub trait Device: Send {
    /// A piece of the device's memory.
    type Memory: Send;
    /// A tape whose places are addresses, ready to be played.
    type Recording: Send;

    /// `bytes` zeros, aligned to 256 bytes at least.
    ///
    /// # Errors
    /// When there is no room.
    fn allocate(&mut self, bytes: usize) -> Result<Self::Memory, DeviceError>;

    /// Bytes that are free; `None` where it does not say.
    fn free(&self) -> Option<u64>;

    /// Copies `bytes` to the place `offset` bytes into `memory`.
    ///
    /// # Errors
    /// When the device fails.
    fn write(&mut self, memory: &mut Self::Memory, offset: usize, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Fills `bytes` from the place `offset` bytes into `memory`, when all that was asked for before is done.
    ///
    /// # Errors
    /// When the device fails, also in what was asked for before.
    fn read(&mut self, memory: &Self::Memory, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Makes a tape ready to be played over `fixed` and `passing` memory, and over `given` if it asks for one.
    ///
    /// # Errors
    /// When the device fails.
    fn record(
        &mut self,
        tape: &Tape,
        fixed: &Self::Memory,
        passing: &Self::Memory,
        given: Option<&Self::Memory>,
    ) -> Result<Self::Recording, DeviceError>;

    /// Runs what was recorded.
    ///
    /// # Errors
    /// When the device fails.
    fn play(&mut self, recording: &Self::Recording) -> Result<(), DeviceError>;
}
