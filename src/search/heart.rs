//! Signs of life for the trials of this process.

use nasgen_storage::{Error, Lease, Storage};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The leases that this process holds, and whether each was lost.
#[derive(Default)]
pub struct Heart {
    held: Mutex<BTreeMap<i64, (Lease, Arc<AtomicBool>)>>,
    ended: Mutex<bool>,
    end: Condvar,
}

/// A lease that signs of life are given for as long as this lives.
pub(super) struct Held<'a> {
    heart: &'a Heart,
    pub(super) lease: Lease,
    lost: Arc<AtomicBool>,
}

impl Heart {
    pub(super) fn hold(&self, lease: Lease) -> Held<'_> {
        let lost = Arc::new(AtomicBool::new(false));
        self.leases().insert(lease.trial, (lease.clone(), Arc::clone(&lost)));
        Held { heart: self, lease, lost }
    }

    /// Whether this process holds a trial of this number.
    pub(super) fn holds(&self, number: u64) -> bool {
        self.leases().values().any(|(lease, _)| lease.number == number)
    }

    /// Gives signs of life, `every` so often, until [`Self::end`]. A storage that cannot be reached for a while
    /// is tried again: the lease may last longer than its trouble.
    pub fn beat(&self, storage: &mut dyn Storage, every: Duration) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            (ended, _) = self.end.wait_timeout(ended, every).unwrap_or_else(PoisonError::into_inner);
            if *ended {
                return;
            }
            let leases: Vec<_> = self.leases().values().cloned().collect();
            for (lease, lost) in leases {
                if let Err(Error::LeaseLost { .. }) = storage.heartbeat(&lease) {
                    lost.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lets [`Self::beat`] return.
    pub fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.notify_all();
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<i64, (Lease, Arc<AtomicBool>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    /// Whether another worker has the trial now.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.heart.leases().remove(&self.lease.trial);
    }
}
