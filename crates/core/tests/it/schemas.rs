//! The committed JSON schemas are those that the code makes, and name every key that the reader takes.

use seaworthy_core::workflow::schema::{settings_schema, to_text, workflow_schema};

#[test]
fn committed_schemas_are_fresh() {
    let committed = [
        (include_str!("../../../../schemas/workflow.schema.json"), workflow_schema()),
        (include_str!("../../../../schemas/settings.schema.json"), settings_schema()),
    ];
    for (text, schema) in committed {
        assert_eq!(text, to_text(&schema), "stale: run `cargo xtask gen`");
    }
}

#[test]
fn schemas_name_the_keys_of_the_sample_and_close_every_object() {
    let schema = workflow_schema();
    let step = &schema["$defs"]["step"]["oneOf"][1];
    for key in
        ["source", "integrity_check", "policy_gate", "container", "env", "data_provenance", "run", "inputs", "outputs", "rollback_on"]
    {
        assert!(step["properties"][key]["description"].is_string(), "{key}");
    }
    for schema in [workflow_schema(), settings_schema()] {
        closed(&schema, "");
    }
}

/// An object with properties takes no others.
fn closed(schema: &serde_json::Value, path: &str) {
    if let Some(object) = schema.as_object() {
        if object.contains_key("properties") && object.get("type").is_some_and(|kind| kind == "object") {
            assert_eq!(object.get("additionalProperties"), Some(&serde_json::Value::Bool(false)), "{path}");
        }
        object.iter().for_each(|(key, value)| closed(value, &format!("{path}/{key}")));
    } else if let Some(list) = schema.as_array() {
        list.iter().for_each(|value| closed(value, path));
    }
}
