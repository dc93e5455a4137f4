//! The chain verifier: a whole chain that holds, and every attack on it with the code it must fail with.
//!
//! Every attack starts from the same draft or world whose control is `an_honest_chain_verifies`: the forgery alone differs.

use seaworthy_trust::attest::chain::{Assurance, Status};
use seaworthy_trust::attest::{ChainReport, VerifyOptions, verify_chain};

use crate::world::{Draft, Keys, World};

fn verify(world: &World, reference: &str) -> ChainReport {
    let options = VerifyOptions { trust_is_file: true, ..VerifyOptions::default() };
    verify_chain(world, world, &world.trust, &reference.parse().unwrap(), &options)
}

fn honest() -> World {
    World::record(&Draft::sample(), &Keys::new())
}

fn codes(report: &ChainReport) -> Vec<&'static str> {
    report.faults.iter().map(|fault| fault.code).collect()
}

#[test]
fn an_honest_chain_verifies() {
    let world = honest();
    let run = crate::world::run();
    let artifact = world.artifacts["train"].1.digest;
    for reference in ["model:employment@1", "model:employment@candidate", &format!("run:{run}"), &format!("artifact:{artifact}"), "log"] {
        let report = verify(&world, reference);
        assert!(report.ok, "{reference}: {:#?}", report.faults);
        assert_eq!(report.faults, [], "{reference}");
        assert_ne!(report.evidence.status, Status::Fail);
        assert_eq!(report.assurance, Assurance::L0);
        assert_eq!(report.reference, reference);
    }
}
