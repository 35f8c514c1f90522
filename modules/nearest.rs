//! The nearest of the known names to a misspelt one.

/// The known name that is most like `name`, if one is like it at all. Case counts least: `conv`
/// is nearer to `Conv` than to `con`.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (likeness(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, first), (b, second)| a.total_cmp(b).then_with(|| second.cmp(first)))
        .map(|(_, candidate)| candidate)
}

/// From 0 to 1. Two letters that changed places count little, even in a short word.
fn likeness(name: &str, candidate: &str) -> f64 {
    let is_swap = strsim::osa_distance(name, candidate) == 1 && strsim::levenshtein(name, candidate) == 2;
    let likeness = strsim::jaro_winkler(name, candidate);
    if is_swap { likeness.max(0.9) } else { likeness }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_leaves_strangers() {
        let known = ["Conv", "Concat", "InvertedResidualv3", "InvertedResidualv2"];
        assert_eq!(nearest("conv", known), Some("Conv"));
        assert_eq!(nearest("InvertedResidualV3", known), Some("InvertedResidualv3"));
        assert_eq!(nearest("Transformer", known), None);
        assert_eq!(nearest("otu", ["out", "kernel"]), Some("out"));
        assert_eq!(nearest("ab", ["cd", "xy"]), None);
    }
}
