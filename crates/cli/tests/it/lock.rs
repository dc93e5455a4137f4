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

/// State and digest of a pin in `plan --json`.
fn planned(tiny: &Tiny, pin: &str) -> serde_json::Value {
    let plan: serde_json::Value = serde_json::from_str(&tiny.ok(&["plan", "workflow.yaml", "--json"]).stdout).unwrap();
    let pins = plan["pins"].as_array().unwrap().clone();
    pins.into_iter().find(|found| found["name"] == pin).unwrap_or_else(|| panic!("no pin `{pin}` in {plan}"))
}

#[test]
fn a_plan_shows_every_pin_with_its_state() {
    let tiny = Tiny::unlocked();
    assert_eq!(planned(&tiny, "code:src/")["state"], "unpinned", "a plan needs neither keys nor state");
    assert!(!tiny.dir.join(".seaworthy").exists(), "and writes nothing");
    tiny.ok(&["keys", "create"]);
    tiny.write("policies/authz/more.cedar", b"forbid (principal, action, resource) when { false };\n");
    assert_eq!(planned(&tiny, "authz")["state"], "unpinned");
    tiny.ok(&["lock"]);
    for pin in [
        "authz",
        "code:src/",
        "environment:host",
        "gate:data_schema_v2",
        "schema:ingest",
        "settings",
        "source:ingest",
        "workflow:workflow.yaml",
    ] {
        assert_eq!(planned(&tiny, pin)["state"], "pinned", "{pin}");
    }
    // each changed alone
    for (file, pin) in [
        ("policies/authz/more.cedar", "authz"),
        ("src/total.sh", "code:src/"),
        ("schemas/numbers.yaml", "schema:ingest"),
        ("data/raw/numbers.csv", "source:ingest"),
    ] {
        let before = tiny.read(file);
        tiny.write(file, format!("{before}\n").as_bytes());
        assert_eq!(planned(&tiny, pin)["state"], "changed", "{pin}");
        assert!(tiny.ok(&["plan", "workflow.yaml"]).stdout.lines().any(|line| line.contains(pin) && line.contains("changed, now ")));
        tiny.refused(&["run", "workflow.yaml"], 1, pin);
        tiny.write(file, before.as_bytes());
    }
    // policies that are gone are a change too, and what cannot be hashed says why
    std::fs::remove_dir_all(tiny.dir.join("policies/authz")).unwrap();
    assert_eq!(planned(&tiny, "authz")["state"], "changed");
    std::fs::remove_dir_all(tiny.dir.join("data")).unwrap();
    assert!(planned(&tiny, "source:ingest")["note"].as_str().unwrap().contains("cannot be read"));
}

/// The attack: remove a pin's line, change what it pinned, wait for the next `seaworthy lock`.
#[test]
fn a_pin_whose_line_was_removed_is_not_moved_without_being_named() {
    for pin in ["source:ingest", "code:src/", "gate:data_schema_v2", "schema:ingest", "settings"] {
        let tiny = Tiny::new();
        let earlier = remove(&tiny, pin);
        let lock = tiny.read("seaworthy.lock");
        let refused = tiny.refused(&["lock"], 1, "lock/removed");
        assert!(refused.stderr.contains(&earlier), "the earlier digest is named:\n{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("seaworthy lock --update {pin}")), "{}", refused.stderr);
        assert_eq!(tiny.read("seaworthy.lock"), lock, "nothing was pinned");
        // another name does not cover it, its own does
        if pin != "settings" {
            tiny.refused(&["lock", "--update", "settings"], 1, "lock/removed");
        }
        tiny.ok(&["lock", "--update", pin]);
        let moved = tiny.events_of("lock.updated").pop().unwrap();
        assert_eq!((&moved["pin"], moved.get("before")), (&serde_json::json!(pin), None));
        tiny.ok(&["run", "workflow.yaml"]);
    }
}

/// A pin that came with the lock file of somebody else has no `lock.updated` leaf here; the run that used it knows it.
#[test]
fn a_pin_that_only_a_run_used_is_known_too() {
    let (tiny, other) = (Tiny::unlocked(), Tiny::new());
    tiny.ok(&["keys", "create"]);
    tiny.edit("workflow.yaml", "data_provenance: enforce", "logging: enabled");
    other.edit("workflow.yaml", "data_provenance: enforce", "logging: enabled");
    other.ok(&["lock", "--update", "all"]);
    tiny.write("seaworthy.lock", other.read("seaworthy.lock").as_bytes());
    // control: no leaf of this log and no run knows the pin yet, so it is a missing one like any other
    let honest = tiny.read("seaworthy.lock");
    remove(&tiny, "code:src/");
    tiny.ok(&["lock"]);
    tiny.write("seaworthy.lock", honest.as_bytes());

    tiny.ok(&["run", "workflow.yaml"]);
    let earlier = remove(&tiny, "source:ingest");
    let refused = tiny.refused(&["lock"], 1, "lock/removed");
    assert!(refused.stderr.contains(&earlier), "{}", refused.stderr);
}

/// Takes a line out of the lock; returns the digest that was there.
fn remove(tiny: &Tiny, pin: &str) -> String {
    let mut lock: serde_json::Value = serde_json::from_str(&tiny.read("seaworthy.lock")).unwrap();
    let old = lock["pins"].as_object_mut().unwrap().remove(pin).unwrap();
    tiny.write("seaworthy.lock", format!("{lock:#}\n").as_bytes());
    old["digest"].as_str().unwrap().to_owned()
}
