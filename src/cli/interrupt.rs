//! Ctrl-C and SIGTERM: the first asks a training to save and stop, the second ends it at once.

use super::failure::{Failure, Kind};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Whether the user or the system asked to stop.
pub(super) struct Interrupt {
    /// The signal that came; 0 before.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Begins to listen.
    pub(super) fn listen() -> Result<Self, Failure> {
        let (signal, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let failed = |error: std::io::Error| Failure::new(Kind::Failed, format!("cannot listen to signals: {error}"));
        for (number, kind) in [(SIGINT, Kind::Interrupted), (SIGTERM, Kind::Terminated)] {
            // In this order: the first signal finds `asked` false and sets it.
            flag::register_conditional_shutdown(number, kind as i32, Arc::clone(&asked)).map_err(failed)?;
            flag::register(number, Arc::clone(&asked)).map_err(failed)?;
            flag::register_usize(number, Arc::clone(&signal), number as usize).map_err(failed)?;
        }
        Ok(Self { signal })
    }

    /// Whether a signal came.
    pub(super) fn asked(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// The exit code that says which it was.
    pub(super) fn kind(&self) -> Kind {
        if self.signal.load(Ordering::Relaxed) == SIGTERM as usize { Kind::Terminated } else { Kind::Interrupted }
    }
}
