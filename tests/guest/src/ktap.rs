// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results as KTAP, version 1: what KUnit and the kernel's selftests print,
//! and what their tools read.

use std::fmt;

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The test passed.
    Passed,
    /// The test failed; its diagnostics say why.
    Failed,
    /// The test cannot run here, for a reason.
    Skipped(String),
}

/// Prints a diagnostic, each line of it marked as such.
pub fn diagnose(text: impl fmt::Display) {
    for line in text.to_string().lines() {
        println!("# {line}");
    }
}

/// Counts and prints results.
#[derive(Debug, Default)]
pub struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// Prints version and plan.
    pub fn begin(tests: usize) -> Self {
        println!("KTAP version 1");
        println!("1..{tests}");
        Self::default()
    }

    /// Prints the result of a test.
    pub fn result(&mut self, name: &str, outcome: &Outcome) {
        println!("{}", self.line(name, outcome));
    }

    fn line(&mut self, name: &str, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
        let number = self.passed + self.failed + self.skipped;
        match outcome {
            Outcome::Passed => format!("ok {number} {name}"),
            Outcome::Failed => format!("not ok {number} {name}"),
            Outcome::Skipped(reason) => format!("ok {number} {name} # SKIP {reason}"),
        }
    }

    /// Prints the totals. Returns whether nothing failed.
    pub fn end(&self) -> bool {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        println!("# {passed} passed, {failed} failed, {skipped} skipped");
        *failed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_marked() {
        let mut report = Report::default();
        assert_eq!(report.line("a.b", &Outcome::Passed), "ok 1 a.b");
        assert_eq!(report.line("c", &Outcome::Failed), "not ok 2 c");
        let skipped = Outcome::Skipped("no debugfs".into());
        assert_eq!(report.line("d", &skipped), "ok 3 d # SKIP no debugfs");
        assert!(!report.end());
    }
}
