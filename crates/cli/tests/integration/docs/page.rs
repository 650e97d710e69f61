//! The pages of the documentation and their fenced blocks.

use std::path::{Path, PathBuf};

/// A file of documentation.
#[derive(Debug)]
pub(super) struct Page {
    /// Its path in the repository.
    pub(super) path: String,
    pub(super) blocks: Vec<Block>,
}

/// What stands between two fences.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The page, and the line of the opening fence.
    pub(super) place: String,
    /// The number of its first line in the page, from 1.
    pub(super) line: usize,
    /// The word behind the opening fence, which is what highlights it: up to a comma.
    pub(super) language: String,
    pub(super) text: String,
}

/// The repository's root folder.
pub(super) fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    root.canonicalize().unwrap()
}

/// Every page that is written for people: those at the root, `docs/`, and those of the Terraform module.
pub(super) fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    walk(&repository(), "", false, &mut pages);
    for folder in ["docs/", "terraform/"] {
        walk(&repository(), folder, true, &mut pages);
    }
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(pages.len() > 30, "{}", pages.len());
    pages
}

/// The page at this path.
pub(super) fn page(path: &str) -> Page {
    let text =
        std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path: path.to_owned(), blocks: blocks(path, &text) }
}

fn walk(root: &Path, folder: &str, below: bool, pages: &mut Vec<Page>) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}{}", entry.file_name().to_str().unwrap());
        if path.ends_with(".md") {
            pages.push(page(&path));
        } else if below && entry.file_type().unwrap().is_dir() {
            walk(root, &format!("{path}/"), true, pages);
        }
    }
}

/// The fenced blocks of a text, also of those inside of lists, which are indented.
fn blocks(path: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let unindented = line.trim_start();
        let ticks = unindented.len() - unindented.trim_start_matches('`').len();
        let fence = &unindented[..ticks];
        match open {
            None if ticks >= 3 => {
                let language = unindented[ticks..].split([' ', ',']).next().unwrap_or_default().to_owned();
                let place = format!("{path}:{}", index + 1);
                blocks.push(Block { place, line: index + 2, language, text: String::new() });
                open = Some(fence);
            }
            Some(opening) if unindented.trim_end() == opening => open = None,
            Some(_) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{path} ends inside of a block");
    blocks
}

#[test]
fn blocks_are_found_where_they_stand() {
    let text = "a\n```sh\nb\n```\n- c\n\n  ````rust,no_run\n  ```\n  d\n  ````\n```\ne\n```\n";
    let found = blocks("p.md", text);
    let told: Vec<_> = found
        .iter()
        .map(|block| (block.place.as_str(), block.line, block.language.as_str(), block.text.as_str()))
        .collect();
    assert_eq!(
        told,
        [("p.md:2", 3, "sh", "b\n"), ("p.md:7", 8, "rust", "  ```\n  d\n"), ("p.md:11", 12, "", "e\n")]
    );
}
