//! Committed expected outputs. `UPDATE_GOLDEN=1 cargo test` rewrites them.

use crate::repository;
use std::fs;

/// Compares `actual` with `tests/golden/{name}`.
pub(crate) fn check(name: &str, actual: &str) {
    let path = repository("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected == actual {
        return;
    }
    let differing = expected.lines().zip(actual.lines()).position(|(one, other)| one != other);
    let line = differing.unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
    let show = |text: &str| text.lines().skip(line.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
    panic!(
        "{name} differs from line {} on (UPDATE_GOLDEN=1 rewrites it)\n--- expected\n{}\n--- actual\n{}",
        line + 1,
        show(&expected),
        show(actual),
    );
}
