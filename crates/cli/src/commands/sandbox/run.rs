//! `seaworthy sandbox run`: any command, confined like a step.
//!
//! **Invariant:** standard output carries the command's bytes and nothing else; what is ours goes to standard error.
//! **Invariant:** 125 means that the sandbox failed, never that the command did.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use seaworthy_core::limits;
use seaworthy_core::workflow::units;
use seaworthy_engine::egress::{Bounds, Proxy};
use seaworthy_engine::environment::Places;
use seaworthy_engine::environment::image::{Add, ImageError, Images, RegistrySettings};
use seaworthy_engine::workers::Pool;
use seaworthy_sandbox::profile::Network;
use seaworthy_sandbox::{
    Cancel, Device, Exit, Limits, Mount, Outcome, Profile, SYSTEM_PATH, SandboxError, Spec, Ways, driver_libraries, system_view,
};

use super::{NOT_SET_UP, egress, outputs};
use crate::arguments::Isolated;
use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

/// Where a command in an image finds the host's driver libraries.
const DRIVERS: &str = "/drivers";

/// A folder of the host that takes what the command leaves in `/out/<name>`.
struct Writable {
    name: String,
    host: PathBuf,
}

pub(super) fn run(settings: &Settings, arguments: &Isolated) -> Result<u8, Failure> {
    refuse_what_is_to_come(arguments)?;
    let writable = arguments.rw.iter().map(|text| writable(text)).collect::<Result<Vec<_>, _>>()?;
    let folders = writable.iter().map(|one| outputs::open(&one.host)).collect::<Result<Vec<_>, _>>()?;
    let spec = specify(settings, arguments, &writable)?;
    let cancel = Cancel::new();
    let switch = cancel.clone();
    ctrlc::set_handler(move || switch.cancel()).map_err(|e| refused("cli/signal", e.to_string(), ""))?;
    let own = |stream: &dyn AsFd| stream.as_fd().try_clone_to_owned().map(Some);
    let sinks = own(&std::io::stdout()).and_then(|out| Ok([out, own(&std::io::stderr())?]));
    let sinks = sinks.map_err(|e| refused("sandbox/setup", format!("standard output: {e}"), ""))?;
    let outcome = confined(spec, sinks, &arguments.egress, &cancel)?;
    let code = exit_code(&outcome);
    for (collected, folder) in outcome.outputs.map_err(|e| refused(e.code(), e.to_string(), e.hint()))?.into_iter().zip(&folders) {
        outputs::copy(collected, folder)?;
    }
    Ok(code)
}

/// The run itself, with the proxy beside it where hosts are declared.
fn confined(spec: Spec, sinks: [Option<OwnedFd>; 2], hosts: &[String], cancel: &Cancel) -> Result<Outcome, Failure> {
    if hosts.is_empty() {
        return seaworthy_sandbox::run_passing(spec, sinks, cancel).map_err(|error| not_run(&error));
    }
    let proxy = Proxy::new(egress::destinations(hosts)?, &egress::Told, Bounds::default());
    let proxy = proxy.map_err(|e| refused("egress/proxy", e.to_string(), "too many open files?"))?;
    let (outcome, _) = proxy.serve(|door| {
        let ways = Ways { sinks, door: Some(door), ..Ways::default() };
        seaworthy_sandbox::run_with(spec, ways, cancel)
    });
    outcome.map_err(|error| not_run(&error))
}

fn refused(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(NOT_SET_UP, code, message, hint)
}

fn unusable(message: String, hint: &str) -> Failure {
    refused("cli/usage", message, hint)
}

/// Parsed already, so that scripts can be written; refused, so that none believes what is not there.
fn refuse_what_is_to_come(arguments: &Isolated) -> Result<(), Failure> {
    if arguments.image.is_some() && arguments.profile == Profile::Landlock.layers().name {
        let message = "`--image` with `--profile landlock`: without namespaces an image cannot be the root".to_owned();
        return Err(refused("sandbox/unsupported", message, "--profile strict or no-cgroup"));
    }
    Ok(())
}

fn specify(settings: &Settings, arguments: &Isolated, writable: &[Writable]) -> Result<Spec, Failure> {
    let profile = profile(&arguments.profile, !arguments.egress.is_empty())?;
    let proxy: &[&str] = if arguments.egress.is_empty() { &[] } else { &["HTTPS_PROXY", "https_proxy"] };
    let Root { mut mounts, links, texts, mut env, workdir } = match &arguments.image {
        Some(reference) => of_image(settings, reference)?,
        None => of_system()?,
    };
    if profile.layers().devices && arguments.image.is_some() {
        // an image brings the programs, not the half of a driver that has to fit this kernel
        for (name, path) in driver_libraries() {
            mounts.push(mount(&path, format!("{DRIVERS}/{name}"), true)?);
        }
        env.entry("LD_LIBRARY_PATH".to_owned())
            .and_modify(|path| *path = format!("{DRIVERS}:{path}"))
            .or_insert_with(|| DRIVERS.to_owned());
    }
    for text in &arguments.ro {
        let (host, place) = shown(text)?;
        // what lies in /in is data
        let exec = place != "/in" && !place.starts_with("/in/");
        mounts.push(mount(&host, place, exec)?);
    }
    let environment = [
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PATH", SYSTEM_PATH),
        ("SEAWORTHY_INPUTS", "/in"),
        ("SEAWORTHY_OUTPUTS", "/out"),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
        ("USER", "step"),
    ];
    Ok(Spec {
        profile,
        argv: arguments.command.clone(),
        env: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .chain(env)
            .chain(proxy.iter().map(|name| ((*name).to_owned(), seaworthy_sandbox::proxy_url())))
            .collect::<BTreeMap<_, _>>(),
        workdir,
        hostname: "sandbox".to_owned(),
        mounts,
        links,
        texts,
        outputs: writable.iter().map(|one| one.name.clone()).collect(),
        limits: limits_of(arguments)?,
        devices: arguments.device.iter().map(|path| Device::open(path)).collect::<Result<_, _>>().map_err(|e| not_run(&e))?,
        places_in_words: true,
        capture: false,
    })
}

/// What the command sees as its root.
struct Root {
    mounts: Vec<Mount>,
    links: Vec<(String, String)>,
    texts: Vec<(String, String)>,
    env: BTreeMap<String, String>,
    workdir: String,
}

/// The host's own programs.
fn of_system() -> Result<Root, Failure> {
    let view = system_view();
    let shown = |path: &PathBuf| mount(path, path.to_string_lossy().into_owned(), true);
    let mounts = view.mounts.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    Ok(Root { mounts, links: view.links, texts: view.texts, env: BTreeMap::new(), workdir: "/tmp".to_owned() })
}

/// An image, added if it is not there, with its variables and its working folder.
fn of_image(settings: &Settings, reference: &str) -> Result<Root, Failure> {
    let failed = |e: ImageError| refused(e.code(), e.to_string(), e.hint());
    let images =
        Images::open(Places { cache_dir: &settings.cache_dir, state_dir: &settings.state_dir }, Arc::new(Pool::new())).map_err(failed)?;
    let registry =
        RegistrySettings { ca_file: settings.index.ca_file.clone(), proxy: settings.index.proxy.clone(), ..RegistrySettings::default() };
    let add = Add { registry: Some(&registry), ..Add::default() };
    let image = images.resolve(reference, Path::new("."), add).map_err(failed)?;
    let tree = images.tree(&image).map_err(failed)?;
    let setting = image.setting(&tree).map_err(failed)?;
    let workdir = setting.workdir.unwrap_or_else(|| "/tmp".to_owned());
    Ok(Root { mounts: setting.mounts, links: setting.links, texts: Vec::new(), env: setting.env, workdir })
}

/// The profiles of provisioning have the network of the host: nothing that a user names runs under them.
fn profile(name: &str, with_egress: bool) -> Result<Profile, Failure> {
    let known = name.parse().ok().filter(|profile: &Profile| profile.is_for_steps());
    let profile = known.ok_or_else(|| {
        unusable(format!("there is no profile `{name}` for commands"), "strict or no-cgroup; `seaworthy sandbox explain` tells of all")
    })?;
    let leads_out = profile.layers().network == Network::Declared;
    match (with_egress, leads_out) {
        (false, true) => {
            Err(unusable(format!("`--profile {name}` leads to declared hosts, and none is declared"), "add --egress HOST:PORT"))
        }
        (false, false) => Ok(profile),
        (true, _) => profile.for_egress().ok_or_else(|| {
            let message = format!("`--egress` with `--profile {name}`: it has no empty network that a way could lead out of");
            refused("sandbox/unsupported", message, "--profile strict or no-cgroup")
        }),
    }
}

fn limits_of(arguments: &Isolated) -> Result<Limits, Failure> {
    let memory_bytes = units::size_bytes(&arguments.memory).filter(|bytes| *bytes > 0);
    let memory_bytes =
        memory_bytes.ok_or_else(|| unusable(format!("`--memory {}` is no size", arguments.memory), "for instance 512MiB or 4GiB"))?;
    let seconds = arguments.timeout.parse().ok().or_else(|| units::duration_s(&arguments.timeout)).filter(|seconds| *seconds > 0);
    let seconds =
        seconds.ok_or_else(|| unusable(format!("`--timeout {}` is no time", arguments.timeout), "seconds, or for instance 10m"))?;
    if arguments.processes == 0 {
        return Err(unusable("`--processes 0` leaves none for the command".to_owned(), "at least 1"));
    }
    Ok(Limits {
        memory_bytes,
        cpu_milli: None,
        processes: arguments.processes,
        disk_bytes: limits::STEP_DISK_BYTES_DEFAULT.min(memory_bytes),
        timeout: Duration::from_secs(seconds),
        log_bytes: 0,
        output_files: limits::OUTPUT_FILES_MAX,
    })
}

/// `HOST:PLACE`, or `HOST` alone for `/in/<its name>`.
fn shown(text: &str) -> Result<(PathBuf, String), Failure> {
    if let Some((host, place)) = text.rsplit_once(":/").filter(|(host, _)| !host.is_empty()) {
        return Ok((host.into(), format!("/{place}")));
    }
    let name = Path::new(text).canonicalize().ok().and_then(|path| path.file_name()?.to_str().map(str::to_owned));
    let name = name.ok_or_else(|| unusable(format!("`--ro {text}` names nothing that is there"), "--ro HOST:/in/NAME"))?;
    Ok((text.into(), format!("/in/{name}")))
}

fn writable(text: &str) -> Result<Writable, Failure> {
    let parts = text.rsplit_once(":/out/").filter(|(host, name)| !host.is_empty() && !name.trim_end_matches('/').is_empty());
    let (host, name) =
        parts.ok_or_else(|| unusable(format!("`--rw {text}` is not HOST:/out/NAME"), "only folders below /out can be written to"))?;
    Ok(Writable { name: name.trim_end_matches('/').to_owned(), host: host.into() })
}

/// Links are followed here, by the user who names them; the sandbox gets what they led to.
fn mount(path: &Path, target: String, exec: bool) -> Result<Mount, Failure> {
    let opened = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let source: OwnedFd =
        opened.map_err(|e| refused("sandbox/setup", format!("`{}`: {}", path.display(), std::io::Error::from(e)), "name what is there"))?;
    let target = if target.len() > 1 { target.trim_end_matches('/').to_owned() } else { target };
    Ok(Mount { source, target, exec })
}

/// A command that is not there is the command's fault, as in any shell; all else is ours.
fn not_run(error: &SandboxError) -> Failure {
    let exit_code = match error {
        SandboxError::Exec { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
        SandboxError::Exec { .. } => 126,
        _ => NOT_SET_UP,
    };
    Failure::new(exit_code, error.code(), error.to_string(), error.hint())
}

/// As a shell would tell it. What the sandbox ended is said, since the command can no more.
fn exit_code(outcome: &Outcome) -> u8 {
    match outcome.exit {
        Exit::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
        Exit::Signal(signal) => u8::try_from(signal).ok().and_then(|signal| signal.checked_add(128)).unwrap_or(u8::MAX),
        Exit::TimedOut => {
            render::note("sandbox: time is over, everything was killed");
            124
        }
        Exit::OutOfMemory => {
            render::note("sandbox: killed for want of memory (--memory)");
            137
        }
        Exit::Cancelled => 130,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_the_right() {
        let (host, place) = shown("a:b:/in/x").unwrap();
        assert_eq!((host.to_str().unwrap(), place.as_str()), ("a:b", "/in/x"));
        assert_eq!(shown("/usr/").unwrap().1, "/in/usr");
        assert!(shown("/nonexistent").is_err());
        let one = writable("out:/out/a/").unwrap();
        assert_eq!((one.host.to_str().unwrap(), one.name.as_str()), ("out", "a"));
        for text in ["out", ":/out/a", "x:/in/a", "x:/out/", "x:/out"] {
            assert!(writable(text).is_err(), "{text}");
        }
    }
}
