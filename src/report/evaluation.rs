//! What a classifier's measures look like.

use super::network::plain_table;
use crate::{
    evaluation::{Answers, Evaluation},
    numbers::grouped,
};

/// Pairs of confused classes that are named.
const CONFUSED: usize = 5;

/// All measures, for people.
pub fn evaluation_text(evaluation: &Evaluation) -> String {
    let Evaluation { accuracy, interval, top5, loss, macro_f1, weighted_f1, roc_auc, calibration_error, .. } =
        evaluation;
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let top5 = top5.map_or_else(String::new, |top5| format!(", among the first five {}", percent(top5)));
    let area = |area: Option<f64>| area.map_or_else(|| "-".into(), |area| format!("{area:.3}"));
    let mut lines = vec![
        format!(
            "accuracy     {} (95 % interval {:.1} to {:.1}){top5}",
            percent(*accuracy),
            interval.low * 100.0,
            interval.high * 100.0
        ),
        format!("F1           macro {macro_f1:.3}, weighted {weighted_f1:.3}"),
        format!("ROC-AUC      {}", area(*roc_auc)),
        format!("loss         {loss:.3}"),
        format!("calibration  {} expected error", percent(*calibration_error)),
    ];
    let confused = evaluation.confused(CONFUSED);
    let pair = |pair: crate::evaluation::Confusion| format!("{} for {} ({})", pair.class, pair.answer, pair.images);
    if !confused.is_empty() {
        lines.push(format!("taken        {}", confused.into_iter().map(pair).collect::<Vec<_>>().join(", ")));
    }
    let mut table = plain_table(&["class", "images", "precision", "recall", "F1", "ROC-AUC"], &[1, 2, 3, 4, 5]);
    for class in &evaluation.per_class {
        table.add_row([
            class.class.clone(),
            grouped(class.images),
            format!("{:.3}", class.precision),
            format!("{:.3}", class.recall),
            format!("{:.3}", class.f1),
            area(class.roc_auc),
        ]);
    }
    format!("{}\n\n{}", lines.join("\n"), table.trim_fmt())
}

/// A line for each image: its class (where it is known), the answer, its probability, those of all
/// classes.
pub fn answers_csv(answers: &Answers, images: &[String], labels: Option<&[u32]>, classes: &[String]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let known = labels.map(|_| "class".to_owned());
    let all = classes.iter().map(|class| format!("p_{class}"));
    let header = ["image".to_owned()].into_iter().chain(known);
    let header = header.chain(["answer".into(), "probability".into()]).chain(all);
    let mut written = writer.write_record(header);
    for (index, row) in answers.probabilities.chunks_exact(classes.len()).enumerate() {
        let answer = answers.classes[index];
        let known = labels.map(|labels| classes[labels[index] as usize].clone());
        let line = [images[index].clone()].into_iter().chain(known);
        let line = line.chain([classes[answer].clone(), format!("{:.6}", row[answer])]);
        written = written.and(writer.write_record(line.chain(row.iter().map(|share| format!("{share:.6}")))));
    }
    let bytes = written.ok().and_then(|()| writer.into_inner().ok());
    String::from_utf8(bytes.expect("memory takes all that is written")).expect("rows of strings are a string")
}
