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
    lines.extend(survey.duplicates.iter().take(SHOWN).map(|group| format!("            {}", named(group))));
    if survey.contradictions > 0 {
        lines.push(format!("            {} of them with different classes", survey.contradictions));
    }
    let near = survey.near_duplicates.len();
    lines.push(format!("near        {} almost equal pairs in different splits or classes", grouped(near as u64)));
    lines.extend(survey.near_duplicates.iter().take(SHOWN).map(|pair| format!("            {}", named(pair))));
    format!("{}\n\n{}\n", lines.join("\n"), table.trim_fmt())
}

fn named(group: &[Found]) -> String {
    let name = |found: &Found| format!("{} ({}, {})", found.image, found.class, found.split);
    group.iter().map(name).collect::<Vec<_>>().join(" = ")
}
