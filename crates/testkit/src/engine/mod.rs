//! The engine under the simulator: the real `run_plan` over the real store, killed at any change, any launch and any signature.
//!
//! in: a seed; out: what happened, or the promise that was broken. A story is a few *lives*: one or two processes run a plan at one
//! workspace, in an order that the seed chooses; each has its own faults. Then the machine goes on or loses its power, and somebody runs
//! the plan again, undisturbed in the end: it must end as it ends where nothing ever went wrong, and everything that anybody was told must
//! be there.
//! **Invariant:** the same seed gives the same story: threads work by turns, bodies are played, clock and chance are the seed's.

mod check;
mod fixture;
mod ports;
mod process;
pub mod replay;
mod turns;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use seaworthy_trust::keys::LocalSigner;

pub use fixture::Fixture;
use ports::{PortFaults, Ports};
use process::Where;
use turns::Order;
use world::World;

use crate::disk::{Disk, Faults, Forgotten};
use crate::image::Cut;
use crate::random::Random;
use crate::simulation::Violation;

/// How each step ends: its state, and the digests of what it put out or the code of its refusal.
pub(crate) type End = BTreeMap<String, (&'static str, String)>;

/// What happened in one story.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Processes that lived.
    pub lives: u64,
    /// Deaths, of which some took the power along.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Processes that met another fault: a full or failing disk, a signer that was gone, a body that was killed.
    pub faults: u64,
    /// Changes of the disk.
    pub changes: u64,
    /// Bodies that were launched.
    pub launches: u64,
    /// Bodies that were alive when their launcher was killed.
    pub killed_alive: u64,
    /// Pairs of processes at one workspace.
    pub rivals: u64,
    /// Leaves in the end.
    pub leaves: u64,
}

impl Summary {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.faults += other.faults;
        self.changes += other.changes;
        self.launches += other.launches;
        self.killed_alive += other.killed_alive;
        self.rivals += other.rivals;
        self.leaves += other.leaves;
    }
}

/// One story's machine.
struct Machine<'a> {
    fixture: &'a Fixture,
    disk: Arc<Disk>,
    world: Arc<World>,
    signer: Arc<LocalSigner>,
    memory: Arc<Mutex<Vec<(u64, seaworthy_core::digest::Digest, String)>>>,
    random: Random,
    dir: PathBuf,
    folders: u64,
    summary: Summary,
}

/// The story of one seed, in new folders below `dir`.
pub fn run(seed: u64, fixture: &Fixture, forgotten: Forgotten, dir: &Path) -> Result<Summary, Violation> {
    let dir = dir.join(format!("e{seed}"));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(dir.join("beside")).unwrap();
    let told = tell(seed, fixture, forgotten, &dir);
    if std::env::var_os("SEAWORTHY_SIM_TRACE").is_none() {
        drop(std::fs::remove_dir_all(&dir));
    }
    told
}

fn tell(seed: u64, fixture: &Fixture, forgotten: Forgotten, dir: &Path) -> Result<Summary, Violation> {
    let mut random = Random::new(seed);
    let root = dir.join("0");
    new_workspace(&root);
    let disk = Disk::holding(&root, Random::new(random.next_u64()), forgotten);
    let mut machine = Machine {
        fixture,
        disk,
        world: Arc::default(),
        signer: Arc::new(fixture::signer()),
        memory: Arc::default(),
        random,
        dir: dir.to_owned(),
        folders: 0,
        summary: Summary::default(),
    };
    machine.world.set_clock(1_800_000_000_000);
    let lives = if fixture.expected.get().is_some() { 1 + machine.random.below(3) } else { 0 };
    for _ in 0..lives {
        machine.live_and_die()?;
    }
    machine.end()
}

/// A workspace with a known id: what is signed follows from the seed alone.
fn new_workspace(root: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let state = root.join(".seaworthy");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(state.join("workspace.json"), format!("{{\"id\":\"{}\"}}\n", fixture::WORKSPACE)).unwrap();
}

impl Machine<'_> {
    fn place(&self) -> Where {
        Where { root: self.disk.dir().to_owned(), beside: self.dir.join("beside") }
    }

    /// One or two processes live, and most of them die; the power may be cut after it, or with one of them.
    fn live_and_die(&mut self) -> Result<(), Violation> {
        let rivals = self.random.one_in(4);
        let count = if rivals { 2 } else { 1 };
        let faults: Vec<(Faults, PortFaults, u64)> = (0..count).map(|_| self.faults()).collect();
        self.summary.rivals += u64::from(rivals);
        self.live(&faults)?;
        // a signer of the run's own dies with it; a service goes on, unless its machine does not
        if self.random.one_in(2) {
            self.memory.lock().unwrap().clear();
        }
        if self.disk.is_off() || self.random.one_in(3) {
            self.cut_power();
        }
        Ok(())
    }

    fn live(&mut self, faults: &[(Faults, PortFaults, u64)]) -> Result<(), Violation> {
        let order = Order::new(Random::new(self.random.next_u64()));
        let processes: Vec<Arc<Ports>> =
            faults.iter().enumerate().map(|(number, (disk, ports, _))| self.process(&order, number, disk, ports)).collect();
        let (fixture, at, rivals) = (self.fixture, self.place(), processes.len() > 1);
        std::thread::scope(|scope| {
            for (ports, (_, _, runs)) in processes.iter().zip(faults) {
                let place = seaworthy_engine::turns::Turns::thread(&*ports.under);
                let (ports, at) = (ports.clone(), at.clone());
                scope.spawn(move || {
                    let _turns = ports.under.enter(place);
                    process::live(fixture, &at, &ports, *runs, rivals);
                });
            }
            order.go();
        });
        for ports in &processes {
            let lane = ports.under.lane();
            self.summary.lives += 1;
            self.summary.kills += u64::from(lane.is_dead());
            self.summary.changes += lane.changes();
            self.summary.faults += u64::from(lane.has_failed() || ports.met.load(std::sync::atomic::Ordering::Relaxed) > 0);
        }
        self.world.with(|seen| seen.broken.take()).map_or(Ok(()), Err)
    }

    fn process(&self, order: &Arc<Order>, number: usize, disk: &Faults, ports: &PortFaults) -> Arc<Ports> {
        let lane = self.disk.lane(disk.clone());
        Arc::new(Ports {
            under: order.under(&lane, number),
            world: self.world.clone(),
            signer: self.signer.clone(),
            memory: self.memory.clone(),
            faults: Mutex::new(ports.clone()),
            launches: AtomicU64::new(0),
            known: Mutex::default(),
            met: AtomicU64::new(0),
        })
    }

    fn cut_power(&mut self) {
        let cut = match self.random.below(6) {
            0 => Cut::Nothing,
            1 => Cut::Everything,
            _ => Cut::Any,
        };
        self.summary.power_cuts += 1;
        self.memory.lock().unwrap().clear();
        self.folders += 1;
        let next = self.dir.join(self.folders.to_string());
        std::fs::create_dir(&next).unwrap();
        let before = self.disk.dir().to_owned();
        self.disk.tell(&format!("=== power cut: {cut:?}"));
        self.disk = self.disk.cut_power(&next, cut);
        std::fs::remove_dir_all(before).unwrap();
        if self.random.one_in(3) {
            // the index is one of the things that may be gone
            drop(std::fs::remove_file(self.place().catalog()));
        }
    }

    /// What goes wrong in the next life of a process, and how often it runs the plan if nothing does.
    fn faults(&mut self) -> (Faults, PortFaults, u64) {
        let random = &mut self.random;
        let reach = [60, 200, 500][random.below(3) as usize];
        let mut faults = Faults { takes_power: random.one_in(2), ..Faults::NONE };
        let mut ports = PortFaults { stumbles: random.below(3), ..PortFaults::NONE };
        match random.below(8) {
            0..4 => faults.dies_at = 1 + random.below(reach),
            4..6 => ports.dies_at_launch = Some((1 + random.below(4), random.below(3))),
            _ => {}
        }
        match random.below(8) {
            0 => faults.sync_fails_at = 1 + random.below(reach),
            1 => faults.change_fails_at = 1 + random.below(reach),
            2 => {
                let start = 1 + random.below(reach);
                faults.full = start..start + 1 + random.below(12);
            }
            3 => ports.signatures = random.below(60),
            4 => ports.mishaps = 1 + random.below(6),
            _ => {}
        }
        self.world.set_clock(1_800_000_000_000 + random.below(7_200_000));
        (faults, ports, 1 + random.below(2))
    }

    /// Nothing goes wrong any more: the plan is run to its end, twice, and all that was promised is looked for.
    fn end(mut self) -> Result<Summary, Violation> {
        self.disk.tell("=== the end");
        self.live(&[(Faults::NONE, PortFaults::NONE, 2)])?;
        self.summary.leaves = check::everything(self.fixture, &self.place(), &self.world)?;
        self.world.with(|seen| {
            self.summary.launches = seen.launched.len() as u64;
            self.summary.killed_alive = seen.killed_alive;
        });
        Ok(self.summary)
    }
}

/// Learned from a story in which nothing goes wrong.
pub(crate) type Expected = OnceLock<End>;
