//! Trees: the chain of evidence, lineage.

use std::collections::BTreeMap;

use seaworthy_store::artifacts::StoreFault;
use seaworthy_store::lineage::LineageNode;
use seaworthy_trust::attest::chain::Status;
use seaworthy_trust::attest::{ChainReport, Evidence};

use crate::names::Names;
use crate::render;
use crate::settings::Settings;

/// What is wrong, first and once; then the chain of a report, one line of evidence each.
pub(crate) fn chain(settings: &Settings, report: &ChainReport, local: &[StoreFault]) {
    let names = Names::of(settings);
    for fault in &report.faults {
        render::note(&names.spell(&format!("error[{}]: {}\n  hint: {}", fault.code, fault.message, fault.hint)));
    }
    for fault in local {
        render::note(&format!("error[verify/state]: `{}`: {}\n  hint: restore the file from a copy", fault.path, fault.message));
    }
    let told: BTreeMap<String, &str> =
        report.faults.iter().map(|fault| (format!("{} ({})", fault.message, fault.code), fault.code)).collect();
    let tree = Tree { names: &names, told: &told };
    tree.evidence(&state_of(report, local), "", "");
    if let Some(as_of) = &report.as_of {
        let witnessed =
            if as_of.witnesses.is_empty() { "no witnesses".to_owned() } else { format!("witnessed by {}", as_of.witnesses.join(", ")) };
        render::line(&format!("state as of checkpoint {} of {}, {witnessed}", as_of.size, as_of.origin));
    }
    render::line(&format!(
        "assurance: {:?} · signer: {} · witnesses: {} · trust: {} · freshness: {} · revocation: {}",
        report.assurance,
        report.signer,
        report.as_of.as_ref().map_or(0, |as_of| as_of.witnesses.len()),
        report.trust,
        report.freshness,
        report.revocation
    ));
    render::line(&format!(
        "{} leaves, {} statements, {} blobs ({} bytes) verified",
        report.leaves, report.statements, report.blobs, report.bytes
    ));
    let good = report.ok && local.is_empty();
    render::line(if good { "verified" } else { "NOT VERIFIED" });
}

/// The tree of a report; faults of the state folder make its first line fail, and stand below it as one line.
fn state_of(report: &ChainReport, local: &[StoreFault]) -> Evidence {
    if local.is_empty() {
        return report.evidence.clone();
    }
    let files = if local.len() == 1 { "file" } else { "files" };
    let line = Evidence { status: Status::Fail, detail: "not verified".to_owned(), ..report.evidence.clone() };
    let state = Evidence {
        status: Status::Fail,
        label: "state".to_owned(),
        detail: format!("{} {files} told above [verify/state]", local.len()),
        leaf: None,
        digest: None,
        children: Vec::new(),
    };
    Evidence { children: line.children.iter().cloned().chain([state]).collect(), ..line }
}

/// Evidence as lines. A fault that was told already is a line with its code.
struct Tree<'a> {
    names: &'a Names,
    told: &'a BTreeMap<String, &'a str>,
}

impl Tree<'_> {
    fn evidence(&self, line: &Evidence, indent: &str, branch: &str) {
        let mark = match line.status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        let leaf = line.leaf.map(|leaf| format!(" [leaf {leaf}]")).unwrap_or_default();
        let detail = self.told.get(&line.detail).map_or_else(|| line.detail.clone(), |code| format!("told above [{code}]"));
        render::line(&self.names.spell(&format!("{mark} {indent}{branch}{}: {detail}{leaf}", line.label)));
        let below = match branch {
            "├─ " => format!("{indent}│  "),
            "└─ " => format!("{indent}   "),
            _ => indent.to_owned(),
        };
        let last = line.children.len().saturating_sub(1);
        for (place, child) in line.children.iter().enumerate() {
            self.evidence(child, &below, if place == last { "└─ " } else { "├─ " });
        }
    }
}

/// What something was made from, and what was made from it.
pub(crate) fn lineage(settings: &Settings, ancestors: &LineageNode, descendants: &LineageNode) {
    if settings.json {
        render::json(&serde_json::json!({"ancestors": ancestors, "descendants": descendants}));
        return;
    }
    let names = Names::of(settings);
    render::line("made from");
    node(&names, ancestors, "", "");
    render::line("led to");
    node(&names, descendants, "", "");
}

fn node(names: &Names, at: &LineageNode, indent: &str, branch: &str) {
    let relation = if at.relation.is_empty() { String::new() } else { format!("{} ", at.relation) };
    let leaf = at.index.map(|leaf| format!(" [leaf {leaf}]")).unwrap_or_default();
    let again = if at.repeated {
        " (see above)"
    } else if at.cut {
        " (cut)"
    } else {
        ""
    };
    let id: String = if at.kind == "artifact" { at.id.chars().take("artifact:".len() + 12).collect() } else { at.id.clone() };
    render::line(&names.spell(&format!("{indent}{branch}{relation}{id} {}{leaf}{again}", at.label)));
    let below = match branch {
        "├─ " => format!("{indent}│  "),
        "└─ " => format!("{indent}   "),
        _ => indent.to_owned(),
    };
    let last = at.children.len().saturating_sub(1);
    for (place, child) in at.children.iter().enumerate() {
        node(names, child, &below, if place == last { "└─ " } else { "├─ " });
    }
}
