//! TensorBoard's event files: TFRecords of protocol buffers, as TensorBoard's own reader takes them.

mod graph;
mod message;
mod record;
mod summary;

pub use graph::graph;
pub use record::{prefix_of, record, record_count};
pub use summary::{Hyperparameter, Summary};

use message::Message;

/// One record of an event file.
pub struct Event(Message);

impl Event {
    /// The first event of every file. `time` is in seconds since 1970.
    pub fn version(time: f64) -> Self {
        Self(Message::new().double(1, time).text(3, "brain.Event:2"))
    }

    /// What was measured or seen at `step`.
    pub fn summary(time: f64, step: u64, summary: Summary) -> Self {
        Self(Message::new().double(1, time).number(2, step).message(5, summary.into_message()))
    }

    /// A network, from [`graph`].
    pub fn graph(time: f64, graph: Vec<u8>) -> Self {
        Self(Message::new().double(1, time).bytes(4, &graph))
    }

    /// The event as a record of a file.
    pub fn to_record(&self) -> Vec<u8> {
        record(self.0.as_bytes())
    }
}
