//! The same kernels compiled for several instruction sets, chosen when the program runs.

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// AVX-512 F, VL, BW and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the program is compiled for.
    Portable,
}

impl InstructionSet {
    /// The sets that this processor has, best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            sets.extend((has_avx512 && has_avx2).then_some(Self::Avx512));
            sets.extend(has_avx2.then_some(Self::Avx2));
        }
        sets.push(Self::Portable);
        sets
    }

    /// The best set of this processor.
    pub(crate) fn best() -> Self {
        static BEST: std::sync::OnceLock<InstructionSet> = std::sync::OnceLock::new();
        #[cfg(test)]
        if let Some(set) = tests::CHOSEN.get() {
            return set;
        }
        *BEST.get_or_init(|| Self::available()[0])
    }
}

/// Defines functions whose bodies are compiled for every instruction set, and which run the best of
/// them that this processor has. The loops in a body must be plain enough for the compiler to
/// vectorise; nothing in it is written for one instruction set. `A` in it is the instruction set's
/// [`crate::activation::Arithmetic`].
macro_rules! vectorised {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$attribute])*
            $visibility fn $name $(<$($generic: $bound),+>)? ($($argument: $type),*) {
                use $crate::activation::{Arithmetic, Fused, Plain};

                #[inline(always)]
                fn body<A: Arithmetic $($(, $generic: $bound)+)?>($($argument: $type),*) $body

                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) {
                    body::<Fused $($(, $generic)+)?>($($argument),*)
                }

                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) {
                    body::<Fused $($(, $generic)+)?>($($argument),*)
                }

                use $crate::instructions::InstructionSet;
                match InstructionSet::best() {
                    #[cfg(target_arch = "x86_64")]
                    #[expect(unsafe_code, reason = "the processor has these instructions")]
                    InstructionSet::Avx512 => unsafe { avx512($($argument),*) },
                    #[cfg(target_arch = "x86_64")]
                    #[expect(unsafe_code, reason = "the processor has these instructions")]
                    InstructionSet::Avx2 => unsafe { avx2($($argument),*) },
                    InstructionSet::Portable => body::<Plain $($(, $generic)+)?>($($argument),*),
                }
            }
        )*
    };
}
pub(crate) use vectorised;

/// Defines a function that runs `$kernel::<L>`, an `unsafe` kernel generic over [`crate::lanes::Lanes`],
/// with the best registers of this processor. The body before it, `$check`, must hold what the
/// kernel needs beside the instructions.
macro_rules! with_lanes {
    ($(#[$attribute:meta])* fn $name:ident($argument:ident: $type:ty) $check:block => $kernel:ident) => {
        $(#[$attribute])*
        pub(crate) fn $name($argument: $type) {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "kernels take raw pointers")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            unsafe fn avx512($argument: $type) {
                unsafe { $kernel::<$crate::lanes::Avx512>($argument) }
            }

            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "kernels take raw pointers")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($argument: $type) {
                unsafe { $kernel::<$crate::lanes::Avx2>($argument) }
            }

            $check
            use $crate::instructions::InstructionSet;
            match InstructionSet::best() {
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "the processor has these instructions; the rest was checked above")]
                InstructionSet::Avx512 => unsafe { avx512($argument) },
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "the processor has these instructions; the rest was checked above")]
                InstructionSet::Avx2 => unsafe { avx2($argument) },
                #[expect(unsafe_code, reason = "checked above")]
                InstructionSet::Portable => unsafe { $kernel::<$crate::lanes::Portable>($argument) },
            }
        }
    };
}
pub(crate) use with_lanes;

#[cfg(test)]
pub(crate) mod tests {
    use super::InstructionSet;
    use std::cell::Cell;

    thread_local! {
        /// The set that kernels on this thread use instead of the best one.
        pub(crate) static CHOSEN: Cell<Option<InstructionSet>> = const { Cell::new(None) };
    }

    /// Runs `work` once with each set of this processor.
    pub(crate) fn with_each_set(mut work: impl FnMut(InstructionSet)) {
        for set in InstructionSet::available() {
            CHOSEN.set(Some(set));
            work(set);
            CHOSEN.set(None);
        }
    }
}
