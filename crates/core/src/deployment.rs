//! Deployments of model versions.
