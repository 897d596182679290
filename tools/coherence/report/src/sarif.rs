// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same as SARIF 2.1.0, which the services that run CI know.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use crate::run::{Complaint, Finding, Party, Run};

/// The log of a run.
pub fn log(run: &Run) -> Value {
    let of_checker = run.findings.iter().map(result);
    let of_kernel = run.complaints.iter().map(complaint);
    let results: Vec<_> = of_checker.chain(of_kernel).collect();
    let rules: BTreeSet<_> = results
        .iter()
        .filter_map(|result| result["ruleId"].as_str())
        .collect();
    let rules: Vec<_> = rules.iter().map(|id| json!({ "id": id })).collect();
    let ended = run
        .about
        .as_ref()
        .is_none_or(|about| about.status.is_some());
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "coherence-checker",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "invocations": [{ "executionSuccessful": ended && run.totals.is_some() }],
            "results": results,
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let locations: Vec<_> = finding
        .places()
        .into_iter()
        .map(|(role, place)| location(role, place))
        .collect();
    let mut result = json!({
        "ruleId": finding.hazard,
        "level": if finding.shown == "this-core" { "error" } else { "warning" },
        "message": { "text": finding.text },
        "occurrenceCount": finding.count,
        // The first is where it is; the others are shown beside it.
        "locations": locations.iter().take(1).collect::<Vec<_>>(),
        "relatedLocations": locations.iter().skip(1).collect::<Vec<_>>(),
    });
    if let Some(reason) = finding.known {
        result["suppressions"] = json!([{ "kind": "external", "justification": reason }]);
    }
    result
}

/// Where code is: the line that is inlined in no other, and its function.
fn location(role: &str, place: &Party) -> Value {
    let mut location = json!({
        "message": { "text": format!("{role} {}", place.text) },
        "logicalLocations": [{ "fullyQualifiedName": place.text, "kind": "function" }],
    });
    if let Some(line) = place.source.last() {
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri(&line.file) },
            "region": { "startLine": line.line.max(1) },
        });
    }
    location
}

fn complaint(complaint: &Complaint) -> Value {
    json!({
        "ruleId": format!("kernel/{}", complaint.kind),
        "level": "error",
        "message": { "text": complaint.text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": "kernel.log" },
            "region": { "startLine": complaint.line },
        } }],
    })
}

/// A path as a URI: what may not be there is percent-encoded.
fn uri(path: &str) -> String {
    let encoded: String = path
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    if path.starts_with('/') {
        format!("file://{encoded}")
    } else {
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::REPORT;

    #[test]
    fn results() {
        let log = log(&Run::parse(REPORT).unwrap());
        let run = &log["runs"][0];
        let results = run["results"].as_array().unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|it| {
                (
                    it["ruleId"].as_str().unwrap(),
                    it["level"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("owned-touch", "error"),
                ("stale-read", "error"),
                ("stale-read", "warning"),
                ("lost-write", "error"),
                ("kernel/DMA-API", "error"),
            ]
        );
        let at = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(at["artifactLocation"]["uri"], "src/lib.rs");
        assert_eq!(at["region"]["startLine"], 2);
        let suppressed = results.iter().filter(|it| it.get("suppressions").is_some());
        assert_eq!(suppressed.count(), 1);
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 4);
        assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    }

    #[test]
    fn paths() {
        assert_eq!(uri("/my drivers/x.c"), "file:///my%20drivers/x.c");
        assert_eq!(uri("drivers/x.c"), "drivers/x.c");
    }
}
