//! Turns principals and resources into Cedar entities.
//!
//! in: core's principal and resource; out: one entity each.
//! **Invariant:** a principal whose id does not have the form its kind demands is unknown, and unknown is a deny.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entity, EntityAttrEvaluationError, EntityUid, ParseErrors, RestrictedExpression};
use seaworthy_core::action::Resource;
use seaworthy_core::decision::Reason;
use seaworthy_core::principal::{Principal, PrincipalKind};

use super::uid;

/// An entity that cannot be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntityError {
    #[error("entity name refused: {0}")]
    Name(#[from] Box<ParseErrors>),
    #[error("entity attribute refused: {0}")]
    Attribute(#[from] Box<EntityAttrEvaluationError>),
}

/// The principal's entity; an id that is not of its kind's form is refused.
pub(super) fn principal_entity(principal: &Principal, environment: &str) -> Result<Entity, Reason> {
    let unknown = |message: String| Reason {
        code: "authz/unknown_principal".to_owned(),
        rule: "principal".to_owned(),
        message,
        hint: "use a user key of `seaworthy keys list`, or the runner of this environment".to_owned(),
    };
    let id = &principal.id.0;
    let shape = shape_of(id).ok_or_else(|| unknown(format!("`{id}` names no principal")))?;
    if shape.kind != principal.kind {
        return Err(unknown(format!("`{id}` is not the id of a {}", kind_name(principal.kind))));
    }
    if environment.is_empty() {
        return Err(unknown("the environment has no name".to_owned()));
    }
    let attributes = match shape.environment {
        Some(own) => vec![("environment", RestrictedExpression::new_string(own.to_owned()))],
        None => Vec::new(),
    };
    entity(entity_type(principal.kind), id, attributes).map_err(|error| unknown(error.to_string()))
}

/// The resource's entity with what the engine knows about it.
pub(super) fn resource_entity(resource: &Resource) -> Result<Entity, EntityError> {
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    let flag = RestrictedExpression::new_bool;
    match resource {
        Resource::Workflow { name } => entity("Workflow", name, vec![]),
        Resource::Step { name, kind, sandboxed, profile } => {
            entity("Step", name, vec![("kind", text(kind)), ("sandboxed", flag(*sandboxed)), ("profile", text(profile))])
        }
        Resource::Artifact { name, digest, declared, verified } => {
            entity("Artifact", name, vec![("declared", flag(*declared)), ("verified", flag(*verified)), ("stored", flag(digest.is_some()))])
        }
        Resource::Gate { name, digest, pinned } => entity("Gate", name, vec![("digest", text(&digest.hex())), ("pinned", flag(*pinned))]),
        Resource::Model { name, digest, gated } => entity("Model", name, vec![("digest", text(&digest.hex())), ("gated", flag(*gated))]),
        Resource::Pin { name } => entity("Pin", name, vec![]),
        Resource::Host { name, port, declared } => {
            entity("Host", name, vec![("port", RestrictedExpression::new_long(i64::from(*port))), ("declared", flag(*declared))])
        }
        Resource::Secret { name, declared } => entity("Secret", name, vec![("declared", flag(*declared))]),
    }
}

fn entity(kind: &str, id: &str, attributes: Vec<(&str, RestrictedExpression)>) -> Result<Entity, EntityError> {
    let name: EntityUid = uid(kind, id)?;
    let attributes: HashMap<String, _> = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(Entity::new(name, attributes, HashSet::new()).map_err(Box::new)?)
}

struct Shape<'a> {
    kind: PrincipalKind,
    environment: Option<&'a str>,
}

/// Reads the kind and environment out of an id: `user:p-<16 hex>`, `spiffe://TD/ENV/runner`,
/// `spiffe://TD/ENV/run/RUN/WORKFLOW/STEP/ATTEMPT`.
fn shape_of(id: &str) -> Option<Shape<'_>> {
    if let Some(pseudonym) = id.strip_prefix("user:p-") {
        let hex = pseudonym.len() == 16 && pseudonym.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        return hex.then_some(Shape { kind: PrincipalKind::User, environment: None });
    }
    let parts: Vec<&str> = id.strip_prefix("spiffe://")?.split('/').collect();
    if !parts.iter().all(|part| plain_segment(part)) {
        return None;
    }
    match parts.as_slice() {
        [domain, environment, "runner"] if domain.ends_with(".seaworthy.internal") => {
            Some(Shape { kind: PrincipalKind::Runner, environment: Some(environment) })
        }
        [domain, environment, "run", _, _, _, attempt] if domain.ends_with(".seaworthy.internal") && attempt.parse::<u32>().is_ok() => {
            Some(Shape { kind: PrincipalKind::Step, environment: Some(environment) })
        }
        _ => None,
    }
}

/// A SPIFFE path segment: not empty, no dot segment, only letters, digits, `.`, `-` and `_`.
fn plain_segment(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

const fn entity_type(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "User",
        PrincipalKind::Runner => "Runner",
        PrincipalKind::Step => "StepRun",
    }
}

const fn kind_name(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::Runner => "runner",
        PrincipalKind::Step => "step",
    }
}
