//! Tries every numbered attack against one profile on this machine.
//!
//! In: [`Battery`]: the program, the profile. Out: [`Report`]: each attack blocked, allowed or inconclusive, with the reason.
//!
//! **Invariant:** blocked means that the attack ran inside and was refused; what did not run is inconclusive.
//! **Invariant:** an attack that the profile claims to stop and that succeeded makes the report fail.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::launcher::{Came, Wanted};
use super::table::{ATTACKS, Control};
use super::verdict::{self, Verdict};
use super::world::{World, unique};
use super::{MARK, WORD};
use crate::profile::{Circumstances, Profile};
use crate::report::Exit;
use crate::threats;

/// What to try, and by whom.
#[derive(Debug)]
pub struct Battery {
    /// A program whose `main` begins with [`crate::init_main`] and [`super::attack_main`].
    pub program: PathBuf,
    /// Put before it, for instance to become another user.
    pub prefix: Vec<String>,
    /// Against which profile.
    pub profile: Profile,
}

/// One try of one attack.
#[derive(Debug, Clone, Serialize)]
pub struct Try {
    /// Its words.
    pub attack: String,
    /// What came of it inside.
    pub inside: Verdict,
    /// What came of it without the sandbox; none if that was not tried.
    pub outside: Option<Verdict>,
    /// Why there is no control, or why it may fail.
    pub note: Option<&'static str>,
}

/// One numbered attack.
#[derive(Debug, Serialize)]
pub struct Tried {
    /// In the list of threats.
    pub number: u8,
    /// Its title.
    pub title: &'static str,
    /// The worst of its tries.
    pub verdict: Verdict,
    /// Why the profile does not claim to stop it, if so.
    pub not_claimed: Option<&'static str>,
    /// The tries.
    pub tries: Vec<Try>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The profile.
    pub profile: Profile,
    /// Kernel release.
    pub kernel: String,
    /// Landlock's version.
    pub landlock_abi: u32,
    /// By number.
    pub attacks: Vec<Tried>,
}

impl Report {
    /// Attacks that succeeded although the profile claims to stop them.
    pub fn broken(&self) -> impl Iterator<Item = &Tried> {
        self.attacks.iter().filter(|tried| matches!(tried.verdict, Verdict::Allowed(_)) && tried.not_claimed.is_none())
    }

    /// How many were blocked, allowed, inconclusive.
    pub fn counts(&self) -> [usize; 3] {
        let count = |is: fn(&Verdict) -> bool| self.attacks.iter().filter(|tried| is(&tried.verdict)).count();
        [
            count(|verdict| matches!(verdict, Verdict::Blocked(_))),
            count(|verdict| matches!(verdict, Verdict::Allowed(_))),
            count(|verdict| matches!(verdict, Verdict::Inconclusive(_))),
        ]
    }
}

/// A command of our own program.
pub(super) fn command(program: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the sandbox is the crate that starts programs")]
    Command::new(program)
}

/// Runs all attacks. An error means that nothing could be tried.
pub fn run(battery: &Battery) -> io::Result<Report> {
    let field = Field { battery, world: World::build(&battery.program)? };
    let ready = field.launch(&["attack", "inherited-descriptors"], |_| {})?;
    if let Some(error) = ready.error {
        return Err(io::Error::other(error));
    }
    let landlock_abi = ready.enforced.as_ref().map_or(0, |enforced| enforced.landlock_abi);
    let circumstances = Circumstances {
        root: rustix::process::geteuid().is_root() && battery.prefix.is_empty(),
        cgroup: ready.enforced.is_some_and(|enforced| enforced.cgroup.is_some()),
        landlock_abi,
    };
    let numbers = 1..=u8::try_from(threats::THREATS.len()).unwrap_or(u8::MAX);
    let attacks = numbers.map(|number| {
        let tries = field.tries(number);
        let open = battery.profile.cannot_stop(circumstances).find(|open| open.attack == number);
        Tried {
            number,
            title: threats::title(number).unwrap_or_default(),
            verdict: verdict::worst(tries.iter().map(|one| one.inside.clone())),
            not_claimed: open.map(|open| open.why),
            tries,
        }
    });
    let attacks = attacks.collect();
    Ok(Report { profile: battery.profile, kernel: crate::preflight::kernel(), landlock_abi, attacks })
}

struct Field<'a> {
    battery: &'a Battery,
    world: World,
}

impl Field<'_> {
    fn tries(&self, number: u8) -> Vec<Try> {
        let listed = ATTACKS.iter().filter(|attack| attack.number == number);
        let mut tries: Vec<Try> = listed.map(|attack| self.one(attack.words, &attack.control)).collect();
        tries.extend(self.watched(number));
        tries
    }

    /// An attack of the table, inside, then without the sandbox.
    fn one(&self, words: &[&str], control: &Control) -> Try {
        let filled = self.world.fill(words);
        let all: Vec<&str> = std::iter::once("attack").chain(filled.iter().map(String::as_str)).collect();
        let inside = self.launch(&all, |_| {}).map_or_else(|error| inconclusive(&error), |came| said(&came));
        let (outside, note) = self.control(control);
        Try { attack: words.join(" "), inside, outside, note }
    }

    fn control(&self, control: &Control) -> (Option<Verdict>, Option<&'static str>) {
        let root = rustix::process::geteuid().is_root();
        let (words, spoilt, note) = match control {
            Control::Bare(words) => (words, false, None),
            Control::Root(words) => (words, false, (!root).then_some("only root could do it anyway")),
            Control::Spoilt(words) => (words, true, None),
            Control::IfPresent(words) => (words, false, Some("not every machine has it")),
            Control::Never(why) => return (None, Some(why)),
        };
        let mut start = if spoilt {
            let mut start = command(Path::new("unshare"));
            start.args(if root { ["-m", "-u"] } else { ["-Urm", "-u"] }).arg(&self.battery.program).env(MARK, "spoilt");
            start
        } else {
            command(&self.battery.program)
        };
        start.args([WORD, "attack"]).args(self.world.fill(words)).env("TOKEN", &self.world.secret);
        let output = start.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let verdict = output.map_or_else(|error| inconclusive(&error), |output| Verdict::read(&String::from_utf8_lossy(&output.stdout)));
        (Some(verdict), note)
    }

    /// The launcher of an attack, with a secret in its environment and sockets left open.
    fn spawn(&self, words: &[&str], change: impl FnOnce(&mut Wanted)) -> io::Result<Child> {
        let mut wanted = Wanted {
            profile: Some(self.battery.profile),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            shown: vec![(self.world.word("{data}"), "/in/data".to_owned(), false)],
            memory_bytes: 256 << 20,
            disk_bytes: 16 << 20,
            processes: 32,
            timeout_ms: 20_000,
            log_bytes: 64 << 10,
        };
        change(&mut wanted);
        let mut start = match self.battery.prefix.split_first() {
            Some((first, rest)) => {
                let mut start = command(Path::new(first));
                start.args(rest).arg(&self.battery.program);
                start
            }
            None => command(&self.battery.program),
        };
        start.args([WORD, "launch"]).env("TOKEN", &self.world.secret);
        let mut child = start.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&serde_json::to_vec(&wanted)?)?;
        }
        Ok(child)
    }

    fn launch(&self, words: &[&str], change: impl FnOnce(&mut Wanted)) -> io::Result<Came> {
        let output = self.spawn(words, change)?.wait_with_output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Attacks that show in how the run ended, in what it left, or in who is still alive.
    fn watched(&self, number: u8) -> Vec<Try> {
        let one = |attack: &str, verdict: io::Result<Verdict>| {
            vec![Try { attack: attack.to_owned(), inside: verdict.unwrap_or_else(|error| inconclusive(&error)), outside: None, note: None }]
        };
        match number {
            18 => one("no-proxy", Ok(Verdict::Inconclusive("this profile has no proxy that could be made to connect elsewhere".into()))),
            42 => one("set-user-id", self.set_user_id()),
            46 => one("swap", self.swap()),
            47 => ["fifo", "link", "hard-link", "sparse", "name"]
                .iter()
                .flat_map(|kind| one(&format!("litter {kind}"), self.litter(kind)))
                .collect(),
            49 => {
                let mut tries = one("eat-memory 300", self.starve(&["attack", "eat-memory", "300"]));
                tries.extend(one("fill /dev/shm 300", self.starve(&["attack", "fill", "/dev/shm", "300"])));
                tries
            }
            51 => one("spin", self.spin()),
            52 => one("daemon", self.survive("daemon")),
            53 => one("stopped-daemon", self.survive("stopped-daemon")),
            54 => one("orphan", self.orphan()),
            64 => one("flood", self.flood()),
            65 => {
                let mut tries = one("kill-init", self.forge("kill-init"));
                tries.extend(one("forge-report", self.forge("forge-report")));
                tries
            }
            _ => Vec::new(),
        }
    }

    fn set_user_id(&self) -> io::Result<Verdict> {
        let Some(path) = &self.world.set_user_id else {
            return Ok(Verdict::Inconclusive("only root can make a program of root's to try it with".into()));
        };
        let show = |wanted: &mut Wanted| wanted.shown.push((path.clone(), "/in/tool".to_owned(), true));
        Ok(said(&self.launch(&["attack", "set-user-id", "/in/tool"], show)?))
    }

    /// A file and a link are exchanged until the tree is killed; whatever is taken must never be the link's target.
    fn swap(&self) -> io::Result<Verdict> {
        let came = self.launch(&["behave", "swap", &self.world.word("{other}")], |wanted| wanted.timeout_ms = 500)?;
        let leaked = came.outputs.iter().any(|text| text.contains("secret-of-the-host"));
        Ok(if leaked {
            Verdict::Allowed("the target of a link was taken".into())
        } else {
            ended(&came, Exit::TimedOut, "nothing was taken")
        })
    }

    fn litter(&self, kind: &str) -> io::Result<Verdict> {
        let came = self.launch(&["behave", "litter", kind], |_| {})?;
        Ok(match (&came.error, came.exit, &came.outputs_refused) {
            (Some(error), ..) => Verdict::Inconclusive(error.clone()),
            (None, _, Some(code)) => Verdict::Blocked(code.clone()),
            (None, Some(Exit::Code(0)), None) => Verdict::Allowed("it was taken".into()),
            (None, ..) => Verdict::Blocked("it could not be made".into()),
        })
    }

    fn starve(&self, words: &[&str]) -> io::Result<Verdict> {
        let came = self.launch(words, |wanted| (wanted.memory_bytes, wanted.disk_bytes) = (96 << 20, 1 << 30))?;
        Ok(if came.exit == Some(Exit::OutOfMemory) { Verdict::Blocked("killed for want of memory".into()) } else { said(&came) })
    }

    fn spin(&self) -> io::Result<Verdict> {
        let begun = Instant::now();
        let came = self.launch(&["behave", "spin"], |wanted| wanted.timeout_ms = 700)?;
        let late = begun.elapsed() > Duration::from_secs(15);
        Ok(if late {
            Verdict::Allowed("it outlived its time".into())
        } else {
            ended(&came, Exit::TimedOut, "killed when its time was over")
        })
    }

    fn survive(&self, behaviour: &str) -> io::Result<Verdict> {
        let mark = unique(behaviour);
        let came = self.launch(&["behave", behaviour, &mark], |wanted| wanted.timeout_ms = 1500)?;
        if let Some(error) = came.error {
            return Ok(Verdict::Inconclusive(error));
        }
        Ok(verdict::seen(alive(&mark), if alive(&mark) { "a process survived" } else { "no process survived" }))
    }

    fn orphan(&self) -> io::Result<Verdict> {
        let mark = unique("orphan");
        let mut launcher = self.spawn(&["behave", "sleep", &mark], |_| {})?;
        let began = eventually(|| alive(&mark));
        launcher.kill()?;
        launcher.wait()?;
        if !began {
            return Ok(Verdict::Inconclusive("the step was not seen to begin".into()));
        }
        let gone = eventually(|| !alive(&mark));
        Ok(verdict::seen(!gone, if gone { "the step died with its launcher" } else { "the step outlived its launcher" }))
    }

    fn flood(&self) -> io::Result<Verdict> {
        const PIPEFULS: u64 = 500;
        let came = self.launch(&["behave", "flood", &PIPEFULS.to_string()], |wanted| wanted.log_bytes = 1000)?;
        let cut = came.stdout.len() <= 1000 && came.stdout_total == PIPEFULS * 65_536;
        let told = format!("{} bytes kept of {}", came.stdout.len(), came.stdout_total);
        Ok(if cut || came.error.is_some() { ended(&came, Exit::Code(0), &told) } else { Verdict::Allowed(told) })
    }

    fn forge(&self, behaviour: &str) -> io::Result<Verdict> {
        let came = self.launch(&["behave", behaviour], |wanted| wanted.timeout_ms = 1500)?;
        let honest = if behaviour == "kill-init" { Exit::Code(7) } else { Exit::TimedOut };
        Ok(match came.exit {
            Some(exit) if exit != honest => Verdict::Allowed(format!("{exit:?} was reported")),
            _ => ended(&came, honest, "the true end was reported"),
        })
    }
}

fn inconclusive(error: &io::Error) -> Verdict {
    Verdict::Inconclusive(error.to_string())
}

/// What the attack said by itself. A silent end by the limits is a refusal too.
fn said(came: &Came) -> Verdict {
    match (&came.error, came.exit) {
        (Some(error), _) => Verdict::Inconclusive(error.clone()),
        (None, Some(Exit::OutOfMemory)) => Verdict::Blocked("killed for want of memory".into()),
        (None, _) => Verdict::read(&came.stdout),
    }
}

/// Blocked if the run ended as a stopped attack ends.
fn ended(came: &Came, exit: Exit, told: &str) -> Verdict {
    match &came.error {
        Some(error) => Verdict::Inconclusive(error.clone()),
        None if came.exit == Some(exit) => Verdict::Blocked(told.to_owned()),
        None => Verdict::Inconclusive(format!("it ended by itself: {:?}", came.exit)),
    }
}

/// Whether a process of the host has this word on its command line.
fn alive(mark: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
}

fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}
