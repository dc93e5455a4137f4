//! RFC 6962 trees: hashes, tiles, inclusion and consistency proofs.
