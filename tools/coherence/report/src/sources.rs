// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in the sources around a line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::run::SourceLine;

/// Lines before and after the one that is meant.
const AROUND: u32 = 4;

/// A line of an excerpt.
#[derive(Debug, PartialEq, Eq)]
pub struct ExcerptLine {
    /// From 1.
    pub number: u32,
    /// Without its end.
    pub text: String,
    /// Whether it is the line that is meant.
    pub meant: bool,
}

/// Files with sources, which are read when they are wanted.
pub struct Sources {
    folders: Vec<PathBuf>,
    files: RefCell<HashMap<String, Option<Rc<str>>>>,
}

impl Sources {
    /// Sources at their own paths, or below one of the folders.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            files: RefCell::default(),
        }
    }

    /// What is around a line; nothing if the file is not there.
    pub fn around(&self, place: &SourceLine) -> Vec<ExcerptLine> {
        let Some(text) = self.text(&place.file) else {
            return Vec::new();
        };
        (1..)
            .zip(text.lines())
            .skip_while(|(number, _)| number + AROUND < place.line)
            .take_while(|(number, _)| *number <= place.line + AROUND)
            .map(|(number, text)| ExcerptLine {
                number,
                text: text.to_owned(),
                meant: number == place.line,
            })
            .collect()
    }

    fn text(&self, file: &str) -> Option<Rc<str>> {
        let mut files = self.files.borrow_mut();
        if let Some(text) = files.get(file) {
            return text.clone();
        }
        let text = self.read(Path::new(file)).map(Rc::from);
        files.insert(file.to_owned(), text.clone());
        text
    }

    fn read(&self, file: &Path) -> Option<String> {
        let below = file.strip_prefix("/").unwrap_or(file);
        let mut paths = self.folders.iter().map(|folder| folder.join(below));
        let found = paths.find_map(|path| std::fs::read(path).ok());
        let bytes = found.or_else(|| std::fs::read(file).ok())?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, line: u32) -> SourceLine {
        SourceLine {
            function: "main".into(),
            file: file.into(),
            line,
        }
    }

    #[test]
    fn lines_around() {
        // The tests run where the crate is.
        let sources = Sources::new(Vec::new());
        let lines = sources.around(&place("src/sources.rs", 2));
        let numbers: Vec<_> = lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        assert!(lines[0].text.contains("SPDX") && !lines[0].meant);
        assert!(lines[1].text.starts_with("//! What") && lines[1].meant);
        assert_eq!(sources.around(&place("src/sources.rs", 1_000_000)), []);
        assert_eq!(sources.around(&place("src/nowhere.rs", 1)), []);
    }

    #[test]
    fn below_a_folder() {
        let sources = Sources::new(vec!["/nowhere".into(), "src".into()]);
        assert_eq!(sources.around(&place("/sources.rs", 1)).len(), 5);
    }
}
