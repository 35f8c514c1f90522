//! The texts of the kernels.

/// Comes before each of [`FILES`].
pub(crate) const PRELUDE: &str = include_str!("kernels/prelude.cu");

/// What is compiled, each with the prelude, by name.
pub(crate) const FILES: [(&str, &str); 7] = [
    ("product", include_str!("kernels/product.cu")),
    ("depthwise", include_str!("kernels/depthwise.cu")),
    ("norm", include_str!("kernels/norm.cu")),
    ("elementwise", include_str!("kernels/elementwise.cu")),
    ("pool", include_str!("kernels/pool.cu")),
    ("loss", include_str!("kernels/loss.cu")),
    ("optimizer", include_str!("kernels/optimizer.cu")),
];
