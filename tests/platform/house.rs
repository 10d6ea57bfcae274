//! The house (DESIGN section 8): imports point down only, and `cfg(target_arch)` stays in `platform/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Module at the top of `src` and its level; `platform` is the wing, which implements the seam.
const LEVELS: &[(&str, u8)] = &[
    ("env", 0),
    ("error", 0),
    ("options", 0),
    ("platform", 0),
    ("merge", 1),
    ("data", 1),
    ("memtable", 2),
    ("wal", 2),
    ("sstable", 2),
    ("log", 2),
    ("state", 3),
    ("scan", 4),
    ("flush", 4),
    ("compaction", 4),
    ("gc", 4),
    ("db", 5),
    ("bindings", 6),
    ("lib", 6),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    rust_files(&source(), &mut found);
    found.sort();
    assert!(found.len() > 10, "the sources were not found");
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(source())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn top_module(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn level(module: &str) -> Option<u8> {
    LEVELS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, l)| *l)
}

/// Without line comments: documentation may mention what it likes.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) if line[..at].trim().is_empty() => "",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that follow each `crate::`: `crate::{a::X, b}` gives a and b.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(identifier(rest)),
            Some(group) => found.extend(first_level(group).iter().map(|part| identifier(part))),
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The parts of a `{…}` group up to its closing brace, split at commas of its own level.
fn first_level(group: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.retain(|p| !p.trim().is_empty());
    parts
}

/// Every import of `text`, a file of `module`, that points up, in words.
fn upward(module: &str, text: &str) -> Vec<String> {
    let own = level(module).unwrap_or_else(|| panic!("module {module:?} has no level: add it"));
    imports(&code(text))
        .into_iter()
        .filter(|import| level(import).is_some_and(|l| l > own))
        .map(|import| format!("{module} (level {own}) imports {import}"))
        .collect()
}

#[test]
fn imports_point_down_only() {
    let found: Vec<String> = files()
        .iter()
        .flat_map(|(file, text)| {
            let wrong = upward(top_module(file), text);
            wrong.into_iter().map(move |w| format!("src/{file}: {w}"))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(
        upward("wal", "use crate::{error::Result, db::{Db, X}};").len(),
        1
    );
    assert_eq!(upward("data", "fn f() { crate::sstable::meta() }").len(), 1);
    assert!(upward("scan", "use crate::{data::key, Error};\n// crate::db").is_empty());
}

#[test]
fn only_the_platform_folder_knows_the_target() {
    let wrong: Vec<String> = files()
        .into_iter()
        .filter(|(file, _)| top_module(file) != "platform")
        .filter(|(_, text)| code(text).contains("target_arch"))
        .map(|(file, _)| file)
        .collect();
    assert!(
        wrong.is_empty(),
        "cfg(target_arch) outside src/platform: {wrong:?}"
    );
}
