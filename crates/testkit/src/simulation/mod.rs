//! The simulator: the real store lives, is killed and loses its power on a simulated disk, and what it promised is checked after each death.
//!
//! in: a seed; out: what happened, or the promise that was broken. The seed decides everything: what the process does, how often it is
//! killed and where, what the disk refuses, what a power cut leaves, when the signer is gone and when the clock jumps.
//! **Invariant:** the same seed gives the same story; no thread, no clock and no chance but the seed's has a part in it.
//!
//! A story is a few *lives*: a process opens the workspace as a command does, works, and exits or dies. In between the machine goes on, or
//! its power is cut. The last life has no faults and must be able to do everything; then all that was ever promised is looked for.

mod life;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_store::disk::Enter;

use crate::disk::{Disk, Faults, Forgotten};
use crate::image::Cut;
use crate::random::Random;
use crate::signer::SimulatedSigner;
use told::Told;

/// The log's origin.
const ORIGIN: &str = "simulated.example/log";

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The promise.
    pub promise: &'static str,
    /// What was found instead.
    pub found: String,
}

/// What happened in one story.
#[derive(Clone, Copy, Default, Debug)]
pub struct Summary {
    /// Lives of the process.
    pub lives: u64,
    /// Deaths in the middle of its work.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Faults other than death that the process met.
    pub faults: u64,
    /// Changes of the disk.
    pub changes: u64,
    /// Leaves, records and blobs that were acknowledged.
    pub acknowledged: u64,
}

impl Summary {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.faults += other.faults;
        self.changes += other.changes;
        self.acknowledged += other.acknowledged;
    }
}

/// A machine: its disk, its signer, and what it has told the world.
pub(crate) struct Machine {
    pub(crate) disk: Arc<Disk>,
    pub(crate) signer: Arc<SimulatedSigner>,
    pub(crate) told: Told,
    pub(crate) random: Random,
    pub(crate) clock_ms: u64,
    /// Names of what is made: never twice.
    pub(crate) next: u64,
}

/// The story of one seed, in new folders below `dir`.
pub fn run(seed: u64, forgotten: Forgotten, dir: &Path) -> Result<Summary, Violation> {
    let mut random = Random::new(seed);
    let place = Place { dir: dir.join(format!("{seed}")), count: 0 };
    let mut place = place.made();
    let disk = Disk::new(&place.next(), Random::new(random.next_u64()), forgotten);
    let mut machine = Machine {
        disk,
        signer: Arc::new(SimulatedSigner::new(ORIGIN)),
        told: Told::default(),
        random,
        clock_ms: 1_800_000_000_000,
        next: 0,
    };
    let mut summary = Summary::default();
    let lives = 1 + machine.random.below(4);
    for _ in 0..lives {
        machine.live_and_die(&mut place, &mut summary)?;
    }
    machine.disk.revive(Faults::NONE);
    machine.signer.dies_after(u64::MAX, true);
    let _disk = Enter::new(machine.disk.clone());
    machine.live(8, &mut summary)?;
    machine.check_everything()?;
    summary.acknowledged = machine.told.count();
    Ok(summary)
}

impl Machine {
    fn live_and_die(&mut self, place: &mut Place, summary: &mut Summary) -> Result<(), Violation> {
        let faults = self.faults();
        self.disk.tell(&format!("=== life with {faults:?}"));
        self.disk.revive(faults);
        let actions = 1 + self.random.below(30);
        let faults_before = summary.faults;
        {
            let _disk = Enter::new(self.disk.clone());
            self.live(actions, summary)?;
        }
        let died = self.disk.is_dead();
        summary.kills += u64::from(died);
        summary.changes += self.disk.changes();
        debug_assert!(summary.faults >= faults_before);
        // (the look at every file is the dearest part of a story)
        if self.random.one_in(5)
            && let Some(path) = self.disk.unseen()
        {
            return Err(Violation { promise: "every change of the disk passes its one place", found: path });
        }
        // a signer of the run's own dies with it; a service goes on, unless its machine does not
        if self.random.one_in(2) {
            self.signer.forget();
        }
        if self.random.one_in(4) {
            return Ok(());
        }
        let cut = match self.random.below(6) {
            0 => Cut::Nothing,
            1 => Cut::Everything,
            _ => Cut::Any,
        };
        summary.power_cuts += 1;
        self.disk.tell(&format!("=== power cut: {cut:?}"));
        self.signer.forget();
        let before = self.disk.dir().to_owned();
        self.disk = self.disk.cut_power(&place.next(), cut);
        std::fs::remove_dir_all(before).unwrap();
        self.told.power_was_cut();
        self.look_at_once()
    }

    /// What goes wrong in the next life.
    fn faults(&mut self) -> Faults {
        let random = &mut self.random;
        let reach = [40, 120, 400][random.below(3) as usize];
        let mut faults = Faults::NONE;
        if !random.one_in(6) {
            faults.dies_at = 1 + random.below(reach);
        }
        match random.below(6) {
            0 => faults.sync_fails_at = 1 + random.below(reach),
            1 => faults.change_fails_at = 1 + random.below(reach),
            2 => {
                let start = 1 + random.below(reach);
                faults.full = start..start + 1 + random.below(12);
            }
            _ => {}
        }
        let requests = if random.one_in(6) { random.below(12) } else { u64::MAX };
        let answers = random.one_in(2);
        self.signer.dies_after(requests, answers);
        // a clock that jumps, also back
        self.clock_ms = self.clock_ms.wrapping_add(random.below(7_200_000)).wrapping_sub(3_600_000);
        faults
    }
}

/// Folders of one story, gone with it.
struct Place {
    dir: PathBuf,
    count: u64,
}

impl Place {
    fn made(self) -> Self {
        drop(std::fs::remove_dir_all(&self.dir));
        std::fs::create_dir_all(&self.dir).unwrap();
        self
    }

    fn next(&mut self) -> PathBuf {
        self.count += 1;
        let dir = self.dir.join(self.count.to_string());
        std::fs::create_dir(&dir).unwrap();
        dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os("SEAWORTHY_SIM_TRACE").is_none() {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}
