//! Authorization: may this principal do this action on this resource in this environment? Decided by Cedar policies.
//!
//! in: an [`AuthorizationRequest`]; out: a [`Decision`].
//! **Invariant:** policies are validated strictly against the schema when they are loaded; entities and requests are built
//! with the schema; whatever cannot be built or evaluated without error is a deny. (Cedar skips a `forbid` that errs, and
//! an allow would win.)

mod entities;

use cedar_policy::{
    Context, Entities, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema,
    ValidationMode, Validator,
};
use seaworthy_core::action::AuthorizationRequest;
use seaworthy_core::decision::{Decision, Reason};

use entities::{principal_entity, resource_entity};

const SCHEMA: &str = include_str!("schema.cedarschema");
const POLICIES: &str = include_str!("policies.cedar");
const BUILTIN: &str = "builtin";

/// Policies that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthzLoadError {
    /// The schema does not parse.
    #[error("authorization schema: {message}")]
    Schema {
        /// Cedar's own words.
        message: String,
    },
    /// A policy file does not parse.
    #[error("policy file `{file}`: {message}")]
    Parse {
        /// File name.
        file: String,
        /// Cedar's own words.
        message: String,
    },
    /// A policy does not hold against the schema.
    #[error("policies do not hold against the schema: {}", faults.join("; "))]
    Invalid {
        /// One line a fault.
        faults: Vec<String>,
    },
    /// Templates have no principal to link to.
    #[error("policy file `{file}` holds a template (`?principal` or `?resource`)")]
    Template {
        /// File name.
        file: String,
    },
    /// Two policies share an id.
    #[error("policy id `{id}` is used twice")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// Nothing to decide by.
    #[error("no policy at all")]
    Empty,
}

impl AuthzLoadError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Schema { .. } => "authz/schema",
            Self::Parse { .. } => "authz/policy_syntax",
            Self::Invalid { .. } => "authz/policy_invalid",
            Self::Template { .. } => "authz/policy_template",
            Self::DuplicateId { .. } => "authz/policy_id",
            Self::Empty => "authz/no_policies",
        }
    }

    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Schema { .. } | Self::Invalid { .. } => {
                "compare the policy with the entity types and attributes in docs/src/concepts/authorization.md"
            }
            Self::Parse { .. } => "correct the policy's syntax; it is Cedar 4",
            Self::Template { .. } => "write the policy out for each principal; templates are not used",
            Self::DuplicateId { .. } => "give each policy of a file its own @id",
            Self::Empty => "add at least one policy",
        }
    }
}

/// Decides authorization requests by one loaded set of policies.
pub struct Authorizer {
    schema: Schema,
    policies: PolicySet,
    cedar: cedar_policy::Authorizer,
}

impl Authorizer {
    /// The embedded schema and default policies.
    pub fn builtin() -> Result<Self, AuthzLoadError> {
        Self::with_workspace(&[])
    }

    /// The embedded policies and a workspace's own: more permits, more forbids; the embedded guards stay.
    pub fn with_workspace(files: &[(&str, &str)]) -> Result<Self, AuthzLoadError> {
        let mut all = vec![(BUILTIN, POLICIES)];
        all.extend_from_slice(files);
        Self::new(SCHEMA, &all)
    }

    /// Exactly these policies (`(file name, text)`) under exactly this schema.
    pub fn new(schema: &str, files: &[(&str, &str)]) -> Result<Self, AuthzLoadError> {
        let (schema, _warnings) =
            Schema::from_cedarschema_str(schema).map_err(|error| AuthzLoadError::Schema { message: one_line(&error.to_string()) })?;
        let mut policies = PolicySet::new();
        for (file, text) in files {
            add_file(&mut policies, file, text)?;
        }
        if policies.is_empty() {
            return Err(AuthzLoadError::Empty);
        }
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if !result.validation_passed() {
            let faults = result.validation_errors().map(|fault| one_line(&fault.to_string())).collect();
            return Err(AuthzLoadError::Invalid { faults });
        }
        Ok(Self { schema, policies, cedar: cedar_policy::Authorizer::new() })
    }

    /// Decides `request`; every error is a deny.
    #[must_use]
    pub fn decide(&self, request: &AuthorizationRequest) -> Decision {
        match self.build(request) {
            Ok((query, entities)) => self.answer(request, &query, &entities),
            Err(reason) => Decision::Deny { reasons: vec![reason] },
        }
    }

    /// The Cedar request and entities, both checked against the schema.
    fn build(&self, request: &AuthorizationRequest) -> Result<(Request, Entities), Reason> {
        let refused = |rule: &str, error: &dyn std::fmt::Display| Reason {
            code: "authz/invalid_request".to_owned(),
            rule: rule.to_owned(),
            message: one_line(&error.to_string()),
            hint: "only the principals and resources of docs/src/concepts/authorization.md can be asked about".to_owned(),
        };
        let principal = principal_entity(&request.principal, &request.environment)?;
        let resource = resource_entity(&request.resource).map_err(|e| refused("resource", &e))?;
        let action = uid("Action", request.action.as_str()).map_err(|e| refused("action", &e))?;
        let place = RestrictedExpression::new_string(request.environment.clone());
        let context = Context::from_pairs([("environment".to_owned(), place)]).map_err(|e| refused("context", &e))?;
        let query =
            Request::new(principal.uid(), action, resource.uid(), context, Some(&self.schema)).map_err(|e| refused("schema", &e))?;
        let entities = Entities::from_entities([principal, resource], Some(&self.schema)).map_err(|e| refused("schema", &e))?;
        Ok((query, entities))
    }

    fn answer(&self, request: &AuthorizationRequest, query: &Request, entities: &Entities) -> Decision {
        let response = self.cedar.is_authorized(query, &self.policies, entities);
        let errors: Vec<Reason> = response
            .diagnostics()
            .errors()
            .map(|error| Reason {
                code: "authz/policy_error".to_owned(),
                rule: "evaluation".to_owned(),
                message: one_line(&error.to_string()),
                hint: "correct the policy; a policy that errs denies".to_owned(),
            })
            .collect();
        if !errors.is_empty() {
            return Decision::Deny { reasons: errors };
        }
        let mut ids: Vec<&PolicyId> = response.diagnostics().reason().collect();
        ids.sort();
        if response.decision() == cedar_policy::Decision::Allow && !ids.is_empty() {
            return Decision::Allow { policies: ids.into_iter().map(ToString::to_string).collect() };
        }
        let mut reasons: Vec<Reason> = ids.into_iter().map(|id| self.forbidden(id, request)).collect();
        if reasons.is_empty() {
            reasons.push(no_permit(request));
        }
        Decision::Deny { reasons }
    }

    fn forbidden(&self, id: &PolicyId, request: &AuthorizationRequest) -> Reason {
        let action = request.action.as_str();
        let note = |key| self.policies.annotation(id, key).filter(|text| !text.is_empty());
        Reason {
            code: "authz/forbidden".to_owned(),
            rule: id.to_string(),
            message: note("message").map_or_else(|| format!("policy forbids `{action}`"), |text| format!("`{action}`: {text}")),
            hint: note("hint").unwrap_or("satisfy the policy, or have its owner change it").to_owned(),
        }
    }
}

fn no_permit(request: &AuthorizationRequest) -> Reason {
    Reason {
        code: "authz/no_permit".to_owned(),
        rule: "default-deny".to_owned(),
        message: format!("no policy permits `{}` to `{}`", request.principal.id, request.action.as_str()),
        hint: "add a permit for it to the workspace's policies".to_owned(),
    }
}

/// Adds a file's policies under the ids `FILE/ID`, ID being its `@id` or its place in the file.
fn add_file(set: &mut PolicySet, file: &str, text: &str) -> Result<(), AuthzLoadError> {
    let fault = |message: String| AuthzLoadError::Parse { file: file.to_owned(), message: one_line(&message) };
    let parsed: PolicySet = text.parse().map_err(|error: cedar_policy::ParseErrors| fault(error.to_string()))?;
    if parsed.templates().next().is_some() {
        return Err(AuthzLoadError::Template { file: file.to_owned() });
    }
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    policies.sort_by_key(|policy| policy.id().to_string());
    for policy in policies {
        let name = policy.annotation("id").filter(|id| !id.is_empty()).map_or_else(|| policy.id().to_string(), str::to_owned);
        let id = format!("{file}/{name}");
        set.add(policy.new_id(PolicyId::new(&id))).map_err(|_| AuthzLoadError::DuplicateId { id })?;
    }
    Ok(())
}

/// `TYPE::"id"`; the id is taken as it is, never parsed.
fn uid(kind: &str, id: &str) -> Result<EntityUid, Box<cedar_policy::ParseErrors>> {
    let kind: EntityTypeName = kind.parse().map_err(Box::new)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
