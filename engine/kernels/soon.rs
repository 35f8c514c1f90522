//! What a thread reads after what it computes now: kernels ask for it while they compute.
//!
//! A pass over values that come from memory, such as a norm's, waits for each of them; a product of the same values
//! hardly touches memory. So whoever runs passes between kernels announces what they read, and the kernels fetch it.

use std::cell::Cell;

/// Values of a line of memory.
pub(super) const LINE: usize = 16;

/// Memory that is read soon; only asked for, never read from here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soon {
    parts: [Part; 2],
}

/// From the first value that was not asked for yet.
#[derive(Clone, Copy, Debug)]
struct Part {
    at: *const f32,
    values: usize,
}

impl Part {
    const NONE: Self = Self { at: std::ptr::null(), values: 0 };
}

thread_local! {
    static ANNOUNCED: Cell<Soon> = const { Cell::new(Soon { parts: [Part::NONE; 2] }) };
}

/// Says what this thread reads after the kernels that it runs next, in place of what it said before.
pub(crate) fn announce(parts: [&[f32]; 2]) {
    ANNOUNCED.set(Soon { parts: parts.map(|part| Part { at: part.as_ptr(), values: part.len() }) });
}

impl Soon {
    /// What was announced and not asked for yet; [`Self::give_back`] must follow.
    pub(super) fn take() -> Self {
        ANNOUNCED.get()
    }

    /// Leaves the rest to the kernel that comes next.
    pub(super) fn give_back(self) {
        ANNOUNCED.set(self);
    }

    /// The beginning of `lines` lines to ask for, if so many are left of the first part that has some.
    #[inline(always)]
    pub(super) fn next(&mut self, lines: usize) -> Option<*const f32> {
        if self.parts[0].values < lines * LINE {
            if self.parts[1].values < lines * LINE {
                return None;
            }
            self.parts = [self.parts[1], Part::NONE];
        }
        let part = &mut self.parts[0];
        let at = part.at;
        part.at = at.wrapping_add(lines * LINE);
        part.values -= lines * LINE;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_given_out_in_order_until_none_are_left() {
        let [one, two] = [vec![0.0; 5 * LINE + 3], vec![0.0; 2 * LINE]];
        announce([&one, &two]);
        let mut soon = Soon::take();
        assert_eq!(soon.next(2), Some(one.as_ptr()));
        soon.give_back();
        let mut soon = Soon::take();
        assert_eq!(soon.next(3), Some(one[2 * LINE..].as_ptr()), "the next kernel goes on where the last one stopped");
        assert_eq!(soon.next(1), Some(two.as_ptr()));
        assert_eq!(soon.next(2), None);
        assert_eq!(soon.next(1), Some(two[LINE..].as_ptr()));
        assert_eq!(soon.next(1), None);
    }
}
