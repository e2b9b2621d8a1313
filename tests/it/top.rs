//! `penstock top` as a user meets it: once, as lines in a pipe, and on a terminal with keys.
//!
//! It refuses to compare pictures: how it is drawn is the screen's own tests.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::admin::Admin;
use crate::harness::{Penstock, Servers, free_port, wait_for};
use crate::scene::{DEADLINE, Scene};

/// Runs a command on a terminal of its own and presses keys; what the terminal got is printed.
const ON_A_TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm-256color"
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
seen = b""
def until(text):
    global seen
    deadline = time.monotonic() + 60
    while text not in seen:
        if time.monotonic() > deadline:
            sys.exit(f"{text} was not shown: {seen[-4000:]}")
        if select.select([fd], [], [], 1)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:
                sys.exit(f"it ended before {text}: {seen[-4000:]}")
until(b"Healthy")
until(b"q end")
os.write(fd, b"?")
until(b"goes")
os.write(fd, b"x")
os.write(fd, b"\x1b[C")
until(b"(by")
os.write(fd, b"q")
until(b"\x1b[?1049l")
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn line() -> (Scene, Penstock) {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.publish(100);
    let mut line = Penstock::run(&scene.config);
    line.wait_ready();
    (scene, line)
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_penstock")
}

/// Exit code, standard output and standard error.
fn top(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.arg("top").args(arguments).env_remove("PENSTOCK_CONFIG").env_remove("PENSTOCK_TOKEN");
    let done = command.envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn once_as_json_and_as_lines_from_the_line_itself_and_from_an_admin_process() {
    let (scene, mut line) = line();
    scene.expect_all(DEADLINE);
    let url = format!("http://{}", line.telemetry());
    let summary: Value = wait_for(DEADLINE, "it is well", || {
        let (code, out, _) = top(&["--line", &url, "--once", "--json"], &[]);
        (code == Some(0)).then(|| serde_json::from_str(&out).unwrap())
    });
    assert_eq!((&summary["verdict"]["level"], &summary["partitions_total"]), (&json!("healthy"), &json!(4)));
    assert!(summary["totals"]["in_records_per_s"].is_number(), "two looks: {summary}");
    let (code, text, _) = top(&["--line", &url, "--once"], &[]);
    assert!(code == Some(0) && text.contains("[healthy] Healthy: 1 topic"), "{text}");

    let mut lines = Command::new(binary())
        .args(["top", "--line", &url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(lines.stdout.take().unwrap());
    for _ in 0..2 {
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        assert!(text.contains("Healthy") && !text.contains('\u{1b}'), "{text}");
    }
    // Whoever does not read any more ends it.
    drop(reader);
    assert_eq!(lines.wait().unwrap().code(), Some(0));

    let brokers: Vec<&str> = scene.kafka.brokers.split(',').collect();
    let admin = Admin::start_with(|config| {
        config.set("kafka.brokers", json!(brokers)).set("admin.console.lines", json!([url]))
    });
    let file = admin.bench.keys.path().join("viewer.token");
    let token = admin.token("viewer");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let (address, file) = (format!("http://{}", admin.listen), file.to_str().unwrap().to_owned());
    let by_file = ["--url", &address, "--token-file", &file, "--once", "--output", "json"];
    let by_variable = ["--url", &address, "--once", "--json"];
    for (arguments, environment) in
        [(&by_file[..], None), (&by_variable[..], Some(("PENSTOCK_TOKEN", token.as_str())))]
    {
        let (code, out, err) = top(arguments, environment.as_slice());
        let summary: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        assert_eq!((code, &summary["actor"]), (Some(0), &Value::Null), "{err}");
        assert_eq!(summary["verdict"]["level"], json!("healthy"));
    }
    line.kill9();
    let (code, out, _) = top(&["--line", &url, "--once"], &[]);
    assert!(code == Some(3) && out.contains("[unknown]"), "{out}");
}

#[test]
fn what_cannot_work_says_so_with_a_hint() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let token = [("PENSTOCK_TOKEN", "x")];
    for (arguments, environment, code, wanted) in [
        (&["--once"][..], &[][..], 2, "hint: name its file with --token-file"),
        (&["--url", &nobody, "--once"], &token[..], 4, "hint: check --url"),
        (&["--url", "http://admin.example:9480", "--once"], &token[..], 2, "hint: write https://"),
        (&["--line", "https://a:1", "--once"], &[][..], 2, "hint: write http://host:port"),
        (&["--token-file", "/nowhere", "--once"], &[][..], 2, "cannot be read"),
    ] {
        let (found, _, err) = top(arguments, environment);
        assert!(found == Some(code) && err.contains(wanted), "{arguments:?}: {found:?} {err}");
    }
}

#[test]
fn on_a_terminal_it_is_drawn_and_keys_are_heard() {
    let (scene, line) = line();
    scene.expect_all(DEADLINE);
    let url = format!("http://{}", line.telemetry());
    let done = Command::new("python3")
        .args(["-c", ON_A_TERMINAL, binary(), "top", "--line", &url])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
