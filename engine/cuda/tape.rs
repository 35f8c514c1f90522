//! Launches of kernels in order, and the memory that they share.

use super::geometry::THREADS;

/// Memory is cut at multiples of this many bytes.
pub(crate) const ALIGNMENT: usize = 256;

/// Where something lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// So many bytes into the memory that keeps its values from tape to tape.
    Fixed(usize),
    /// In a buffer of this tape.
    Passing(usize),
    /// The beginning of a memory that is named when the tape is recorded.
    Given,
}

impl Place {
    /// The place `values` f32 after a fixed one.
    pub(crate) fn plus(self, values: usize) -> Self {
        match self {
            Self::Fixed(offset) => Self::Fixed(offset + values * size_of::<f32>()),
            Self::Passing(_) | Self::Given => unreachable!("only fixed memory is cut by hand"),
        }
    }
}

/// What a kernel is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    /// A pointer; `None` is null.
    Pointer(Option<Place>),
    Int(i32),
    Float(f32),
    /// A struct of 32-bit words.
    Words(Vec<i32>),
}

impl From<Place> for Argument {
    fn from(place: Place) -> Self {
        Self::Pointer(Some(place))
    }
}

impl From<Option<Place>> for Argument {
    fn from(place: Option<Place>) -> Self {
        Self::Pointer(place)
    }
}

impl From<usize> for Argument {
    fn from(value: usize) -> Self {
        Self::Int(i32::try_from(value).unwrap_or(i32::MAX))
    }
}

impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<Vec<i32>> for Argument {
    fn from(words: Vec<i32>) -> Self {
        Self::Words(words)
    }
}

/// One launch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Launch {
    pub(crate) kernel: String,
    pub(crate) grid: [usize; 3],
    pub(crate) threads: usize,
    pub(crate) arguments: Vec<Argument>,
}

/// The arguments of a kernel, in order.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { vec![$($crate::cuda::tape::Argument::from($argument)),*] };
}
pub(crate) use arguments;

/// Launches that are being written down.
#[derive(Default)]
pub(crate) struct Writer {
    launches: Vec<Launch>,
    /// Bytes of each buffer.
    buffers: Vec<usize>,
    /// Those that the host reads or writes.
    held: Vec<usize>,
}

impl Writer {
    /// A new buffer of this tape, whose values are not known.
    pub(crate) fn buffer(&mut self, values: usize) -> Place {
        self.buffers.push(values.max(1) * size_of::<f32>());
        Place::Passing(self.buffers.len() - 1)
    }

    /// A buffer that the host writes before the tape is played, or reads afterwards: it shares its memory with no other.
    pub(crate) fn held(&mut self, values: usize) -> Place {
        self.held.push(self.buffers.len());
        self.buffer(values)
    }

    /// A launch with a thread for each of `count` things.
    pub(crate) fn for_each(&mut self, kernel: impl Into<String>, count: usize, arguments: Vec<Argument>) {
        self.launch(kernel, [count.div_ceil(THREADS), 1, 1], THREADS, arguments);
    }

    /// A launch.
    pub(crate) fn launch(
        &mut self,
        kernel: impl Into<String>,
        grid: [usize; 3],
        threads: usize,
        arguments: Vec<Argument>,
    ) {
        self.launches.push(Launch { kernel: kernel.into(), grid, threads, arguments });
    }

    /// Gives each buffer its place: those that are never needed at the same time share memory.
    pub(crate) fn finish(self) -> Tape {
        let (offsets, bytes) = pack(&self.buffers, &self.lifetimes());
        Tape { launches: self.launches, offsets, bytes }
    }

    /// The numbers of the first and the last launch that need each buffer.
    fn lifetimes(&self) -> Vec<Option<[usize; 2]>> {
        let mut lifetimes: Vec<Option<[usize; 2]>> = vec![None; self.buffers.len()];
        for (number, launch) in self.launches.iter().enumerate() {
            for argument in &launch.arguments {
                if let Argument::Pointer(Some(Place::Passing(buffer))) = argument {
                    lifetimes[*buffer].get_or_insert([number; 2])[1] = number;
                }
            }
        }
        for buffer in &self.held {
            lifetimes[*buffer] = Some([0, self.launches.len()]);
        }
        lifetimes
    }
}

/// Largest first, each at the first place that is free all its lifetime. The places, and the bytes of all.
fn pack(sizes: &[usize], lifetimes: &[Option<[usize; 2]>]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|buffer| lifetimes[*buffer].is_some()).collect();
    order.sort_by_key(|buffer| (std::cmp::Reverse(sizes[*buffer]), *buffer));
    let mut offsets = vec![0; sizes.len()];
    // First byte, end, first launch, last launch; by first byte.
    let mut taken: Vec<[usize; 4]> = Vec::new();
    for buffer in order {
        let [first, last] = lifetimes[buffer].expect("filtered");
        let size = sizes[buffer].next_multiple_of(ALIGNMENT);
        let mut offset = 0;
        for [begin, end, other_first, other_last] in &taken {
            let meets = first <= *other_last && *other_first <= last;
            if meets && offset + size > *begin && offset < *end {
                offset = *end;
            }
        }
        offsets[buffer] = offset;
        let at = taken.partition_point(|other| other[0] <= offset);
        taken.insert(at, [offset, offset + size, first, last]);
    }
    (offsets, taken.iter().map(|[_, end, ..]| *end).max().unwrap_or(0))
}

/// Launches in order, over memory whose size is known.
pub struct Tape {
    pub(crate) launches: Vec<Launch>,
    /// Of each buffer.
    offsets: Vec<usize>,
    /// Of the memory that all buffers share.
    pub(crate) bytes: usize,
}

impl Tape {
    /// How many bytes into the memory of all buffers one of them lies.
    pub(crate) fn offset(&self, place: Place) -> usize {
        match place {
            Place::Passing(buffer) => self.offsets[buffer],
            Place::Fixed(_) | Place::Given => unreachable!("other memory is not a tape's"),
        }
    }

    /// The address of a place, for the addresses where the memories begin.
    pub(crate) fn address(&self, place: Option<Place>, starts: Starts) -> u64 {
        match place {
            None => 0,
            Some(Place::Fixed(offset)) => starts.fixed + offset as u64,
            Some(Place::Passing(buffer)) => starts.passing + self.offsets[buffer] as u64,
            Some(Place::Given) => starts.given,
        }
    }
}

/// The addresses where the memories begin that a tape works over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starts {
    pub(crate) fixed: u64,
    pub(crate) passing: u64,
    pub(crate) given: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_live_together_lie_apart() {
        let mut writer = Writer::default();
        let buffers: Vec<Place> = [100, 300, 50, 300, 1].map(|values| writer.buffer(values)).to_vec();
        for pair in buffers.windows(2) {
            writer.launch("k", [1; 3], 1, arguments![pair[0], pair[1]]);
        }
        let lifetimes = writer.lifetimes();
        let sizes = writer.buffers.clone();
        let tape = writer.finish();
        for one in 0..buffers.len() {
            for other in 0..one {
                let [a, b] = [one, other].map(|buffer| lifetimes[buffer].unwrap());
                let [p, q] = [one, other].map(|buffer| tape.offsets[buffer]..tape.offsets[buffer] + sizes[buffer]);
                let meet = a[0] <= b[1] && b[0] <= a[1];
                assert!(!meet || p.end <= q.start || q.end <= p.start, "{one} and {other} share memory");
            }
        }
        // Two of 300 are needed at the same time as one of 50, and no more.
        assert!(tape.bytes <= 4 * 300 * 2 + 4 * 50 + 3 * ALIGNMENT, "{}", tape.bytes);
    }
}
