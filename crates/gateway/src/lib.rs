//! The gateway: serve and guard a model. Nothing is here yet; `seaworthy serve` refuses and says so.
