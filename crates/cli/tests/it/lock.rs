//! The lock: whatever a plan rests on is pinned, and a change is refused by name.

use crate::workspace::Tiny;

#[test]
fn an_unpinned_workspace_is_refused_outside_dev() {
    let tiny = Tiny::unlocked();
    tiny.ok(&["keys", "create"]);
    let refused = tiny.refused(&["run", "workflow.yaml"], 1, "lock/changed");
    for pin in ["source:ingest", "code:src/", "gate:data_schema_v2", "schema:ingest", "environment:host"] {
        assert!(refused.stderr.contains(pin), "`{pin}` is not named:\n{}", refused.stderr);
    }
    // control: pinned, it runs
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
}

#[test]
fn every_changed_pin_is_refused_by_name_and_moves_only_when_told() {
    let changes: [(&str, &str, &str, &str); 4] = [
        ("data/raw/numbers.csv", "0,100\n", "0,101\n", "source:ingest"),
        ("src/total.sh", "sum=0", "sum=2", "code:src/"),
        ("schemas/numbers.yaml", "1000", "2000", "schema:ingest"),
        ("seaworthy.yaml", "purpose: tests", "purpose: others", "settings"),
    ];
    for (file, from, to, pin) in changes {
        let tiny = Tiny::new();
        tiny.ok(&["run", "workflow.yaml"]);
        tiny.edit(file, from, to);
        tiny.refused(&["run", "workflow.yaml"], 1, pin);
        tiny.ok(&["lock"]);
        tiny.refused(&["run", "workflow.yaml"], 1, pin);
        tiny.ok(&["lock", "--update", pin]);
        tiny.ok(&["run", "workflow.yaml"]);
        assert!(tiny.events_of("lock.updated").iter().any(|event| event["pin"] == pin), "the move of `{pin}` is in the log");
    }
}

#[test]
fn a_pin_that_does_not_exist_cannot_be_moved() {
    let tiny = Tiny::new();
    tiny.refused(&["lock", "--update", "source:nothing"], 2, "no pin is called `source:nothing`");
}
