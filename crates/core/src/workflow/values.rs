//! Typed reading of YAML nodes: each function takes a node and yields a value, or a fault at the node's place.
//!
//! in: [`Node`]s; out: texts, names, lists, references.
//! **Invariant:** `None` means that a fault was pushed; nothing is converted silently (a number is not text, `yes` is not `true`).

use super::diagnostics::{Fault, did_you_mean, quoted};
use super::keys::RETRY_KEYS;
use super::model::OutputName;
use super::retry::{Retries, RetryCause};
use super::units;
use super::yaml::{Key, Node, Plain, Value, resolve};
use crate::egress::Destination;
use crate::id::Name;
use crate::limits::{DIAGNOSTICS_MAX, EGRESS_HOSTS_MAX, SECRETS_MAX};
use crate::secret::SecretRef;

/// Where faults go.
pub(super) type Faults = Vec<Fault>;

fn wrong_type(node: &Node, what: &str, wanted: &str, hint: &str, faults: &mut Faults) {
    let message = format!("`{what}` must be {wanted}, not {}", node.describe());
    faults.push(Fault::error("workflow/type", node.place, message, hint));
}

/// The entries of a mapping.
pub(super) fn mapping<'a>(node: &'a Node, what: &str, faults: &mut Faults) -> Option<&'a [(Key, Node)]> {
    if let Value::Mapping(entries) = &node.value {
        return Some(entries);
    }
    wrong_type(node, what, "a mapping", "write `key: value` lines, indented below it", faults);
    None
}

/// The items of a list.
pub(super) fn list<'a>(node: &'a Node, what: &str, hint: &str, faults: &mut Faults) -> Option<&'a [Node]> {
    if let Value::Sequence(items) = &node.value {
        return Some(items);
    }
    wrong_type(node, what, "a list", hint, faults);
    None
}

/// Text that is not empty.
pub(super) fn text(node: &Node, what: &str, faults: &mut Faults) -> Option<String> {
    match &node.value {
        Value::Scalar { text, plain } if resolve(text, *plain) == Plain::Text && !text.trim().is_empty() => Some(text.clone()),
        Value::Scalar { plain: true, .. } if !node.is_null() => {
            wrong_type(node, what, "text", "put it in quotes to make it text", faults);
            None
        }
        _ => {
            wrong_type(node, what, "text", "write one line of text", faults);
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn flag(node: &Node, what: &str, faults: &mut Faults) -> Option<bool> {
    if let Value::Scalar { text, plain } = &node.value
        && let Plain::Flag(flag) = resolve(text, *plain)
    {
        return Some(flag);
    }
    wrong_type(node, what, "true or false", "write true or false, without quotes", faults);
    None
}

/// One of `words`.
pub(super) fn choice(node: &Node, what: &str, words: &[&str], faults: &mut Faults) -> Option<String> {
    let options = words.join(" or ");
    let Value::Scalar { text, .. } = &node.value else {
        wrong_type(node, what, &options, &format!("write `{what}: {}`", words.first().unwrap_or(&"")), faults);
        return None;
    };
    if words.contains(&text.as_str()) {
        return Some(text.clone());
    }
    let message = format!("`{what}` must be {options}, not {}", quoted(text));
    let hint =
        did_you_mean(text, words.iter().copied()).map_or_else(|| format!("write {options}"), |word| format!("did you mean `{word}`?"));
    faults.push(Fault::error("workflow/value", node.place, message, hint));
    None
}

/// A name; plain numbers are names too.
pub(super) fn name(node: &Node, what: &str, faults: &mut Faults) -> Option<Name> {
    let Value::Scalar { text, .. } = &node.value else {
        wrong_type(node, what, "a name", "write one word", faults);
        return None;
    };
    checked_name(text, node.place, faults)
}

/// The name in a key.
pub(super) fn key_name(key: &Key, faults: &mut Faults) -> Option<Name> {
    checked_name(&key.text, key.place, faults)
}

fn checked_name(text: &str, place: super::places::Place, faults: &mut Faults) -> Option<Name> {
    match Name::new(text) {
        Ok(name) => Some(name),
        Err(error) => {
            faults.push(Fault::error("workflow/name", place, error.to_string(), "rename it"));
            None
        }
    }
}

/// A path below the workspace.
pub(super) fn path(node: &Node, what: &str, faults: &mut Faults) -> Option<String> {
    let path = text(node, what, faults)?;
    let inside = !path.starts_with(['/', '~']) && !path.contains('\\') && !path.split('/').any(|part| part == "..");
    if inside && path.split('/').any(|part| !part.is_empty() && part != ".") {
        return Some(path);
    }
    let message = format!("`{what}` must be a path below the workspace, not {}", quoted(&path));
    faults.push(Fault::error("workflow/path", node.place, message, "move it into the workspace and name it relative to it"));
    None
}

/// A list of texts.
pub(super) fn texts(node: &Node, what: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let items = list(node, what, &format!("write `{what}: [first, second]`"), faults)?;
    Some(items.iter().filter_map(|item| text(item, what, faults)).collect())
}

/// A list of `host:port`, each in its one form, sorted; what nothing may ever connect to is refused here already.
pub(super) fn destinations(node: &Node, what: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let items = list(node, what, &format!("write `{what}: [\"pypi.org:443\"]`"), faults)?;
    let mut found = std::collections::BTreeSet::new();
    for item in items {
        let Some(text) = text(item, what, faults) else { continue };
        let read = Destination::parse(&text).map_err(|wrong| (wrong.what.to_owned(), wrong.hint));
        let read = read.and_then(|destination| match destination.barred() {
            None => Ok(destination),
            Some(bar) => Err((format!("no step reaches such addresses ({})", bar.kind), "remove it")),
        });
        match read {
            Ok(destination) => drop(found.insert(destination.to_string())),
            Err((wrong, hint)) => {
                let message = format!("`{what}` cannot name {}: {wrong}", quoted(&text));
                faults.push(Fault::error("workflow/value", item.place, message, hint));
            }
        }
    }
    bounded(node, what, found, EGRESS_HOSTS_MAX, faults)
}

/// A list of references to secrets, each in its one form, sorted.
pub(super) fn secrets(node: &Node, what: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let items = list(node, what, &format!("write `{what}: [\"secret://file/NAME\"]`"), faults)?;
    let mut found = std::collections::BTreeSet::new();
    for item in items {
        let Some(text) = text(item, what, faults) else { continue };
        match SecretRef::parse(&text) {
            Ok(secret) => drop(found.insert(secret.to_string())),
            Err(wrong) => {
                let message = format!("`{what}` cannot name {}: {wrong}", quoted(&text));
                faults.push(Fault::error(wrong.code(), item.place, message, wrong.hint()));
            }
        }
    }
    bounded(node, what, found, SECRETS_MAX, faults)
}

fn bounded(node: &Node, what: &str, found: std::collections::BTreeSet<String>, most: usize, faults: &mut Faults) -> Option<Vec<String>> {
    if found.len() <= most {
        return Some(found.into_iter().collect());
    }
    faults.push(Fault::error("workflow/value", node.place, format!("`{what}` names {}, at most {most}", found.len()), "name fewer"));
    None
}

/// A list of names.
pub(super) fn names(node: &Node, what: &str, faults: &mut Faults) -> Option<Vec<Name>> {
    let items = list(node, what, &format!("write `{what}: [first, second]`"), faults)?;
    Some(items.iter().filter_map(|item| name(item, what, faults)).collect())
}

/// The command of a step: the text of every argument as it was written.
pub(super) fn argv(node: &Node, what: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let hint = match &node.value {
        Value::Scalar { text, .. } => {
            format!("write `{what}: [{}]`; no shell reads it", text.split_whitespace().collect::<Vec<_>>().join(", "))
        }
        _ => format!("write `{what}: [python, script.py]`"),
    };
    let items = list(node, what, &hint, faults)?;
    let mut arguments = Vec::new();
    for item in items {
        match &item.value {
            Value::Scalar { text, .. } if !item.is_null() => arguments.push(text.clone()),
            _ => wrong_type(item, what, "a list of texts", "write each argument as text", faults),
        }
    }
    if arguments.first().is_none_or(String::is_empty) {
        faults.push(Fault::error("workflow/value", node.place, format!("`{what}` names no program"), hint));
        return None;
    }
    Some(arguments)
}

/// `step/output`.
pub(super) fn output(node: &Node, what: &str, faults: &mut Faults) -> Option<OutputName> {
    let text = text(node, what, faults)?;
    let parsed =
        text.split_once('/').and_then(|(step, output)| Some(OutputName { step: Name::new(step).ok()?, output: Name::new(output).ok()? }));
    if parsed.is_none() {
        let message = format!("`{what}` must name an output as step/output, not {}", quoted(&text));
        faults.push(Fault::error("workflow/type", node.place, message, "write for instance `preprocess/train`"));
    }
    parsed
}

/// A list of `step/output`.
pub(super) fn outputs(node: &Node, what: &str, faults: &mut Faults) -> Option<Vec<OutputName>> {
    let items = list(node, what, &format!("write `{what}: [step/output]`"), faults)?;
    Some(items.iter().filter_map(|item| output(item, what, faults)).collect())
}

/// `NAME:TAG` or `host`.
pub(super) fn container(node: &Node, what: &str, faults: &mut Faults) -> Option<String> {
    let reference = text(node, what, faults)?;
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let tagged = reference.split_once(':').is_some_and(|(name, tag)| part(name) && part(tag) && !tag.contains('/'));
    if tagged || reference == "host" {
        return Some(reference);
    }
    let message = format!("`{what}` must be NAME:TAG or host, not {}", quoted(&reference));
    let hint = "a container always carries a tag, for instance `ml_training:2026.06`; the lock pins its digest";
    faults.push(Fault::error("workflow/value", node.place, message, hint));
    None
}

/// A source: a URI of a known scheme, or a path; never with `..` in it.
pub(super) fn source(node: &Node, what: &str, faults: &mut Faults) -> Option<String> {
    const SCHEMES: &[&str] = &["s3", "az", "gs", "https"];
    let source = text(node, what, faults)?;
    let (scheme, rest) = source.split_once("://").map_or((None, source.as_str()), |(scheme, rest)| (Some(scheme), rest));
    if scheme.is_some() && rest.split('/').any(|part| part == "..") {
        let message = format!("`{what}` must not climb with `..`: {}", quoted(&source));
        faults.push(Fault::error("workflow/path", node.place, message, "name the folder itself"));
        return None;
    }
    match scheme {
        Some(scheme) if !SCHEMES.contains(&scheme) => {
            let message = format!("sources cannot be read by {}", quoted(&format!("{scheme}://")));
            let hint = "use a local path, s3://, az://, gs:// or https://";
            faults.push(Fault::error("workflow/value", node.place, message, hint));
            None
        }
        _ => Some(source),
    }
}

/// Seconds of a duration; between one second and thirty days.
pub(super) fn duration(node: &Node, what: &str, faults: &mut Faults) -> Option<u64> {
    const HINT: &str = "write a number with s, m, h or d, for instance `10m` or `1h30m`; at most 30d";
    let seconds = scalar(node).and_then(units::duration_s).filter(|seconds| (1..=30 * 86_400).contains(seconds));
    if seconds.is_none() {
        wrong_type(node, what, "a duration", HINT, faults);
    }
    seconds
}

/// `{max: 3, backoff: 10s, on: [timed-out]}`.
pub(super) fn retries(node: &Node, what: &str, faults: &mut Faults) -> Option<Retries> {
    let (mut max, mut backoff_s, mut on) = (None, Some(Retries::BACKOFF_S), None);
    for (key, value) in mapping(node, what, faults)? {
        match key.text.as_str() {
            "max" => max = Some(count(value, "max", Retries::MAX, faults)?),
            "backoff" => backoff_s = duration(value, "backoff", faults),
            "on" => on = Some(causes(value, faults)?),
            _ => unknown_key(key, RETRY_KEYS.iter().copied(), faults),
        }
    }
    let mut missing = |key: &str, hint: &str| {
        let message = format!("`{what}` does not say `{key}`");
        faults.push(Fault::error("workflow/missing-key", node.place, message, hint));
    };
    if max.is_none() {
        missing("max", "write for instance `{max: 3, on: [timed-out]}`");
    }
    if on.is_none() {
        missing("on", "name what may be tried again: timed-out, out-of-memory, killed, exit-N; nothing is by itself");
    }
    Some(Retries { max: max?, backoff_s: backoff_s?, on: on? })
}

fn causes(node: &Node, faults: &mut Faults) -> Option<Vec<RetryCause>> {
    let items = list(node, "on", "write `on: [timed-out, exit-75]`", faults)?;
    let mut causes = Vec::new();
    for item in items {
        let text = scalar(item).unwrap_or_default();
        let Some(cause) = RetryCause::parse(text) else {
            let message = format!("`on` must name causes of a retry, not {}", quoted(text));
            let near = did_you_mean(text, RetryCause::WORDS.iter().copied().filter(|word| !word.ends_with('N')));
            let hint = near.map_or_else(|| RetryCause::WORDS.join(", "), |word| format!("did you mean `{word}`?"));
            faults.push(Fault::error("workflow/value", item.place, message, hint));
            return None;
        };
        causes.push(cause);
    }
    if causes.is_empty() {
        faults.push(Fault::error("workflow/value", node.place, "`on` names no cause", RetryCause::WORDS.join(", ")));
        return None;
    }
    causes.sort_unstable();
    causes.dedup();
    Some(causes)
}

/// Bytes of a size.
pub(super) fn size(node: &Node, what: &str, faults: &mut Faults) -> Option<u64> {
    let bytes = scalar(node).and_then(units::size_bytes).filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        wrong_type(node, what, "a size", "write a number with KiB, MiB, GiB or TiB, for instance `4GiB`", faults);
    }
    bytes
}

/// Thousandths of a processor.
pub(super) fn cpu(node: &Node, what: &str, faults: &mut Faults) -> Option<u32> {
    let milli = scalar(node).and_then(units::cpu_milli);
    if milli.is_none() {
        wrong_type(node, what, "a number of processors", "write for instance `2`, `0.5` or `500m`", faults);
    }
    milli
}

/// A whole number from 1 to `most`.
pub(super) fn count(node: &Node, what: &str, most: u32, faults: &mut Faults) -> Option<u32> {
    let number = scalar(node).and_then(|text| text.parse().ok()).filter(|number| (1..=most).contains(number));
    if number.is_none() {
        wrong_type(node, what, &format!("a whole number from 1 to {most}"), "write the number without quotes", faults);
    }
    number
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// Any value, as JSON.
pub(super) fn any(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Scalar { text, plain } => match resolve(text, *plain) {
            Plain::Null => Json::Null,
            Plain::Flag(flag) => Json::Bool(flag),
            Plain::Integer(number) => Json::from(number),
            Plain::Float(number) => Json::from(number),
            Plain::Text => Json::String(text.clone()),
        },
        Value::Sequence(items) => Json::Array(items.iter().map(any).collect()),
        Value::Mapping(entries) => Json::Object(entries.iter().map(|(key, value)| (key.text.clone(), any(value))).collect()),
    }
}

/// A fault for a key that does not exist, with the nearest that does.
pub(super) fn unknown_key<'a>(key: &Key, known: impl Iterator<Item = &'a str> + Clone, faults: &mut Faults) {
    // what is not shown needs no suggestion
    let near = if faults.len() > DIAGNOSTICS_MAX { None } else { did_you_mean(&key.text, known.clone()) };
    let hint =
        near.map_or_else(|| format!("known keys: {}", known.collect::<Vec<_>>().join(", ")), |word| format!("did you mean `{word}`?"));
    faults.push(Fault::error("workflow/unknown-key", key.place, format!("unknown key {}", quoted(&key.text)), hint));
}
