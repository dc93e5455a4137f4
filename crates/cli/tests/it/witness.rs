//! Witnesses end to end: a quorum that is not met, cosignatures published, and every line that must not be.
//!
//! in: two witnesses made here (Ed25519, `cosignature/v1`); out: what `log publish` takes and `verify` says.

use std::path::Path;
use std::process::Stdio;

use ed25519_dalek::{Signer as _, SigningKey};
use seaworthy_core::merkle::verify_consistency;
use seaworthy_core::note::{Checkpoint, KeyKind, NoteSignature, VerifierKey, cosignature_message, join_cosignature};
use serde_json::{Value, json};

use crate::workspace::Tiny;

const TIME_S: u64 = 1_790_000_000;

struct Witness {
    name: &'static str,
    key: SigningKey,
}

impl Witness {
    fn new(name: &'static str, seed: u8) -> Self {
        Self { name, key: SigningKey::from_bytes(&[seed; 32]) }
    }

    fn vkey(&self) -> VerifierKey {
        VerifierKey::new(self.name, KeyKind::Cosignature, self.key.verifying_key().to_bytes()).unwrap()
    }

    /// The signature line for a checkpoint note, as a witness answers it.
    fn cosign(&self, note: &str, time_s: u64) -> String {
        let (_, parsed) = Checkpoint::parse(note.as_bytes()).unwrap();
        let signature = self.key.sign(&cosignature_message(time_s, &parsed.text)).to_bytes();
        let line = NoteSignature { name: self.name.into(), key_id: self.vkey().key_id(), bytes: join_cosignature(time_s, &signature) };
        line.to_string()
    }
}

/// A finished run, and a trust file that demands both of two witnesses.
fn demanding() -> (Tiny, Witness, Witness) {
    let (one, two) = (Witness::new("w1.example/a", 1), Witness::new("w2.example/b", 2));
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    import(&tiny, &edited(&tiny, &[&one, &two], 2));
    (tiny, one, two)
}

fn edited(tiny: &Tiny, witnesses: &[&Witness], quorum: usize) -> Value {
    let mut trust: Value = serde_json::from_str(&tiny.ok(&["trust", "export"]).stdout).unwrap();
    trust["witnesses"] = witnesses.iter().map(|witness| json!({"name": witness.name, "vkey": witness.vkey().to_string()})).collect();
    trust["quorum"] = json!(quorum);
    trust
}

fn import(tiny: &Tiny, trust: &Value) {
    tiny.write("trust.json", trust.to_string().as_bytes());
    tiny.ok(&["trust", "import", "trust.json"]);
}

fn checkpoint(tiny: &Tiny) -> String {
    tiny.ok(&["log", "checkpoint"]).stdout
}

fn answer(tiny: &Tiny, text: &str) {
    tiny.write("answer", text.as_bytes());
}

#[test]
fn a_quorum_is_met_only_by_the_cosignatures_of_this_checkpoint() {
    let (tiny, one, two) = demanding();
    tiny.refused(&["verify", "log"], 4, "verify/witness-quorum");

    answer(&tiny, &one.cosign(&checkpoint(&tiny), TIME_S));
    let published = tiny.ok(&["log", "publish", "answer"]);
    assert!(published.stdout.contains("1 cosignatures, 2 demanded"), "{}", published.stdout);
    tiny.refused(&["verify", "log"], 4, "1 of the 2 cosignatures demanded");

    // the second one as a whole note, from standard input
    let note = checkpoint(&tiny);
    let whole = format!("{note}{}", two.cosign(&note, TIME_S + 5));
    answer(&tiny, &whole);
    let file = std::fs::File::open(tiny.dir.join("answer")).unwrap();
    let piped = tiny.command(&["log", "publish", "-"]).stdin(Stdio::from(file)).output().unwrap();
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    let verified = tiny.ok(&["verify", "log"]);
    for expected in [
        "assurance: L0 · signer: a process of its own (same user) · witnesses: 2",
        "witnessed by w1.example/a, w2.example/b",
        "witnessed at 2026-",
    ] {
        assert!(verified.stdout.contains(expected), "`{expected}` is missing:\n{}", verified.stdout);
    }
    answer(&tiny, &whole);
    tiny.ok(&["log", "publish", "answer"]);
    assert_eq!(checkpoint(&tiny), whole, "publishing again changes nothing");

    // a run under a quorum goes through, and leaves a checkpoint that nobody has cosigned
    tiny.edit("src/double.sh", "echo doubled", "echo doubled again");
    tiny.ok(&["lock", "--update", "code:src/"]);
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.refused(&["verify", "log"], 4, "0 of the 2 cosignatures demanded");
    assert_eq!(edited(&tiny, &[&one, &two], 2), serde_json::from_str::<Value>(&tiny.read("trust.json")).unwrap(), "the quorum stands");
    let note = checkpoint(&tiny);
    answer(&tiny, &format!("{}{}", one.cosign(&note, TIME_S + 9), two.cosign(&note, TIME_S + 9)));
    tiny.ok(&["log", "publish", "answer"]);
    assert!(tiny.ok(&["verify", "log"]).stdout.contains("assurance: L0 · signer: a process of its own (same user) · witnesses: 2"));
}

#[test]
fn a_line_that_proves_nothing_is_not_published() {
    let (tiny, one, two) = demanding();
    let earlier = checkpoint(&tiny);
    tiny.edit("src/double.sh", "echo doubled", "echo doubled again");
    tiny.ok(&["lock", "--update", "code:src/"]);
    let note = checkpoint(&tiny);
    assert_ne!(earlier, note);
    let honest = one.cosign(&note, TIME_S);
    let stranger = Witness::new("w3.example/c", 3).cosign(&note, TIME_S);
    let impostor = Witness::new("w1.example/a", 3).cosign(&note, TIME_S);
    let (_, mut parsed) = Checkpoint::parse(format!("{note}{honest}").as_bytes()).unwrap();
    let mut forged = parsed.signatures.pop().unwrap();
    forged.bytes[7] ^= 1;
    for (what, text, exit_code, code) in [
        ("of another checkpoint", one.cosign(&earlier, TIME_S), 4, "log/cosignature"),
        ("with another time than was signed", forged.to_string(), 4, "log/cosignature"),
        ("by an unknown witness", stranger, 3, "log/unknown-witness"),
        ("by an unknown key under a known name", impostor, 3, "log/unknown-witness"),
        ("an honest one and a forged one", format!("{}{forged}", two.cosign(&note, TIME_S)), 4, "log/cosignature"),
        ("a note of another checkpoint", format!("{earlier}{}", one.cosign(&earlier, TIME_S)), 2, "log/other-checkpoint"),
        ("a witness' 409", "12\n".to_owned(), 2, "log consistency --from 12"),
        ("nothing", String::new(), 2, "log/no-cosignature"),
    ] {
        answer(&tiny, &text);
        let refused = tiny.refused(&["log", "publish", "answer"], exit_code, code);
        assert!(refused.stderr.contains("hint: "), "{what}: {}", refused.stderr);
        assert_eq!(checkpoint(&tiny), note, "{what}: published all the same");
    }
    // the control: the honest line that the others were made from is taken
    answer(&tiny, &honest);
    tiny.ok(&["log", "publish", "answer"]);
    assert_eq!(checkpoint(&tiny), format!("{note}{honest}"));
    // and a later one of the same witness takes its place
    let later = one.cosign(&note, TIME_S + 60);
    answer(&tiny, &later);
    tiny.ok(&["log", "publish", "answer"]);
    assert_eq!(checkpoint(&tiny), format!("{note}{later}"));
}

#[test]
fn a_forged_cosignature_in_the_checkpoint_file_is_found() {
    let (tiny, one, _) = demanding();
    import(&tiny, &edited(&tiny, &[&one], 1));
    let note = checkpoint(&tiny);
    answer(&tiny, &one.cosign(&note, TIME_S));
    tiny.ok(&["log", "publish", "answer"]);
    tiny.ok(&["verify", "log"]);
    let copy = tiny.base().join("copy");
    copy_folder(&tiny.dir, &copy);
    std::fs::remove_file(copy.join(".seaworthy/staging/log/wal")).unwrap();
    let forged = Witness::new("w1.example/a", 1).cosign(&note, TIME_S + 1);
    let forged = forged.replace(&forged[forged.len() - 8..], &one.cosign(&note, TIME_S)[forged.len() - 8..]);
    std::fs::write(copy.join(".seaworthy/staging/log/checkpoint"), format!("{note}{forged}")).unwrap();
    let out = tiny.command_in(&copy, &["verify", "log"]).output().unwrap();
    assert_eq!(out.status.code(), Some(4));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("verify/checkpoint-signature"), "{said}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_witness_can_check_what_it_is_asked_to_cosign() {
    let tiny = Tiny::new();
    let (before, _) = Checkpoint::parse(checkpoint(&tiny).as_bytes()).unwrap();
    tiny.ok(&["run", "workflow.yaml"]);
    let note = checkpoint(&tiny);
    let (now, _) = Checkpoint::parse(note.as_bytes()).unwrap();
    assert_eq!(tiny.ok(&["log", "consistency", "--from", "0"]).stdout, format!("old 0\n\n{note}"));
    let size = now.size.to_string();
    assert_eq!(tiny.ok(&["log", "consistency", "--from", &size]).stdout, format!("old {size}\n\n{note}"));

    let request = tiny.ok(&["log", "consistency", "--from", &before.size.to_string()]).stdout;
    let (head, body) = request.split_once("\n\n").unwrap();
    assert_eq!(body, note);
    let mut lines = head.lines();
    assert_eq!(lines.next().unwrap(), format!("old {}", before.size));
    let digest = |line: &str| Checkpoint::from_text(&format!("o\n1\n{line}\n")).unwrap().root;
    let proof: Vec<_> = lines.map(digest).collect();
    verify_consistency(before.size, &before.root, now.size, &now.root, &proof).unwrap();
    // the control: the proof is of this log and no other
    assert!(verify_consistency(before.size, &now.root, now.size, &now.root, &proof).is_err());

    tiny.refused(&["log", "consistency", "--from", &(now.size + 1).to_string()], 2, "log/shorter");
}

#[test]
fn only_a_trust_file_of_this_log_is_imported() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    let (one, two) = (Witness::new("w1.example/a", 1), Witness::new("w2.example/b", 2));
    let good = edited(&tiny, &[&one, &two], 2);
    let present = tiny.ok(&["trust", "export"]).stdout;
    let with = |path: &str, value: Value| {
        let mut trust = good.clone();
        *trust.pointer_mut(path).unwrap() = value;
        trust
    };
    let other_log = VerifierKey::new(good["log"]["origin"].as_str().unwrap(), KeyKind::Ed25519, *one.vkey().public()).unwrap();
    for (trust, code) in [
        (with("/quorum", json!(3)), "trust/quorum"),
        (with("/workspace", json!("00000000-0000-4000-8000-000000000000")), "trust/other-workspace"),
        (with("/log/vkey", json!(other_log.to_string())), "trust/other-log"),
        (with("/witnesses/1", good["witnesses"][0].clone()), "trust/duplicate"),
        (json!({}), "trust/malformed"),
    ] {
        tiny.write("trust.json", trust.to_string().as_bytes());
        tiny.refused(&["trust", "import", "trust.json"], 3, code);
        assert_eq!(tiny.ok(&["trust", "export"]).stdout, present, "{code}: imported all the same");
    }
    import(&tiny, &good);
    assert_eq!(serde_json::from_str::<Value>(&tiny.ok(&["trust", "export"]).stdout).unwrap(), good);
    let copy: Value = serde_json::from_slice(&std::fs::read(tiny.state().join("trust.json")).unwrap()).unwrap();
    assert_eq!(copy, good, "the workspace's copy follows");
}
