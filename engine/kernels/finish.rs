//! What a sum begins with, and what becomes of it while it is in registers.
#![expect(unsafe_code, reason = "instructions of one processor")]

use crate::lanes::Lanes;
use nasgen_modules::Activation;

/// What the sums of a row begin with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    Zero,
    /// What is there already.
    There,
    /// The same for every row: a value for each column.
    Row(&'a [f32]),
}

/// How a kernel gives its sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish<'a> {
    pub(crate) start: Start<'a>,
    pub(crate) bend: Bend,
}

impl<'a> Finish<'a> {
    /// The sums as they are.
    pub(crate) const STORE: Self = Self { start: Start::Zero, bend: Bend::Straight };

    /// Added to what is there if `add`.
    pub(crate) fn added(add: bool) -> Self {
        Self { start: if add { Start::There } else { Start::Zero }, bend: Bend::Straight }
    }

    /// On top of `bias`, unless it is empty.
    pub(crate) fn on(bias: &'a [f32], bend: Bend) -> Self {
        Self { start: if bias.is_empty() { Start::Zero } else { Start::Row(bias) }, bend }
    }

    /// For the columns from `first` on.
    pub(crate) fn at_column(self, first: usize) -> Self {
        match self.start {
            Start::Row(row) => Self { start: Start::Row(&row[first..]), ..self },
            Start::Zero | Start::There => self,
        }
    }

    /// For pixels of which each is several with `columns` columns, as many as fit into `room`.
    pub(crate) fn repeated<'r>(self, room: &'r mut [f32], columns: usize) -> Finish<'r>
    where
        'a: 'r,
    {
        match self.start {
            Start::Row(row) => {
                room.chunks_exact_mut(columns).for_each(|pixel| pixel.copy_from_slice(&row[..columns]));
                Finish { start: Start::Row(room), bend: self.bend }
            }
            Start::Zero | Start::There => self,
        }
    }

    /// For one part of a sum that is computed in several: only the first begins as the whole does, and only the last
    /// bends.
    pub(crate) fn of_part(self, is_first: bool, is_last: bool) -> Self {
        Self {
            start: if is_first { self.start } else { Start::There },
            bend: if is_last { self.bend } else { Bend::Straight },
        }
    }

    /// Panics where a row to begin with has fewer values than there are columns.
    pub(super) fn check(&self, columns: usize) {
        if let Start::Row(row) = self.start {
            assert!(columns <= row.len(), "the row to begin with ends too early");
        }
    }
}

/// What a [`Bend`] computes, as a type.
pub(super) trait Curve {
    /// # Safety
    /// As [`Lanes`].
    unsafe fn of<L: Lanes>(x: L) -> L;
}

/// Sums in registers.
pub(super) trait Sums {
    /// # Safety
    /// As [`Lanes`].
    unsafe fn bend<C: Curve>(&mut self);
}

impl<L: Lanes> Sums for L {
    #[inline(always)]
    unsafe fn bend<C: Curve>(&mut self) {
        // SAFETY: the caller's promise.
        *self = unsafe { C::of(*self) };
    }
}

macro_rules! bends {
    ($($name:ident: |$x:ident| $value:expr;)*) => {
        /// An activation that kernels apply before they store a sum.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Bend {
            Straight,
            $($name,)*
        }

        impl Bend {
            /// `None` for an activation that costs so much that a pass of its own adds little.
            pub(crate) fn of(activation: Option<Activation>) -> Option<Self> {
                match activation {
                    None => Some(Self::Straight),
                    $(Some(Activation::$name) => Some(Self::$name),)*
                    Some(_) => None,
                }
            }

            /// Bends all of `sums`. The choice stands outside of the loop, so that these stay in registers.
            ///
            /// # Safety
            /// As [`Lanes`].
            #[inline(always)]
            pub(super) unsafe fn apply<S: Sums, const N: usize>(self, sums: &mut [S; N]) {
                match self {
                    Self::Straight => {}
                    $(Self::$name => {
                        for n in 0..N {
                            // SAFETY: the caller's promise.
                            unsafe { sums[n].bend::<curves::$name>() };
                        }
                    })*
                }
            }
        }

        mod curves {
            use super::{Curve, Lanes, sixth_and_half};
            $(
                pub(super) struct $name;

                impl Curve for $name {
                    #[inline(always)]
                    unsafe fn of<L: Lanes>($x: L) -> L {
                        // SAFETY: the caller has the instructions.
                        unsafe { $value }
                    }
                }
            )*
        }
    };
}

// `max` and `min` give their second operand where one is no number, so that it stays visible.
bends! {
    ReLU: |x| L::zero().max(x);
    ReLU6: |x| L::splat(6.0).min(L::zero().max(x));
    Hardswish: |x| x.mul_add(sixth_and_half(x), L::zero());
    Hardsigmoid: |x| sixth_and_half(x);
    LeakyReLU: |x| x.mul_add(L::splat(0.01), L::zero()).max(x);
}

/// `x / 6 + 1 / 2`, but at least 0 and at most 1.
#[inline(always)]
unsafe fn sixth_and_half<L: Lanes>(x: L) -> L {
    // SAFETY: the caller has the instructions.
    unsafe { L::splat(1.0).min(L::zero().max(x.mul_add(L::splat(1.0 / 6.0), L::splat(0.5)))) }
}
