// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf list`: lists the buffers that have a node.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};
use clap::Args;
use comfy_table::{presets, CellAlignment, Table};
use serde_json::Value;
use shmbuf::{Buffer, Info};

use super::info;
use crate::size;

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
        let nodes = nodes(Path::new("/dev")).context("/dev cannot be read: mount it")?;
        ensure!(
            !nodes.is_empty(),
            "there is no /dev/shmbuf: load the module (insmod shmbuf.ko)"
        );
        let mut rows = Vec::new();
        let mut code = ExitCode::SUCCESS;
        for path in nodes {
            let all = |buffer: Buffer| Ok((buffer.info()?, buffer.lent()?));
            match Buffer::open_read_only(&path).and_then(all) {
                Ok((info, lent)) => rows.push(Row { path, info, lent }),
                Err(error) => {
                    eprintln!("shmbuf: {}: {error}", path.display());
                    code = ExitCode::from(2);
                }
            }
        }
        if self.json {
            println!("{:#}", as_json(&rows));
        } else if !rows.is_empty() {
            println!("{}", table(&rows));
        }
        Ok(code)
    }
}

/// A buffer that has a node.
struct Row {
    path: PathBuf,
    info: Info,
    lent: Vec<Range<u64>>,
}

fn as_json(rows: &[Row]) -> Value {
    let object = |row: &Row| {
        let mut object = info::as_json(&row.info, &row.lent);
        object["node"] = row.path.display().to_string().into();
        object
    };
    rows.iter().map(object).collect()
}

/// The nodes of buffers in a folder, in the order of their names.
fn nodes(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "shmbuf" || name.as_encoded_bytes().starts_with(b"shmbuf-") {
            nodes.push(entry.path());
        }
    }
    nodes.sort();
    Ok(nodes)
}

/// In 80 columns with names of up to 13 letters; info has the memory type.
fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["NODE", "KIND", "POLICY", "SIZE", "OWNER", "MAPS", "EXPORTS"]);
    for Row { path, info, .. } in rows {
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
    use shmbuf::{Kind, Owner, Policy};

    #[test]
    fn nodes_are_found_by_name_and_sorted() {
        let folder = std::env::temp_dir().join(format!("shmbuf-list-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        for name in ["shmbuf-b", "shmbufx", "null", "shmbuf-a", "shmbuf"] {
            fs::File::create(folder.join(name)).unwrap();
        }
        let found = nodes(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["shmbuf", "shmbuf-a", "shmbuf-b"]);
    }

    #[test]
    fn columns_are_aligned() {
        let small = Info {
            kind: Kind::Pool,
            size: 100,
            exports: 10,
            ..example()
        };
        let row = |path: &str, info| Row {
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
        let text = table(&[Row { path, info, lent }]);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
