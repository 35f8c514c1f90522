//! Cutting a batch into parts that several threads work on.
//!
//! Where parts are summed, they are chunks that do not depend on the number of threads.

use rayon::prelude::*;
use std::{
    cell::{Cell, RefCell},
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Chunks in a batch, whatever the number of threads: enough to balance a few threads, few enough
/// that partial sums stay small.
const CHUNKS: usize = 8;

/// Fewer values are worked on by one thread: waking another takes about as long.
const SMALL: usize = 16 * 1024;

/// Images in each chunk but the last.
pub(crate) fn images_per_chunk(images: usize) -> usize {
    images.div_ceil(CHUNKS).max(1)
}

/// The chunks of a batch.
pub(crate) fn ranges(images: usize) -> Vec<Range<usize>> {
    let chunk = images_per_chunk(images);
    (0..images).step_by(chunk).map(|first| first..(first + chunk).min(images)).collect()
}

thread_local! {
    /// Whether this thread works alone at the moment.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Threads that may share what there is to do.
pub(crate) fn threads() -> usize {
    if ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// Runs `work`, which is too short to wake other threads for any part of it.
pub(crate) fn alone<R>(work: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    work()
}

/// Runs `work` on all of `tasks`, on several threads if there are `values` enough to pay for it.
pub(crate) fn run<T: Send>(tasks: Vec<T>, values: usize, work: impl Fn(T) + Sync + Send) {
    if values < SMALL || threads() == 1 {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(work);
    }
}

/// Runs `work` on every chunk of `output`, where each image has `length` values: the chunk's first
/// image and its part of the output. Nothing is run for an output without room: nobody needs it.
pub(crate) fn for_each(
    images: usize,
    output: &mut [f32],
    length: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    for_each_part(images, images_per_chunk(images), output, length, work);
}

/// As [`for_each`], with one part for each thread: for work that reads much that all images share.
pub(crate) fn for_each_share(
    images: usize,
    output: &mut [f32],
    length: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    for_each_part(images, images.div_ceil(threads()).max(1), output, length, work);
}

fn for_each_part(
    images: usize,
    part: usize,
    output: &mut [f32],
    length: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    if length == 0 || output.is_empty() {
        return;
    }
    let output = &mut output[..images * length];
    let tasks = output.chunks_mut(part * length).enumerate().collect();
    run(tasks, images * length, |(index, output)| work(index * part, output));
}

/// Runs `work` on every chunk of images, each with a zeroed sum of `length` values, and gives in
/// `total` all sums together.
pub(crate) fn sum_into(
    images: usize,
    partials: &mut Vec<f32>,
    total: &mut [f32],
    work: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) {
    let tasks = ranges(images).into_iter().zip(zeroed(partials, ranges(images).len(), total.len())).collect();
    run(tasks, usize::MAX, |(images, partial)| work(images, partial));
    self::total(partials, total);
}

/// `count` sums of `length` zeros.
pub(crate) fn zeroed(partials: &mut Vec<f32>, count: usize, length: usize) -> std::slice::ChunksMut<'_, f32> {
    partials.clear();
    partials.resize(count * length, 0.0);
    partials.chunks_mut(length.max(1))
}

/// The sum of what chunks gave, in their order.
pub(crate) fn total(partials: &[f32], total: &mut [f32]) {
    let Some((first, others)) = partials.split_at_checked(total.len()) else { return };
    total.copy_from_slice(first);
    for partial in others.chunks_exact(total.len().max(1)) {
        for (total, part) in total.iter_mut().zip(partial) {
            *total += part;
        }
    }
}

/// While it lives the other threads of this pool look for work without falling asleep: waking one takes as long as
/// many an operation on a single image.
pub(crate) struct Alert(Arc<AtomicBool>);

impl Alert {
    /// Wakes the other threads. `None` outside of a pool, and where there are more threads than processors: there
    /// one that looks for work would be in the way of one that has some.
    pub(crate) fn raise() -> Option<Self> {
        static PROCESSORS: LazyLock<usize> =
            LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
        let own = rayon::current_thread_index().filter(|_| rayon::current_num_threads() <= *PROCESSORS)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let alert = Self(Arc::clone(&is_over));
        rayon::spawn_broadcast(move |context| {
            while context.index() != own && !is_over.load(Ordering::Relaxed) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    // Somebody else may need this processor.
                    std::thread::yield_now();
                }
            }
        });
        Some(alert)
    }
}

impl Drop for Alert {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    /// Rooms that nobody uses at the moment.
    static ROOMS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with room for `length` values, which holds anything. Each thread keeps its rooms, so
/// that a step allocates nothing.
pub(crate) fn with_room<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut room = ROOMS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if room.len() < length {
        room.resize(length, 0.0);
    }
    let result = work(&mut room[..length]);
    ROOMS.with_borrow_mut(|rooms| rooms.push(room));
    result
}
