//! Trees: the chain of evidence, lineage.

use seaworthy_store::artifacts::StoreFault;
use seaworthy_store::lineage::LineageNode;
use seaworthy_trust::attest::chain::Status;
use seaworthy_trust::attest::{ChainReport, Evidence};

use crate::render;
use crate::settings::Settings;

/// The chain of a report, one line of evidence each, then what is wrong.
pub(crate) fn chain(report: &ChainReport, local: &[StoreFault]) {
    evidence(&report.evidence, "", "");
    if let Some(as_of) = &report.as_of {
        let witnessed =
            if as_of.witnesses.is_empty() { "no witnesses".to_owned() } else { format!("witnessed by {}", as_of.witnesses.join(", ")) };
        render::line(&format!("state as of checkpoint {} of {}, {witnessed}", as_of.size, as_of.origin));
    }
    render::line(&format!(
        "assurance: {:?} · trust: {} · freshness: {} · revocation: {}",
        report.assurance, report.trust, report.freshness, report.revocation
    ));
    render::line(&format!(
        "{} leaves, {} statements, {} blobs ({} bytes) verified",
        report.leaves, report.statements, report.blobs, report.bytes
    ));
    for fault in &report.faults {
        render::note(&format!("error[{}]: {}\n  hint: {}", fault.code, fault.message, fault.hint));
    }
    for fault in local {
        render::note(&format!("error[verify/state]: `{}`: {}\n  hint: restore the file from a copy", fault.path, fault.message));
    }
    let good = report.ok && local.is_empty();
    render::line(if good { "verified" } else { "NOT VERIFIED" });
}

fn evidence(line: &Evidence, indent: &str, branch: &str) {
    let mark = match line.status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    let leaf = line.leaf.map(|leaf| format!(" [leaf {leaf}]")).unwrap_or_default();
    render::line(&render::clean(&format!("{mark} {indent}{branch}{}: {}{leaf}", line.label, line.detail)));
    let below = match branch {
        "├─ " => format!("{indent}│  "),
        "└─ " => format!("{indent}   "),
        _ => indent.to_owned(),
    };
    let last = line.children.len().saturating_sub(1);
    for (place, child) in line.children.iter().enumerate() {
        evidence(child, &below, if place == last { "└─ " } else { "├─ " });
    }
}

/// What something was made from, and what was made from it.
pub(crate) fn lineage(settings: &Settings, ancestors: &LineageNode, descendants: &LineageNode) {
    if settings.json {
        render::json(&serde_json::json!({"ancestors": ancestors, "descendants": descendants}));
        return;
    }
    render::line("made from");
    node(ancestors, "", "");
    render::line("led to");
    node(descendants, "", "");
}

fn node(at: &LineageNode, indent: &str, branch: &str) {
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
    render::line(&render::clean(&format!("{indent}{branch}{relation}{id} {}{leaf}{again}", at.label)));
    let below = match branch {
        "├─ " => format!("{indent}│  "),
        "└─ " => format!("{indent}   "),
        _ => indent.to_owned(),
    };
    let last = at.children.len().saturating_sub(1);
    for (place, child) in at.children.iter().enumerate() {
        node(child, &below, if place == last { "└─ " } else { "├─ " });
    }
}
