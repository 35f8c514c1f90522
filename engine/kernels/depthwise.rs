//! Sums over the taps of a window, for each channel by itself.
#![expect(unsafe_code, reason = "kernels take raw pointers; the entries check that all of them stay inside")]

use super::{
    Finish, Offsets, Places,
    finish::Start,
    soon::{LINE, Soon},
    tiles,
};
use crate::{
    instructions::with_lanes,
    lanes::{Lanes, fetch_to_read, fetch_to_write, load, store},
};
use std::ops::Range;

/// A tap of a window: which row of the weights it has, and what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) weight: usize,
    /// Where the value lies after the position's beginning.
    pub(crate) offset: usize,
}

/// `result[position][c] = Σ_tap input[position + tap][c] · weights[tap][c]`, with a [`Finish`].
pub(crate) struct DepthwiseFilter<'a> {
    pub(crate) positions: usize,
    pub(crate) channels: usize,
    pub(crate) taps: &'a [Tap],
    pub(crate) input: &'a [f32],
    pub(crate) input_places: Places<'a>,
    /// Rows of `channels` values.
    pub(crate) weights: &'a [f32],
    pub(crate) result: &'a mut [f32],
    pub(crate) result_places: Places<'a>,
    pub(crate) finish: Finish<'a>,
}

/// Positions whose sums are in registers at a time.
const POSITIONS: usize = 8;

/// Positions that a gradient is summed over before the sums are written back: what all their channels read stays in
/// the second cache.
const POSITIONS_PER_PASS: usize = 64;

fn reach(taps: &[Tap]) -> usize {
    taps.iter().map(|tap| tap.offset).max().unwrap_or(0)
}

impl DepthwiseFilter<'_> {
    fn check(&self) {
        if let Some(weights) = self.taps.iter().map(|tap| (tap.weight + 1) * self.channels).max() {
            assert!(weights <= self.weights.len(), "the weights end outside");
            let input = self.input_places.furthest(self.positions) + reach(self.taps) + self.channels;
            assert!(input <= self.input.len(), "the input ends outside");
        }
        let result = self.result_places.furthest(self.positions) + self.channels;
        assert!(result <= self.result.len(), "the result ends outside");
        self.finish.check(self.channels);
    }
}

with_lanes! {
    /// Filters on this thread; taps are summed in order.
    fn filter_channels(job: &mut DepthwiseFilter<'_>) {
        if job.positions == 0 || job.channels == 0 {
            return;
        }
        job.check();
    } => filter_with
}

#[inline(always)]
unsafe fn filter_with<L: Lanes>(job: &mut DepthwiseFilter<'_>) {
    let furthest = reach(job.taps);
    // SAFETY: the entry checked every address; the caller has the instructions.
    tiles!(job.positions, POSITIONS, position, P => unsafe { filter_tile::<L, P>(job, position, furthest) });
}

/// All channels of `P` positions: memory is read and written nearly in the order in which it lies. `furthest` is what
/// they see last.
#[inline(always)]
unsafe fn filter_tile<L: Lanes, const P: usize>(job: &mut DepthwiseFilter<'_>, position: usize, furthest: usize) {
    // SAFETY: the entry checked that positions, taps and channels lie in their slices.
    unsafe {
        let mut input = [job.input.as_ptr(); P];
        let mut result = [job.result.as_mut_ptr(); P];
        // What the next tile reads and writes comes from memory while this one is computed.
        let mut next_input = [job.input.as_ptr(); P];
        let mut next_result = [job.result.as_ptr(); P];
        for p in 0..P {
            let next = position + P + p;
            input[p] = input[p].wrapping_add(job.input_places.of(position + p));
            result[p] = result[p].add(job.result_places.of(position + p));
            next_input[p] = next_input[p].wrapping_add(job.input_places.near(next, job.positions) + furthest);
            next_result[p] = next_result[p].wrapping_add(job.result_places.near(next, job.positions));
        }
        let mut channel = 0;
        while channel + L::COUNT <= job.channels {
            filter_register::<L, P, false>(job, input, result, channel, L::COUNT);
            next_input.iter().for_each(|next| fetch_to_read(next.wrapping_add(channel)));
            next_result.iter().for_each(|next| fetch_to_write(next.wrapping_add(channel)));
            channel += L::COUNT;
        }
        if channel < job.channels {
            filter_register::<L, P, true>(job, input, result, channel, job.channels - channel);
        }
    }
}

/// `count` channels of `P` positions.
#[inline(always)]
unsafe fn filter_register<L: Lanes, const P: usize, const PART: bool>(
    job: &DepthwiseFilter<'_>,
    input: [*const f32; P],
    result: [*mut f32; P],
    channel: usize,
    count: usize,
) {
    // SAFETY: as in `filter_tile`.
    unsafe {
        let mut sums = [L::zero(); P];
        match job.finish.start {
            Start::Zero => {}
            Start::There => {
                for p in 0..P {
                    sums[p] = load::<L, PART>(result[p].add(channel), count);
                }
            }
            Start::Row(row) => sums = [load::<L, PART>(row.as_ptr().add(channel), count); P],
        }
        let weights = job.weights.as_ptr().wrapping_add(channel);
        for tap in job.taps {
            let weight = load::<L, PART>(weights.add(tap.weight * job.channels), count);
            for p in 0..P {
                let from = input[p].wrapping_add(channel + tap.offset);
                sums[p] = load::<L, PART>(from, count).mul_add(weight, sums[p]);
            }
        }
        job.finish.bend.apply(&mut sums);
        for p in 0..P {
            store::<L, PART>(sums[p], result[p].add(channel), count);
        }
    }
}

/// `result[tap][c] += Σ_position input[position + tap][c] · gradient[position][c]`.
pub(crate) struct DepthwiseGradient<'a> {
    pub(crate) positions: usize,
    pub(crate) channels: usize,
    pub(crate) taps: &'a [Tap],
    pub(crate) input: &'a [f32],
    pub(crate) input_places: &'a Offsets,
    pub(crate) gradient: &'a [f32],
    pub(crate) gradient_places: &'a Offsets,
    /// Rows of `channels` values.
    pub(crate) result: &'a mut [f32],
}

impl DepthwiseGradient<'_> {
    fn check(&self) {
        let Some(result) = self.taps.iter().map(|tap| (tap.weight + 1) * self.channels).max() else { return };
        assert!(result <= self.result.len(), "the result ends outside");
        let input = self.input_places.furthest(self.positions) + reach(self.taps) + self.channels;
        assert!(input <= self.input.len(), "the input ends outside");
        let gradient = self.gradient_places.furthest(self.positions) + self.channels;
        assert!(gradient <= self.gradient.len(), "the gradient ends outside");
    }
}

with_lanes! {
    /// Adds the gradient of a filter's weights on this thread; positions are summed in order.
    fn gradient_of_filter(job: &mut DepthwiseGradient<'_>) {
        if job.positions == 0 || job.channels == 0 {
            return;
        }
        job.check();
    } => gradient_with
}

#[inline(always)]
unsafe fn gradient_with<L: Lanes>(job: &mut DepthwiseGradient<'_>) {
    let mut soon = Soon::take();
    for first in (0..job.positions).step_by(POSITIONS_PER_PASS) {
        let positions = first..(first + POSITIONS_PER_PASS).min(job.positions);
        let mut channel = 0;
        while channel < job.channels {
            let count = (job.channels - channel).min(L::COUNT);
            // SAFETY: the entry checked every address; the caller has the instructions.
            unsafe {
                if count == L::COUNT {
                    gradient_channels::<L, false>(job, positions.clone(), channel, count, &mut soon);
                } else {
                    gradient_channels::<L, true>(job, positions.clone(), channel, count, &mut soon);
                }
            }
            channel += count;
        }
    }
    soon.give_back();
}

/// All taps of one register of channels, as many at a time as registers hold: 3×3 at once.
#[inline(always)]
unsafe fn gradient_channels<L: Lanes, const PART: bool>(
    job: &mut DepthwiseGradient<'_>,
    positions: Range<usize>,
    channel: usize,
    count: usize,
    soon: &mut Soon,
) {
    let mut tap = 0;
    while tap < job.taps.len() {
        let positions = positions.clone();
        // SAFETY: the entry checked every address; the caller has the instructions.
        tap += unsafe {
            match job.taps.len() - tap {
                9.. => gradient_tile::<L, 9, PART>(job, positions, tap, channel, count, soon),
                7.. => gradient_tile::<L, 7, PART>(job, positions, tap, channel, count, soon),
                5.. => gradient_tile::<L, 5, PART>(job, positions, tap, channel, count, soon),
                3.. => gradient_tile::<L, 3, PART>(job, positions, tap, channel, count, soon),
                _ => gradient_tile::<L, 1, PART>(job, positions, tap, channel, count, soon),
            }
        };
    }
}

#[inline(always)]
unsafe fn gradient_tile<L: Lanes, const T: usize, const PART: bool>(
    job: &mut DepthwiseGradient<'_>,
    positions: Range<usize>,
    first: usize,
    channel: usize,
    count: usize,
    soon: &mut Soon,
) -> usize {
    // SAFETY: the entry checked that positions, taps and channels lie in their slices.
    unsafe {
        let mut offsets = [0; T];
        let mut result = [job.result.as_mut_ptr(); T];
        let mut sums = [L::zero(); T];
        for t in 0..T {
            let tap = job.taps[first + t];
            offsets[t] = tap.offset;
            result[t] = result[t].add(tap.weight * job.channels + channel);
            sums[t] = load::<L, PART>(result[t], count);
        }
        // What the next pass sees comes from memory while this one is computed.
        let is_followed = first == 0 && positions.end < job.positions;
        let furthest = if is_followed { reach(job.taps) } else { 0 };
        let input = job.input.as_ptr().add(channel);
        let gradient = job.gradient.as_ptr().add(channel);
        let mut announced = soon.next(positions.len());
        for position in positions {
            // The entry checked that both lists are long enough.
            if let Some(line) = &mut announced {
                fetch_to_read(*line);
                *line = line.wrapping_add(LINE);
            } else if is_followed {
                let ahead = (position + POSITIONS_PER_PASS).min(job.positions - 1);
                fetch_to_read(input.wrapping_add(*job.input_places.places.get_unchecked(ahead) as usize + furthest));
            }
            let place = *job.gradient_places.places.get_unchecked(position) as usize;
            let of_output = load::<L, PART>(gradient.add(place), count);
            let values = input.add(*job.input_places.places.get_unchecked(position) as usize);
            for t in 0..T {
                sums[t] = load::<L, PART>(values.add(offsets[t]), count).mul_add(of_output, sums[t]);
            }
        }
        for t in 0..T {
            store::<L, PART>(sums[t], result[t], count);
        }
    }
    T
}
