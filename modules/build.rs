//! Lists the files of `blocks/`, so that adding a block is adding a file.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("blocks");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut files: Vec<String> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    files.retain(|name| name.ends_with(".rs"));
    files.sort();

    let mut source = String::new();
    for file in &files {
        let module = file.trim_end_matches(".rs");
        source += &format!("#[path = {:?}]\nmod {module};\n", folder.join(file));
    }
    source += "pub(crate) const FILES: &[&[crate::Block]] = &[\n";
    for file in &files {
        source += &format!("    {}::BLOCKS,\n", file.trim_end_matches(".rs"));
    }
    source += "];\n";
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("blocks.rs"), source)
}
