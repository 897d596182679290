// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of each buffer.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
    time::Instant,
};

use nix::errno::Errno;
use shmbuf::{Error, Info};

use crate::{
    counters::{self, Counters},
    nodes::{self, Node},
    processes::{self, Found, Processes},
};

/// All that can be known at one moment.
pub struct Sample {
    at: Instant,
    nodes: Vec<(String, Option<Node>)>,
    counters: Counters,
    found: Found,
    /// What is not known, and why.
    missing: Vec<String>,
}

/// What the screen shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    pub rows: Vec<Row>,
    /// What is not known, and why.
    pub missing: Vec<String>,
}

/// A buffer. What is not known is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    pub name: String,
    pub facts: Option<Facts>,
    pub rates: Rates,
    pub users: Processes,
    /// Whether mappings and dma-bufs cannot be told from those of other buffers.
    pub has_only_handles: bool,
}

/// What a buffer is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub kind: String,
    pub policy: String,
    pub memory_type: String,
    pub size: u64,
    pub owner: String,
    pub mapping: String,
    pub direction: String,
    pub mappings: u64,
    pub exports: u64,
    /// The ranges that devices were lent; only the buffer's node tells them.
    pub lent: Option<Vec<Range<u64>>>,
}

/// What happens to a buffer in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    pub read: Option<u64>,
    pub written: Option<u64>,
    pub syncs: Option<u64>,
    pub copied: Option<u64>,
}

impl Sample {
    /// Asks nodes, debugfs and /proc.
    pub fn take() -> Self {
        let mut missing = Vec::new();
        let paths = nodes::paths().unwrap_or_else(|error| {
            missing.push(format!("{error:#}"));
            Vec::new()
        });
        if paths.is_empty() && missing.is_empty() {
            missing.push(nodes::NONE.into());
        }
        let nodes = paths
            .iter()
            .filter_map(|path| {
                let node = match Node::read(path) {
                    Ok(node) => Some(node),
                    Err(error) if is_gone(&error) => return None,
                    Err(error) => {
                        missing.push(format!("{}: {error}", path.display()));
                        None
                    }
                };
                Some((name(path)?, node))
            })
            .collect::<Vec<_>>();
        let at = Instant::now();
        let counters = counters::read().unwrap_or_else(|error| {
            if !nodes.is_empty() {
                missing.push(format!("no rates: {error:#}"));
            }
            Counters::new()
        });
        let found = processes::look(Path::new("/proc")).unwrap_or_else(|error| {
            missing.push(format!("no users: /proc: {error}: mount it"));
            Found::default()
        });
        if found.is_partial {
            missing.push("the processes of others are not shown: run as root".into());
        }
        Self {
            at,
            nodes,
            counters,
            found,
            missing,
        }
    }

    /// What there is now, with the rates since an earlier moment if there is one.
    pub fn since(&self, before: Option<&Self>) -> Shown {
        let rates = |name: &str| match before {
            Some(before) => {
                let seconds = self.at.duration_since(before.at).as_secs_f64();
                rates(name, &before.counters, &self.counters, seconds)
            }
            None => Rates::default(),
        };
        let users = &self.found.users;
        let mut rows: Vec<_> = self
            .nodes
            .iter()
            .map(|(name, node)| Row {
                name: name.clone(),
                facts: node.as_ref().map(Into::into),
                rates: rates(name),
                users: users.get(name).cloned().unwrap_or_default(),
                ..Row::default()
            })
            .collect();
        rows.extend(self.found.private.iter().map(|(handle, users)| Row {
            name: handle.name(),
            facts: Facts::from_fdinfo(&handle.fdinfo),
            users: users.clone(),
            has_only_handles: true,
            ..Row::default()
        }));
        // Private buffers together, and those whose node has gone.
        let with_node: BTreeSet<_> = self.nodes.iter().map(|(name, _)| name).collect();
        let others = users.iter().filter(|(name, _)| !with_node.contains(name));
        rows.extend(others.map(|(name, users)| Row {
            name: name.clone(),
            users: users.clone(),
            ..Row::default()
        }));
        Shown {
            rows,
            missing: self.missing.clone(),
        }
    }
}

impl From<&Node> for Facts {
    fn from(Node { info, lent, .. }: &Node) -> Self {
        let Info {
            kind,
            policy,
            memory_type,
            size,
            owner,
            mapping,
            direction,
            mappings,
            exports,
            ..
        } = info;
        Self {
            kind: kind.to_string(),
            policy: policy.to_string(),
            memory_type: memory_type.clone(),
            size: *size,
            owner: owner.to_string(),
            mapping: mapping.to_string(),
            direction: direction.to_string(),
            mappings: (*mappings).into(),
            exports: (*exports).into(),
            lent: Some(lent.clone()),
        }
    }
}

impl Facts {
    /// From the lines of a handle's fdinfo.
    fn from_fdinfo(lines: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| lines.get(key).cloned();
        let number = |key: &str| lines.get(key)?.parse().ok();
        Some(Self {
            kind: text("kind")?,
            policy: text("policy")?,
            memory_type: text("memory-type")?,
            size: number("size")?,
            owner: text("owner")?,
            mapping: text("mapping")?,
            direction: text("direction")?,
            mappings: number("mappings")?,
            exports: number("exports")?,
            lent: None,
        })
    }
}

/// Whether a node went after it was listed.
fn is_gone(error: &Error) -> bool {
    matches!(
        error.errno(),
        Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV)
    )
}

/// The name in debugfs of the buffer that has a node.
fn name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    Some(match name.strip_prefix("shmbuf-") {
        Some(name) => name.into(),
        None => "default".into(),
    })
}

/// What a buffer counted in so many seconds.
fn rates(name: &str, before: &Counters, now: &Counters, seconds: f64) -> Rates {
    let rate = |counter: &str| {
        let count = |counters: &Counters| {
            let (_, count) = counters.get(name)?.iter().find(|(it, _)| it == counter)?;
            Some(*count)
        };
        // Fewer than before: another buffer has taken the name.
        let counted = count(now)?.checked_sub(count(before)?)?;
        Some((counted as f64 / seconds).round() as u64)
    };
    Rates {
        read: rate("bytes read"),
        written: rate("bytes written"),
        syncs: rate("syncs"),
        copied: rate("bytes copied"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::info::tests::example, counters::tests::counters, processes::Use};

    #[test]
    fn rates_are_by_second() {
        let before = counters("maps: 3\nsyncs: 7\nbytes read: 100\n");
        let now = counters("maps: 3\nsyncs: 9\nbytes read: 50\n");
        let expected = Rates {
            read: None,
            written: None,
            syncs: Some(4),
            copied: None,
        };
        assert_eq!(rates("default", &before, &now, 0.5), expected);
        assert_eq!(rates("other", &before, &now, 0.5), Rates::default());
    }

    #[test]
    fn facts_are_the_same_from_the_node_and_from_fdinfo() {
        let lent = [0..32, 64..96];
        let node = Node {
            path: "/dev/shmbuf-frame".into(),
            info: example(),
            lent: lent.clone().into(),
        };
        let lines = [
            ("pos", "0"),
            ("kind", "streaming"),
            ("policy", "writeback"),
            ("memory-type", "Normal, write-back"),
            ("size", "1048576"),
            ("owner", "cpu"),
            ("mapping", "strict"),
            ("direction", "to-device"),
            ("mappings", "2"),
            ("exports", "1"),
        ];
        let lines = lines.map(|(key, value)| (key.to_string(), value.to_string()));
        let facts = Facts::from_fdinfo(&lines.into()).unwrap();
        assert_eq!(
            Facts {
                lent: Some(lent.into()),
                ..facts
            },
            Facts::from(&node)
        );
        assert_eq!(Facts::from_fdinfo(&BTreeMap::new()), None);
    }

    #[test]
    fn every_buffer_has_a_row() {
        let mut now = Sample {
            at: Instant::now(),
            nodes: vec![("default".into(), None), ("frame".into(), None)],
            counters: Counters::new(),
            found: Found::default(),
            missing: vec!["something".into()],
        };
        let user = Use {
            program: "capture".into(),
            mappings: 1,
            ..Use::default()
        };
        let users = Processes::from([(7, user)]);
        for name in ["frame", "gone (deleted)", "private"] {
            now.found.users.insert(name.into(), users.clone());
        }
        let handle = processes::Handle {
            process: 7,
            descriptor: 3,
            fdinfo: BTreeMap::new(),
        };
        now.found.private.push((handle, users.clone()));
        let shown = now.since(None);
        let rows: Vec<_> = shown
            .rows
            .iter()
            .map(|row| (row.name.as_str(), row.users.len()))
            .collect();
        let expected = [
            ("default", 0),
            ("frame", 1),
            ("7/fd/3", 1),
            ("gone (deleted)", 1),
            ("private", 1),
        ];
        assert_eq!(rows, expected);
        assert_eq!(shown.missing, ["something"]);
    }

    #[test]
    fn names_are_those_of_debugfs() {
        for (path, expected) in [("/dev/shmbuf", "default"), ("/dev/shmbuf-a-b", "a-b")] {
            assert_eq!(name(Path::new(path)).as_deref(), Some(expected));
        }
    }
}
