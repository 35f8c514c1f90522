//! The same loops compiled for several instruction sets, chosen when the program runs.

/// Defines functions whose bodies are compiled for AVX-512, for AVX2 and for any processor, and
/// which run the best of them that this processor has. The loops in a body must be plain enough for
/// the compiler to vectorise; nothing in it is written for one instruction set.
macro_rules! vectorised {
    ($($(#[$attribute:meta])* fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$attribute])*
            pub(crate) fn $name $(<$($generic: $bound),+>)? ($($argument: $type),*) {
                #[inline(always)]
                fn body $(<$($generic: $bound),+>)? ($($argument: $type),*) $body

                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
                    fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) {
                        body($($argument),*)
                    }

                    #[target_feature(enable = "avx2")]
                    fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) {
                        body($($argument),*)
                    }

                    if $crate::instructions::has_avx512() {
                        #[expect(unsafe_code, reason = "the line above holds that the processor has these instructions")]
                        return unsafe { avx512($($argument),*) };
                    }
                    if is_x86_feature_detected!("avx2") {
                        #[expect(unsafe_code, reason = "the line above holds that the processor has these instructions")]
                        return unsafe { avx2($($argument),*) };
                    }
                }
                body($($argument),*)
            }
        )*
    };
}
pub(crate) use vectorised;

/// Whether the processor has the parts of AVX-512 that [`vectorised`] compiles for.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
}
