//! What a look at data finds.

use super::network::plain_table;
use crate::{
    data::{Found, Survey},
    numbers::grouped,
};

/// Groups of duplicates that are shown.
const SHOWN: usize = 5;
/// From this many images of one class for each of another on, something is to be done.
const IMBALANCED: f64 = 3.0;

/// The findings, for people.
pub fn survey_text(name: &str, survey: &Survey) -> String {
    let mut table = plain_table(&["class", "train", "val", "test"], &[1, 2, 3]);
    for class in &survey.classes {
        let counts = [class.train, class.val, class.test].map(|count| grouped(count as u64));
        table.add_row([class.class.clone()].into_iter().chain(counts));
    }
    let images: usize = survey.classes.iter().map(|class| class.train + class.val + class.test).sum();
    let advice = if survey.imbalance < IMBALANCED { "fine" } else { "try --balance loss and --metric macro_f1" };
    let mut lines = vec![
        format!("data        {name}: {} images, {} classes", grouped(images as u64), survey.classes.len()),
        format!("imbalance   {:.1} : 1, {advice}", survey.imbalance),
        format!("duplicates  {} groups of equal images", grouped(survey.duplicates.len() as u64)),
    ];
    lines.extend(shown(&survey.duplicates));
    if survey.contradictions > 0 {
        lines.push(format!("            {} of them with different classes", survey.contradictions));
    }
    let near = survey.near_duplicates.len();
    lines.push(format!("near        {} almost equal pairs in different splits or classes", grouped(near as u64)));
    lines.extend(shown(&survey.near_duplicates));
    if survey.near_across_splits > 0 {
        let pairs = grouped(survey.near_across_splits as u64);
        lines.push(format!("            {pairs} of them in different splits: look whether they show the same thing"));
    }
    format!("{}\n\n{}\n", lines.join("\n"), table.trim_fmt())
}

/// The first groups, and how many more there are.
fn shown(groups: &[impl AsRef<[Found]>]) -> impl Iterator<Item = String> {
    let line = |text: String| format!("            {text}");
    let more = groups.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| line(format!("and {} more (--json has all)", grouped(more as u64))));
    groups.iter().take(SHOWN).map(move |group| line(named(group.as_ref()))).chain(more)
}

fn named(group: &[Found]) -> String {
    let name = |found: &Found| format!("{} ({}, {})", found.image, found.class, found.split);
    group.iter().map(name).collect::<Vec<_>>().join(" = ")
}
