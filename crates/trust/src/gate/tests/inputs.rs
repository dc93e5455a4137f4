//! Inputs that must not be read, each beside the one that passes; and random documents, none of which may panic.

use proptest::prelude::*;
use seaworthy_core::json_strict::to_canonical;
use seaworthy_core::limits::GATE_INPUT_BYTES_MAX;
use serde_json::json;

use super::*;

fn text() -> String {
    String::from_utf8(to_canonical(&good_input())).unwrap()
}

#[test]
fn hostile_documents_are_refused() {
    let gate = tiny();
    assert!(decide(&gate, text().as_bytes()).pass, "the control passes");
    let big = format!("{}{}", text(), " ".repeat(GATE_INPUT_BYTES_MAX));
    let refused = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        text().replacen('{', "{\"quality\":0.1,", 1),
        text().replacen('{', "{\"qual\\u0069ty\":0.1,", 1),
        format!("{}{}", text(), text()),
        text().replace("0.75", "NaN"),
        text().replace("0.75", "Infinity"),
        text().replace("0.75", "1e400"),
        text().replace("0.75", "-1e400"),
        text().replace("0.75", "+0.75"),
        text().replace("0.75", "0.75,"),
        text().replace("true", &format!("{}true{}", "[".repeat(10_000), "]".repeat(10_000))),
        format!("\u{feff}{}", text()),
        big,
    ];
    for document in refused {
        let shown: String = document.chars().take(120).collect();
        let decision = decide(&gate, document.as_bytes());
        assert!(!decision.pass, "{shown}");
        assert!(["gate/input_refused", "gate/contract"].contains(&codes(&decision)[0]), "{shown}");
    }
    assert_eq!(codes(&decide(&gate, b"{\"quality\": \"\xff\"}")), ["gate/input_refused"]);
}

#[test]
fn a_doubled_key_passes_the_bare_engine_but_not_the_gate() {
    let doubled = text().replacen('{', "{\"quality\":0.1,", 1);
    let policy = format!("{RESULT}{CHECK}");
    let naive = bare(&policy, &doubled, "checks").to_json_str().unwrap();
    assert!(naive.contains("\"pass\": true") || naive.contains("\"pass\":true"), "the control: {naive}");
    assert_eq!(codes(&decide(&tiny(), doubled.as_bytes())), ["gate/input_refused"]);
}

#[test]
fn a_text_counts_as_large_in_the_bare_engine_but_not_in_the_gate() {
    let policy = format!("{RESULT}{CHECK}");
    let stringy = text().replace("0.75", "\"0.1\"");
    let naive = bare(&policy, &stringy, "checks").to_json_str().unwrap();
    assert!(naive.contains("\"pass\": true") || naive.contains("\"pass\":true"), "the control: {naive}");
    assert_eq!(codes(&decide(&tiny(), stringy.as_bytes())), ["gate/contract"]);
}

#[test]
fn evidence_about_another_artifact_is_refused() {
    let gate = tiny();
    let input = to_canonical(&good_input());
    assert!(gate.decide(&input, &Expectation::new(subject())).pass, "the control passes");
    let other = gate.decide(&input, &Expectation::new(Digest::of(b"another")));
    assert_eq!(codes(&other), ["gate/expectation"]);
}

#[test]
fn the_recorded_input_is_the_canonical_one() {
    let gate = tiny();
    let spaced = serde_json::to_string_pretty(&good_input()).unwrap();
    let (a, b) = (decide(&gate, spaced.as_bytes()), decide(&gate, text().as_bytes()));
    assert_eq!(a.input, b.input);
    assert_eq!(a.policy, gate.digest());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        (-1e6..1e6).prop_map(|n: f64| json!(n)),
        ".{0,8}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("(quality|label|subject|flags|.{0,4})", inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// What the tiny gate means, written a second time in the plainest way.
fn naive(input: &Value) -> bool {
    let Some(fields) = input.as_object() else {
        return false;
    };
    let flags = fields.get("flags").and_then(Value::as_array);
    fields.len() == 4
        && fields.get("quality").and_then(Value::as_f64).is_some_and(|q| (0.5..=1.0).contains(&q))
        && fields.get("label").and_then(Value::as_str).is_some_and(|l| l != "bad" && (1..=20).contains(&l.chars().count()))
        && fields.get("subject").and_then(Value::as_str) == Some(&subject().hex())
        && flags.is_some_and(|f| f.len() <= 3 && f.iter().all(Value::is_boolean))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn agrees_with_the_naive_model(
        key in prop::sample::select(vec!["quality", "label", "subject", "flags", "other", ""]),
        value in any_json(),
        quality in prop_oneof![Just(json!(0.5)), (0.0..1.0).prop_map(|n: f64| json!(n)), Just(json!(1)), Just(json!(0))],
    ) {
        thread_local!(static GATE: Gate = tiny());
        let mut input = good_input();
        input["quality"] = quality;
        if key.is_empty() {
            // the quality alone
        } else {
            input[key] = value;
        }
        let decision = GATE.with(|gate| decide(gate, &to_canonical(&input)));
        prop_assert_eq!(decision.pass, naive(&input), "{}", input);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        thread_local!(static GATE: Gate = tiny());
        prop_assert!(!GATE.with(|gate| decide(gate, &bytes).pass));
    }
}
