//! JSON schemas of the workflow file and of the settings file, for editors and other tools.
//!
//! in: the table of step keys; out: JSON Schema 2020-12 documents, committed below `schemas/`.
//! **Invariant:** made from the same table that the reader uses; what the reader refuses by shape the schema refuses too.

use serde_json::{Map, Value, json};

use crate::limits::{EGRESS_HOSTS_MAX, RETRIES_MAX, SECRETS_MAX};

use super::keys::{OUTPUT_TYPES, RISK_CLASSES, STEP_KEYS, Shape};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";
const OUTPUT: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";
const CONTAINER: &str = "^(host|[A-Za-z0-9._/-]+:[A-Za-z0-9._-]+)$";
const PATH: &str = "^(?![/~])(?!.*(^|/)\\.\\.(/|$))[^\\\\]+$";
const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";
const RETRY_CAUSE: &str = "^(timed-out|out-of-memory|killed|exit-([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]))$";
const DESTINATION: &str = "^([A-Za-z0-9][A-Za-z0-9.-]*|\\[[0-9A-Fa-f:.]+\\]):[1-9][0-9]{0,4}$";
const SECRET: &str = "^secret://file/[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";
const SIZE: &str = "^[0-9]+ ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$";

/// The text of a schema as it is committed: indented, keys sorted, one final newline.
#[must_use]
pub fn to_text(schema: &Value) -> String {
    format!("{:#}\n", sorted(schema))
}

/// Keys inserted in sorted order: whether serde_json's own map sorts depends on features of unrelated crates.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: std::collections::BTreeMap<_, _> = fields.iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Schema of a workflow file.
#[must_use]
pub fn workflow_schema() -> Value {
    let step = json!({"description": "one key, the step's name; its value holds the step's keys", "type": "object",
        "minProperties": 1, "maxProperties": 1, "patternProperties": {NAME: {"$ref": "#/$defs/step"}}, "additionalProperties": false});
    let workflow =
        closed(&json!({"name": {"$ref": "#/$defs/name"}, "steps": {"type": "array", "minItems": 1, "items": step}}), &["name", "steps"]);
    let mut schema = closed(&json!({"workflows": {"type": "array", "minItems": 1, "items": workflow}}), &["workflows"]);
    document(&mut schema, "workflow", "Seaworthy workflow file");
    schema
}

/// Schema of the settings file, `seaworthy.yaml`.
#[must_use]
pub fn settings_schema() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string", "minLength": 1}});
    let project = closed(
        &json!({
            "name": {"$ref": "#/$defs/name"},
            "owner": {"type": "string", "pattern": "^user:\\S+$", "description": "responsible principal"},
            "deputy": {"type": "string", "pattern": "^user:\\S+$"},
            "purpose": {"type": "string", "minLength": 1},
            "risk_class": {"enum": RISK_CLASSES},
            "residency": texts, "data_classes": texts,
        }),
        &["name", "owner", "purpose", "risk_class", "residency", "data_classes"],
    );
    let environment = json!({"oneOf": [
        {"const": "host"},
        closed(&json!({"host": {"const": true}}), &["host"]),
        closed(&json!({"python": {"$ref": "#/$defs/path"}}), &["python"]),
        closed(&json!({"oci": {"type": "string", "minLength": 1}}), &["oci"]),
    ]});
    let mut schema = closed(
        &json!({
            "environment": {"$ref": "#/$defs/name", "description": "dev (the default), staging, prod, or a name of your own"},
            "project": project,
            "sources": {"type": "object", "propertyNames": {"pattern": "://"}, "additionalProperties": {"type": "string", "minLength": 1},
                "description": "URI prefix to folder"},
            "environments": {"type": "object", "propertyNames": {"pattern": CONTAINER}, "additionalProperties": environment,
                "description": "what container: NAME:TAG means"},
            "steps": {"type": "object", "propertyNames": {"pattern": OUTPUT}, "additionalProperties": {"$ref": "#/$defs/step"},
                "description": "keys of steps that the workflow file does not hold, by workflow/step"},
        }),
        &[],
    );
    document(&mut schema, "settings", "Seaworthy settings file");
    schema
}

/// Adds the dialect, the id, the title and the definitions that both files share.
fn document(schema: &mut Value, name: &str, title: &str) {
    let Value::Object(fields) = schema else { return };
    fields.insert("$schema".to_owned(), json!(DIALECT));
    fields.insert("$id".to_owned(), json!(format!("https://seaworthy.internal/schemas/{name}.schema.json")));
    fields.insert("title".to_owned(), json!(title));
    let definitions = json!({
        "name": {"type": "string", "pattern": NAME},
        "output": {"type": "string", "pattern": OUTPUT, "description": "an output of a step, as step/output"},
        "path": {"type": "string", "pattern": PATH, "description": "a path below the workspace"},
        "step": {"oneOf": [{"type": "null"}, step()]},
    });
    fields.insert("$defs".to_owned(), definitions);
}

fn step() -> Value {
    let properties: Map<String, Value> = STEP_KEYS
        .iter()
        .map(|key| {
            let mut schema = shape(key.shape);
            if let Value::Object(fields) = &mut schema {
                fields.insert("description".to_owned(), json!(key.about));
            }
            (key.name.to_owned(), schema)
        })
        .collect();
    closed(&Value::Object(properties), &[])
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({"type": "string", "minLength": 1}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Name => json!({"$ref": "#/$defs/name"}),
        Shape::Path => json!({"$ref": "#/$defs/path"}),
        Shape::Source => json!({"type": "string", "pattern": "^((s3|az|gs|https)://.+|(?!.*://).+)$"}),
        Shape::Container => json!({"type": "string", "pattern": CONTAINER}),
        Shape::Choice(words) => json!({"enum": words}),
        Shape::Argv => json!({"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}),
        Shape::Names => json!({"type": "array", "items": {"$ref": "#/$defs/name"}}),
        Shape::Destinations => json!({"type": "array", "maxItems": EGRESS_HOSTS_MAX, "items": {"type": "string", "pattern": DESTINATION}}),
        Shape::Secrets => json!({"type": "array", "maxItems": SECRETS_MAX, "items": {"type": "string", "pattern": SECRET}}),
        Shape::Output => json!({"$ref": "#/$defs/output"}),
        Shape::OutputList => json!({"type": "array", "items": {"$ref": "#/$defs/output"}}),
        Shape::Outputs => {
            let long = closed(&json!({"type": {"enum": OUTPUT_TYPES}, "name": {"$ref": "#/$defs/name"}}), &["type"]);
            json!({"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": {"oneOf": [{"enum": OUTPUT_TYPES}, long]}})
        }
        Shape::Params => json!({"type": ["object", "null"]}),
        Shape::Resources => closed(
            &json!({
                "memory": {"type": "string", "pattern": SIZE},
                "cpu": {"type": ["string", "number"], "description": "2, 0.5 or 500m"},
                "processes": {"type": "integer", "minimum": 1, "maximum": 65_536},
                "disk": {"type": "string", "pattern": SIZE},
                "sent": {"type": "string", "pattern": SIZE},
                "received": {"type": "string", "pattern": SIZE},
            }),
            &[],
        ),
        Shape::Retries => closed(
            &json!({
                "max": {"type": "integer", "minimum": 1, "maximum": RETRIES_MAX},
                "backoff": {"type": "string", "pattern": DURATION, "minLength": 2},
                "on": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": RETRY_CAUSE}},
            }),
            &["max", "on"],
        ),
        Shape::Duration => json!({"type": "string", "pattern": DURATION, "minLength": 2}),
    }
}

/// An object with these properties and no other.
fn closed(properties: &Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty()
        && let Value::Object(fields) = &mut schema
    {
        fields.insert("required".to_owned(), json!(required));
    }
    schema
}
