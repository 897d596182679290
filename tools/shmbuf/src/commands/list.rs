// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf list`: lists the buffers that have a node.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};
use clap::Args;
use comfy_table::{presets, CellAlignment, Table};
use shmbuf::{Buffer, Info};

use crate::size;

/// List the buffers that have a node: /dev/shmbuf and /dev/shmbuf-*
#[derive(Args)]
pub struct Options {}

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
            match Buffer::open_read_only(&path).and_then(|buffer| buffer.info()) {
                Ok(info) => rows.push((path, info)),
                Err(error) => {
                    eprintln!("shmbuf: {}: {error}", path.display());
                    code = ExitCode::from(2);
                }
            }
        }
        if !rows.is_empty() {
            println!("{}", table(&rows));
        }
        Ok(code)
    }
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

fn table(rows: &[(PathBuf, Info)]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "NODE", "KIND", "POLICY", "TYPE", "SIZE", "OWNER", "MAPPINGS", "EXPORTS",
    ]);
    for (path, info) in rows {
        table.add_row([
            path.display().to_string(),
            info.kind.to_string(),
            info.policy.to_string(),
            info.memory_type.clone(),
            size::show(info.size),
            info.owner.to_string(),
            info.mappings.to_string(),
            info.exports.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if [4, 6, 7].contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::info::tests::example;
    use shmbuf::Kind;

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
        let rows = [
            ("/dev/shmbuf".into(), example()),
            ("/dev/shmbuf-frame".into(), small),
        ];
        let expected = "\
NODE               KIND       POLICY     TYPE                SIZE  OWNER  MAPPINGS  EXPORTS
/dev/shmbuf        streaming  writeback  Normal, write-back    1M  cpu           2        1
/dev/shmbuf-frame  pool       writeback  Normal, write-back   100  cpu           2       10";
        assert_eq!(table(&rows), expected);
    }
}
