//! Ends of keys: what a rotated or revoked key signs afterwards is a fault, whoever holds it; what it signed before stays valid.
//!
//! Control of each: the same theft, judged by a trust file that knows no end of the key.

use std::path::PathBuf;

use crate::spine::run_id;
use crate::workspace::{Finished, Tiny, copy_folder};

/// Somebody with a copy of all of the user's keys and the trust file as they were.
struct Thief<'a> {
    tiny: &'a Tiny,
    config: PathBuf,
}

impl<'a> Thief<'a> {
    fn steals_from(tiny: &'a Tiny) -> Self {
        let config = tiny.base().join("stolen");
        copy_folder(&tiny.base().join("config"), &config);
        for (folder, mode) in [("keys", 0o700), ("", 0o700)] {
            use std::os::unix::fs::PermissionsExt as _;
            let dir = environment(&config).join(folder);
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { tiny, config }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.tiny.command(arguments);
        command.env("XDG_CONFIG_HOME", &self.config).env("XDG_STATE_HOME", self.tiny.base().join("stolen-state"));
        Finished::of(&command.output().unwrap())
    }

    /// Something new, signed by the stolen keys and by the log's.
    fn works(&self) -> Finished {
        let program = self.tiny.read("src/double.sh");
        self.tiny.write("src/double.sh", format!("{program}# stolen\n").as_bytes());
        assert_eq!(self.run(&["lock", "--update", "code:src/"]).code, 0);
        self.run(&["run", "workflow.yaml"])
    }

    fn trust(&self) -> String {
        environment(&self.config).join("trust.json").display().to_string()
    }
}

/// The one key folder below a configuration folder.
fn environment(config: &std::path::Path) -> PathBuf {
    let mut found = std::fs::read_dir(config.join("seaworthy")).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.is_dir()).unwrap().join("staging")
}

/// Digest of the present key of a role.
fn key_of(tiny: &Tiny, role: &str) -> String {
    let listed = tiny.ok(&["keys", "list"]).stdout;
    let line = listed.lines().find(|line| line.starts_with(role)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn what_a_stolen_key_signs_after_its_rotation_is_refused() {
    for role in ["runner", "user"] {
        let tiny = Tiny::new();
        tiny.ok(&["run", "workflow.yaml"]);
        let honest = format!("run:{}", run_id(&tiny));
        let thief = Thief::steals_from(&tiny);
        tiny.ok(&["keys", "rotate", role]);
        tiny.ok(&["verify", "log"]);
        tiny.ok(&["verify", &honest]);
        let theft = thief.works();
        assert_eq!(theft.code, 0, "{}", theft.stderr);

        let refused = tiny.refused(&["verify", "log"], 4, "verify/key-revoked");
        assert!(refused.stderr.contains("counts no more from leaf"), "{}", refused.stderr);
        // control: a trust file in which keys have no end believes all of it
        tiny.ok(&["verify", "log", "--trust", &thief.trust()]);
    }
}

#[test]
fn what_a_revoked_key_signs_is_refused_by_those_who_have_an_older_trust_file_too() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let honest = format!("run:{}", run_id(&tiny));
    let stolen = key_of(&tiny, "runner");
    tiny.refused(&["keys", "revoke", &stolen], 3, "keys/present");
    tiny.refused(&["keys", "revoke", "0123456789ab"], 2, "0 keys of the trust file");
    tiny.refused(&["keys", "revoke", "0"], 2, "at least 8 characters");
    let thief = Thief::steals_from(&tiny);
    tiny.ok(&["keys", "rotate", "runner"]);
    tiny.refused(&["keys", "revoke", &stolen, "--reason", "two\nlines"], 2, "cannot be recorded");
    tiny.ok(&["keys", "revoke", &stolen[..12], "--reason", "laptop stolen"]);
    assert_eq!(
        tiny.events_of("key.changed").iter().map(|event| event["change"].as_str().unwrap()).collect::<Vec<_>>(),
        ["rotated", "revoked"]
    );
    // what was signed before stays valid, for the old trust file as for the new
    for trust in [environment(&tiny.base().join("config")).join("trust.json").display().to_string(), thief.trust()] {
        tiny.ok(&["verify", "log", "--trust", &trust]);
        tiny.ok(&["verify", &honest, "--trust", &trust]);
    }
    let before = tiny.events().len();
    thief.works();
    assert!(tiny.events().len() > before, "the thief wrote nothing: no attack");
    let refused = tiny.refused(&["verify", "log", "--trust", &thief.trust()], 4, "verify/key-revoked");
    assert!(refused.stderr.contains("revoked"), "{}", refused.stderr);
    tiny.refused(&["verify", "log"], 4, "verify/key-revoked");
}

#[test]
fn a_revocation_may_reach_back_to_before_the_theft_was_seen() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let run = format!("run:{}", run_id(&tiny));
    let stolen = key_of(&tiny, "runner");
    tiny.ok(&["keys", "rotate", "runner"]);
    tiny.refused(&["keys", "revoke", &stolen, "--from", "99999"], 2, "does not exist yet");
    // control: rotated only, the run verifies
    tiny.ok(&["verify", &run]);
    tiny.ok(&["keys", "revoke", &stolen, "--from", "0", "--reason", "was public"]);
    tiny.refused(&["verify", &run], 4, "verify/key-revoked");
    // new work under the new key is good
    tiny.edit("src/double.sh", "echo doubled", "echo doubled again");
    tiny.edit("seaworthy.yaml", "purpose: tests", "purpose: again");
    tiny.ok(&["lock", "--update", "all"]);
}

#[test]
fn keys_are_not_changed_under_a_run_and_an_ended_key_is_not_used() {
    let tiny = crate::stop::sleepy();
    let mut child = tiny.spawn(&["run", "workflow.yaml"]);
    crate::stop::wait_for_start(&tiny, "double");
    tiny.refused(&["keys", "rotate", "runner"], 3, "keys/in-use");
    tiny.refused(&["keys", "revoke", &key_of(&tiny, "root")], 3, "keys/in-use");
    child.kill().unwrap();
    child.wait().unwrap();
    // control: when it is over, they are
    tiny.ok(&["keys", "rotate", "runner"]);
    tiny.ok(&["verify", "log"]);

    // stopped between the trust file and the key files, rotation leaves the old key in place: nothing is signed with it
    let trust = environment(&tiny.base().join("config")).join("trust.json");
    let text = std::fs::read_to_string(&trust).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let present = key_of(&tiny, "runner");
    for key in value["keys"].as_array_mut().unwrap() {
        if key["hint"] == present.as_str() {
            key["until"] = serde_json::json!(100_000);
        }
    }
    std::fs::write(&trust, value.to_string()).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 3, "keys/ended");
    tiny.refused(&["lock"], 3, "keys/ended");
    tiny.ok(&["keys", "rotate", "runner"]);
    tiny.ok(&["lock"]);
}
