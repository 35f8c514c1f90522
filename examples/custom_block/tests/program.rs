//! The block gets every command.

use std::process::Command;

#[test]
fn the_program_shows_samples_and_explains_the_block() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/ghost.yml");
    let space = concat!(env!("CARGO_MANIFEST_DIR"), "/ghost_space.yml");
    for arguments in
        [vec!["modules", "GhostConv"], vec!["show", config], vec!["show", config, "--json"], vec!["sample", space]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_custom-block")).args(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("GhostConv"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_custom_operation_trains_on_the_reference_and_nasgen_says_so() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/involution.yml");
    let folder = tempfile::tempdir().unwrap();
    let train = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_custom-block"));
        command.args(["train", config, "--epochs", "1", "--batch", "256", "--json"]).args(more);
        command.current_dir(folder.path()).output().unwrap()
    };
    let output = train(&["--run", "run"]);
    let (text, messages) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{messages}");
    assert!(text.contains(r#""executor":"reference""#), "{text}");
    assert!(messages.contains("is a custom operation: the network runs on the reference executor"), "{messages}");

    let refused = train(&["--executor", "engine", "--run", "other"]);
    let messages = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && messages.contains("which only the reference runs"), "{messages}");
}
