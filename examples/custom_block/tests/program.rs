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
