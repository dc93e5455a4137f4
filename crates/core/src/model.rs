//! Model versions and aliases, as the registry and lineage show them.
