//! The page of a study: what a person finds on it.

use crate::{
    reporting::{assert_is_shown, chromium},
    searching::{folder_with_space, search, trials},
};
use nasgen_search::State;
use std::fs;

#[test]
fn a_page_answers_what_is_asked_of_a_study() {
    let folder = folder_with_space();
    // One that is too large fails; of the others some are set aside.
    let large = "input_size: [8, 8]\nbackbone:\n  - [1, Conv, [64, 7, 1]]\n  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n";
    fs::write(folder.path().join("large.yml"), large).unwrap();
    let arguments = "space.yml --epochs 4 --subset 200 --batch 100 --jobs 2 --trials 24 --pruner median --max-params 6k --enqueue large.yml \
                     --objective accuracy,params:min --finalists 2 --final-seeds 2";
    let (code, result, stderr) = search(folder.path(), arguments);
    assert_eq!(code, 0, "{stderr}");
    let page = folder.path().join("studies/space/report.html");
    let text = fs::read_to_string(&page).unwrap();
    for words in [
        "accuracy and params",
        "no other is better in both",
        "accuracy of each trial",
        "Best so far",
        "Hypervolume of the front",
        "PED-ANOVA",
        " marked",
        "The best six",
        "Stopped early",
        "Trials by worker",
        "draws were looked at before training",
        "too many parameters",
        "1 failed trials",
        "over the budget",
        "The best again, with other seeds",
        "On the test images",
    ] {
        assert!(text.contains(words), "no `{words}` on the page");
    }
    let ended = trials(folder.path(), "space");
    assert!(ended.iter().any(|trial| trial.state == State::Fail) && result["trials"]["pruned"].as_u64() > Some(0));
    let specs = text.split("<details").skip(1);
    let own: Vec<&str> = specs.filter(|details| details.contains("backbone:")).collect();
    assert_eq!(own.len(), ended.len(), "every trial has its spec");
    assert!(!text.contains("http://") && !text.contains("https://"), "the page fetches nothing");
    if let Some(browser) = chromium() {
        assert_is_shown(browser, &page);
    }
}
