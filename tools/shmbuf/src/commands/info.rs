// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shmbuf info`: says what a buffer is and what is in force.

use std::{ops::Range, process::ExitCode};

use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};
use shmbuf::{Info, Policy};

use crate::{buffer::BufferArgument, size};

/// Say what a buffer is and what is in force
///
/// Its addresses are shown to those who have the capability CAP_SYS_RAWIO.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    buffer: BufferArgument,
    /// As JSON, with sizes in bytes
    #[arg(long)]
    json: bool,
}

impl Options {
    pub fn run(self) -> Result<ExitCode> {
        let buffer = self.buffer.open_read_only()?;
        let (info, lent) = (buffer.info()?, buffer.lent()?);
        if self.json {
            println!("{:#}", as_json(&info, &lent));
        } else {
            print!("{}", as_text(&info, &lent));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn as_text(info: &Info, lent: &[Range<u64>]) -> String {
    let policy = info.known_policy().map_or("the exporter's", Policy::name);
    let Info {
        kind,
        policy: _,
        policies,
        size,
        phys_addr,
        dma_addr,
        aliased,
        snoops,
        owner,
        cache_line,
        mappings,
        memory_type,
        mapping,
        direction,
        exports,
        access_width,
        name,
        engine,
    } = info;
    let mut lines = Vec::new();
    let mut line = |what: &str, value: String| lines.push(format!("{what:<17} {value}\n"));
    if let Some(name) = name {
        line("name:", name.clone());
    }
    line("kind:", kind.to_string());
    line("policy:", policy.to_string());
    line("memory type:", memory_type.clone());
    line("policies:", policies.to_string());
    line("size:", shown_size(*size));
    line("mapping:", mapping.to_string());
    line("direction:", direction.to_string());
    line("owner:", owner.to_string());
    for range in lent {
        line("lent:", format!("{:#x} to {:#x}", range.start, range.end));
    }
    line("cache line:", format!("{cache_line} bytes"));
    line("access width:", format!("{access_width} bytes"));
    line("mappings:", mappings.to_string());
    line("exports:", exports.to_string());
    line("aliased:", aliased.to_string());
    let hidden = || "hidden: the capability CAP_SYS_RAWIO is needed".into();
    let address = phys_addr.map(|address| format!("{address:#x}"));
    line("physical address:", address.unwrap_or_else(hidden));
    if let Some(dma) = dma_addr {
        let snoops = if *snoops {
            ", which snoops the CPU's caches"
        } else {
            ""
        };
        let address = format!("{:#x} for {}{snoops}", dma.address, dma.device);
        line("dma address:", address);
    }
    if let Some(engine) = engine {
        line("engine:", engine.clone());
    }
    lines.concat()
}

/// A size as people write it, and in bytes.
fn shown_size(bytes: u64) -> String {
    match size::show(bytes) {
        short if short == bytes.to_string() => format!("{bytes} bytes"),
        short => format!("{short} ({bytes} bytes)"),
    }
}

/// What info says, as JSON.
pub fn as_json(info: &Info, lent: &[Range<u64>]) -> Value {
    let dma_addr = info.dma_addr.as_ref();
    let policies = info.policies.iter().map(Policy::name);
    json!({
        "name": info.name,
        "kind": info.kind.name(),
        "policy": info.known_policy().map(Policy::name),
        "memory_type": info.memory_type,
        "policies": policies.collect::<Vec<_>>(),
        "size": info.size,
        "mapping": info.mapping.name(),
        "direction": info.direction.name(),
        "owner": info.owner.name(),
        "lent": lent.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
        "cache_line": info.cache_line,
        "access_width": info.access_width,
        "mappings": info.mappings,
        "exports": info.exports,
        "aliased": info.aliased,
        "snoops": info.snoops,
        "phys_addr": info.phys_addr,
        "dma_addr": dma_addr.map(|dma| dma.address),
        "dma_device": dma_addr.map(|dma| &dma.device),
        "engine": info.engine,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use shmbuf::{Direction, DmaAddress, Kind, MappingKind, Owner};

    /// What a streaming buffer may look like.
    pub fn example() -> Info {
        Info {
            kind: Kind::Streaming,
            policy: Policy::WriteBack,
            policies: [Policy::WriteBack].into_iter().collect(),
            size: 1 << 20,
            phys_addr: Some(0x6000_0000),
            dma_addr: Some(DmaAddress {
                device: "shmbuf".into(),
                address: 0xfff0_0000_0000_1000,
            }),
            aliased: false,
            snoops: false,
            owner: Owner::Cpu,
            cache_line: 32,
            mappings: 2,
            memory_type: "Normal, write-back".into(),
            mapping: MappingKind::Strict,
            direction: Direction::ToDevice,
            exports: 1,
            access_width: 1,
            name: Some("frame".into()),
            engine: Some("dma-controller".into()),
        }
    }

    #[test]
    fn the_text_has_all_of_it() {
        let expected = "\
name:             frame
kind:             streaming
policy:           writeback
memory type:      Normal, write-back
policies:         writeback
size:             1M (1048576 bytes)
mapping:          strict
direction:        to-device
owner:            device
lent:             0x0 to 0x1000
lent:             0x8000 to 0x80020
cache line:       32 bytes
access width:     1 bytes
mappings:         2
exports:          1
aliased:          false
physical address: 0x60000000
dma address:      0xfff0000000001000 for shmbuf
engine:           dma-controller
";
        let lent = [0..0x1000, 0x8000..0x8_0020];
        let info = Info {
            owner: Owner::Device,
            ..example()
        };
        assert_eq!(as_text(&info, &lent), expected);
    }

    #[test]
    fn the_policy_of_what_is_imported_is_the_exporters() {
        let info = Info {
            kind: Kind::Imported,
            policies: [].into_iter().collect(),
            ..example()
        };
        let text = as_text(&info, &[]);
        assert!(
            text.contains("\npolicy:           the exporter's\n"),
            "{text}"
        );
        assert_eq!(as_json(&info, &[])["policy"], Value::Null);
        assert_eq!(as_json(&example(), &[])["policy"], "writeback");
    }

    #[test]
    fn what_is_hidden_is_said() {
        let info = Info {
            phys_addr: None,
            size: 100,
            ..example()
        };
        let text = as_text(&info, &[]);
        assert!(text.contains("physical address: hidden"), "{text}");
        assert!(text.contains("size:             100 bytes\n"), "{text}");
    }

    #[test]
    fn json_has_what_is_not_given_as_null() {
        let info = Info {
            phys_addr: None,
            dma_addr: None,
            name: None,
            engine: None,
            ..example()
        };
        let value = as_json(&info, &[]);
        for key in ["name", "phys_addr", "dma_addr", "dma_device", "engine"] {
            assert_eq!(value.get(key), Some(&Value::Null), "{key}");
        }
        let value = as_json(&example(), &[0..32, 64..96]);
        assert_eq!(value["dma_addr"], 0xfff0_0000_0000_1000_u64);
        assert_eq!(value["policies"], json!(["writeback"]));
        assert_eq!(value["lent"], json!([[0, 32], [64, 96]]));
        // As many as the structure has, where the DMA address has two parts.
        assert_eq!(value.as_object().unwrap().len(), 20);
    }
}
