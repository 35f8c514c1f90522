//! The texts of the kernels.

/// A text with its name, for messages.
pub(crate) type Text = (&'static str, &'static str);

/// Comes first in each of [`FILES`].
pub(crate) const PRELUDE: Text = ("prelude.cu", include_str!("kernels/prelude.cu"));

/// Comes before those that need it.
pub(crate) const PRODUCT: Text = ("product.cu", include_str!("kernels/product.cu"));

/// What is compiled, each by itself: at the same time, where there are processors for it.
pub(crate) const FILES: [&[Text]; 10] = [
    &[PRELUDE, PRODUCT, ("convolve.cu", include_str!("kernels/convolve.cu"))],
    &[PRELUDE, PRODUCT, ("convolve_data.cu", include_str!("kernels/convolve_data.cu"))],
    &[PRELUDE, PRODUCT, ("convolve_weights.cu", include_str!("kernels/convolve_weights.cu"))],
    &[PRELUDE, ("depthwise.cu", include_str!("kernels/depthwise.cu"))],
    &[PRELUDE, ("norm.cu", include_str!("kernels/norm.cu"))],
    &[PRELUDE, ("elementwise.cu", include_str!("kernels/elementwise.cu"))],
    &[PRELUDE, ("images.cu", include_str!("kernels/images.cu"))],
    &[PRELUDE, ("pool.cu", include_str!("kernels/pool.cu"))],
    &[PRELUDE, ("loss.cu", include_str!("kernels/loss.cu"))],
    &[PRELUDE, ("optimizer.cu", include_str!("kernels/optimizer.cu"))],
];

/// The texts in one, with lines that are counted in each by itself.
pub(crate) fn joined<'a>(texts: impl IntoIterator<Item = &'a Text>) -> String {
    texts.into_iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect()
}
