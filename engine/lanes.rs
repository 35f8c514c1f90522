//! Vectors of f32 for each instruction set, behind one trait, so that a kernel is written once.
#![expect(unsafe_code, reason = "instructions of one processor, and pointers; each method states its contract")]

/// Values of the widest register there is.
pub(crate) const WIDEST: usize = 16;

/// A register of f32 values. A kernel that is generic over it is compiled for one instruction set
/// by calling it from a function that enables these instructions (see [`crate::instructions`]).
///
/// # Safety
/// Every method needs a processor that has the instructions. Pointers must be valid for `COUNT`
/// values, or for `count` where that is given; they need no alignment.
pub(crate) trait Lanes: Copy {
    /// Values in a register.
    const COUNT: usize;
    /// Rows of accumulators that a kernel may keep in registers beside three columns of them.
    const ROWS: usize;
    /// Registers of the same instructions that are half as wide, where there are any: they take half the time for
    /// columns that fit.
    type Half: Lanes;

    unsafe fn zero() -> Self;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` values; the others are 0.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// The larger of both; `other` where one is no number.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller of both; `other` where one is no number.
    unsafe fn min(self, other: Self) -> Self;
    /// `self · factor + sum`.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
}

/// Asks for the part of memory at an address that is read soon, so that it comes while other things are computed. Any
/// address will do: what may not be read is not fetched.
#[inline(always)]
pub(crate) fn fetch_to_read(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and it never fails.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(from.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// As [`fetch_to_read`], for what is written soon.
#[inline(always)]
pub(crate) fn fetch_to_write(to: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above; processors without the instruction do nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(to.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = to;
}

/// Loads a register, or its first `count` values where it is the last one of a row (`PART`).
///
/// # Safety
/// As [`Lanes::load`] or [`Lanes::load_first`].
#[inline(always)]
pub(crate) unsafe fn load<L: Lanes, const PART: bool>(from: *const f32, count: usize) -> L {
    // SAFETY: the caller's promise.
    unsafe { if PART { L::load_first(from, count) } else { L::load(from) } }
}

/// Stores a register, or its first `count` values where it is the last one of a row (`PART`).
///
/// # Safety
/// As [`Lanes::store`] or [`Lanes::store_first`].
#[inline(always)]
pub(crate) unsafe fn store<L: Lanes, const PART: bool>(lanes: L, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { if PART { lanes.store_first(to, count) } else { lanes.store(to) } }
}

/// Any processor: an array that the compiler vectorises as far as it can.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Lanes for Portable {
    const COUNT: usize = 8;
    const ROWS: usize = 2;
    type Half = Self;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 8])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is valid for 8 values.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut values = [0.0; 8];
        // SAFETY: the caller's pointer is valid for `count` values.
        values[..count].copy_from_slice(unsafe { std::slice::from_raw_parts(from, count) });
        Self(values)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is valid for 8 values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's pointer is valid for `count` values.
        unsafe { std::slice::from_raw_parts_mut(to, count) }.copy_from_slice(&self.0[..count]);
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| if self.0[lane] > other.0[lane] { self.0[lane] } else { other.0[lane] }))
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| if self.0[lane] < other.0[lane] { self.0[lane] } else { other.0[lane] }))
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        let mut result = sum.0;
        for lane in 0..8 {
            result[lane] += self.0[lane] * factor.0[lane];
        }
        Self(result)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// The first `count` bits.
    #[inline(always)]
    fn mask(count: usize) -> u16 {
        (1u32.wrapping_shl(count as u32)).wrapping_sub(1) as u16
    }

    /// The sign bits of the first `count` of 8 values.
    #[inline(always)]
    unsafe fn signs(count: usize) -> __m256i {
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }

    /// A register of `COUNT` values, beside three of which `ROWS` rows of accumulators fit, with what its instructions
    /// are called and how a part of it is loaded and stored.
    macro_rules! register {
        ($(#[$attribute:meta])* $name:ident($values:ty): COUNT $count:literal, ROWS $rows:literal, Half $half:ty;
            $zero:ident, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $max:ident, $min:ident,
            $mul_add:ident;
            |$from:ident, $to:ident, $lanes:ident, $first:ident| $load_first:expr, $store_first:expr) => {
            $(#[$attribute])*
            #[derive(Clone, Copy)]
            pub(crate) struct $name($values);

            // SAFETY (all methods): the caller promises the instructions and the pointers.
            impl Lanes for $name {
                const COUNT: usize = $count;
                const ROWS: usize = $rows;
                type Half = $half;

                #[inline(always)]
                unsafe fn zero() -> Self {
                    Self(unsafe { $zero() })
                }
                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    Self(unsafe { $splat(value) })
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    Self(unsafe { $load(from) })
                }
                #[inline(always)]
                unsafe fn load_first($from: *const f32, $first: usize) -> Self {
                    Self(unsafe { $load_first })
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    unsafe { $store(to, self.0) }
                }
                #[inline(always)]
                unsafe fn store_first(self, $to: *mut f32, $first: usize) {
                    let $lanes = self.0;
                    unsafe { $store_first }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    Self(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    Self(unsafe { $sub(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    Self(unsafe { $max(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn min(self, other: Self) -> Self {
                    Self(unsafe { $min(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
                    Self(unsafe { $mul_add(self.0, factor.0, sum.0) })
                }
            }
        };
    }

    register! {
        /// AVX-512 F.
        Avx512(__m512): COUNT 16, ROWS 8, Half Avx512Half;
        _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps,
        _mm512_max_ps, _mm512_min_ps, _mm512_fmadd_ps;
        |from, to, lanes, count| _mm512_maskz_loadu_ps(mask(count), from), _mm512_mask_storeu_ps(to, mask(count), lanes)
    }

    register! {
        /// AVX-512 VL: half a register, with the masks of AVX-512.
        Avx512Half(__m256): COUNT 8, ROWS 8, Half Self;
        _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps,
        _mm256_max_ps, _mm256_min_ps, _mm256_fmadd_ps;
        |from, to, lanes, count| _mm256_maskz_loadu_ps(mask(count) as u8, from),
            _mm256_mask_storeu_ps(to, mask(count) as u8, lanes)
    }

    register! {
        /// AVX2 with FMA.
        Avx2(__m256): COUNT 8, ROWS 4, Half Self;
        _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps,
        _mm256_max_ps, _mm256_min_ps, _mm256_fmadd_ps;
        |from, to, lanes, count| _mm256_maskload_ps(from, signs(count)), _mm256_maskstore_ps(to, signs(count), lanes)
    }
}
