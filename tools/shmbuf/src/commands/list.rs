// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf list`: lists the buffers that have a node.

use std::process::ExitCode;

use anyhow::{ensure, Result};
use clap::Args;
use comfy_table::{presets, CellAlignment, Table};
use serde_json::Value;

use super::info;
use crate::{
    nodes::{self, Node},
    size,
};

/// List the buffers that have a node: /dev/shmbuf and /dev/shmbuf-*
///
/// The exit status is 2 if one of them cannot be opened.
#[derive(Args)]
pub struct Options {
    /// As JSON: an object for each, with its node and what info says
    #[arg(long)]
    json: bool,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let paths = nodes::paths()?;
        ensure!(!paths.is_empty(), nodes::NONE);
        let mut nodes = Vec::new();
        let mut code = ExitCode::SUCCESS;
        for path in paths {
            match Node::read(&path) {
                Ok(node) => nodes.push(node),
                Err(error) => {
                    eprintln!("shmbuf: {}: {error}", path.display());
                    code = ExitCode::from(2);
                }
            }
        }
        if self.json {
            println!("{:#}", as_json(&nodes));
        } else if !nodes.is_empty() {
            println!("{}", table(&nodes));
        }
        Ok(code)
    }
}

fn as_json(nodes: &[Node]) -> Value {
    let object = |node: &Node| {
        let mut object = info::as_json(&node.info, &node.lent);
        object["node"] = node.path.display().to_string().into();
        object
    };
    nodes.iter().map(object).collect()
}

/// In 80 columns with names of up to 13 letters; info has the memory type.
fn table(nodes: &[Node]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["NODE", "KIND", "POLICY", "SIZE", "OWNER", "MAPS", "EXPORTS"]);
    for Node { path, info, .. } in nodes {
        table.add_row([
            path.display().to_string(),
            info.kind.to_string(),
            info.policy.to_string(),
            size::show(info.size),
            info.owner.to_string(),
            info.mappings.to_string(),
            info.exports.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if [3, 5, 6].contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::info::tests::example;
    use shmbuf::{Info, Kind, Owner, Policy};

    #[test]
    fn columns_are_aligned() {
        let small = Info {
            kind: Kind::Pool,
            size: 100,
            exports: 10,
            ..example()
        };
        let row = |path: &str, info| Node {
            path: path.into(),
            info,
            lent: Vec::new(),
        };
        let rows = [
            row("/dev/shmbuf", example()),
            row("/dev/shmbuf-frame", small),
        ];
        let expected = "\
NODE               KIND       POLICY     SIZE  OWNER  MAPS  EXPORTS
/dev/shmbuf        streaming  writeback    1M  cpu       2        1
/dev/shmbuf-frame  pool       writeback   100  cpu       2       10";
        assert_eq!(table(&rows), expected);
        let value = as_json(&rows);
        assert_eq!(value[1]["node"], "/dev/shmbuf-frame");
        assert_eq!(value[1]["size"], 100);
    }

    #[test]
    fn long_rows_have_80_columns() {
        let info = Info {
            kind: Kind::Streaming,
            policy: Policy::WriteCombine,
            size: 1023 << 20,
            owner: Owner::Device,
            ..example()
        };
        let path = format!("/dev/shmbuf-{}", "n".repeat(13)).into();
        let lent = Vec::new();
        let text = table(&[Node { path, info, lent }]);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
