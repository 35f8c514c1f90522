//! Lists the files of `samplers/` and of `pruners/`, so that adding one is adding a file.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    for (folder, kind) in [("samplers", "crate::SamplerKind"), ("pruners", "crate::PrunerKind")] {
        let source = list(&Path::new(&root).join(folder), kind)?;
        fs::write(Path::new(&out).join(format!("{folder}.rs")), source)?;
    }
    Ok(())
}

fn list(folder: &Path, kind: &str) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<String> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    files.retain(|name| name.ends_with(".rs"));
    files.sort();

    let mut source = String::new();
    for file in &files {
        let module = file.trim_end_matches(".rs");
        source += &format!("#[path = {:?}]\npub(crate) mod {module};\n", folder.join(file));
    }
    source += &format!("pub(crate) const KINDS: &[{kind}] = &[\n");
    for file in &files {
        source += &format!("    {}::KIND,\n", file.trim_end_matches(".rs"));
    }
    Ok(source + "];\n")
}
