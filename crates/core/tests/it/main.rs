//! Integration tests of core: files in, plans, diagnostics and locks out.

mod sample;
