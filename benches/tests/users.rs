//! A program of a user's own under the crash trials, as it would be called: one that saves a number in a file the right
//! way holds, one that forgets to sync the file before it renames it does not, and the state is kept.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "children speak by lines")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use peercask_bench::trial::calls;

const PROGRAM: &str = "PEERCASK_TEST_PROGRAM";
const CHECK: &str = "PEERCASK_TEST_CHECK";

/// Saves the number: under another name, synced, renamed, and the directory synced.
fn save(dir: &Path, number: u32, syncs: bool) {
    let temporary = dir.join("number.tmp");
    let mut file = File::create(&temporary).expect("made");
    file.write_all(number.to_string().repeat(200).as_bytes())
        .expect("written");
    if syncs {
        file.sync_all().expect("synced");
    }
    fs::rename(&temporary, dir.join("number")).expect("renamed");
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .expect("synced");
    println!("saved {number}");
}

/// Not a test of its own: the program. What it works in, and whether it syncs, is in its environment.
#[test]
fn helper_saves_numbers() {
    let Ok(given) = std::env::var(PROGRAM) else {
        return;
    };
    let (how, dir) = given.split_once(':').expect("how, and where");
    println!();
    for number in 1..5 {
        save(Path::new(dir), number, how == "right");
    }
}

/// Not a test of its own: the check.
#[test]
fn helper_checks_what_is_left() {
    let Some(dir) = std::env::var_os(CHECK).map(PathBuf::from) else {
        return;
    };
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let saved = lines.filter_map(|line| line.strip_prefix("saved ")?.parse().ok());
    let saved: u32 = saved.max().unwrap_or(0);
    let found = match fs::read_to_string(dir.join("number")) {
        Ok(text) => text,
        Err(_) if saved == 0 => return,
        Err(error) => panic!("{saved} was saved: {error}"),
    };
    let whole = |number: u32| found == number.to_string().repeat(200);
    assert!(whole(saved) || whole(saved + 1), "after {saved}: '{found}'");
}

fn trial(how: &str, more: &[&str]) -> Output {
    let this = std::env::current_exe().expect("this test has a file");
    let this = this.to_str().expect("text");
    let check =
        format!("{CHECK}=\"$1\" exec {this} helper_checks_what_is_left --exact --nocapture");
    let program = format!(
        "{PROGRAM}={how}:\"$1\" exec {this} helper_saves_numbers --exact --nocapture --test-threads=1"
    );
    Command::new(env!("CARGO_BIN_EXE_peercask-bench-crash"))
        .args(["program", "--check", &check, "--states", "60"])
        .args(more)
        .args(["--", "sh", "-c", &program, "sh", "{}"])
        .output()
        .expect("it runs")
}

#[test]
fn a_users_own_program_is_traced_and_judged_by_its_own_check() {
    if let Err(why) = calls::may_trace() {
        let line = format!("skipped: a user's program by traced calls: {why}\n");
        eprint!("{line}");
        let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peercask-skipped.txt");
        let file = OpenOptions::new().create(true).append(true).open(list);
        let told = file.and_then(|mut file| file.write_all(line.as_bytes()));
        told.expect("the list of skipped tests can be written");
        return;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let right = trial("right", &[]);
    let told = text(&right.stdout);
    assert!(right.status.success(), "{told}{}", text(&right.stderr));
    assert!(told.contains("all of them hold"), "{told}");
    let place = tempfile::tempdir().expect("a temporary directory");
    let kept = place.path().join("kept");
    let keep = ["--keep", kept.to_str().expect("text")];
    let wrong = trial("wrong", &keep);
    let told = text(&wrong.stdout);
    assert_eq!(
        wrong.status.code(),
        Some(1),
        "{told}{}",
        text(&wrong.stderr)
    );
    assert!(
        told.contains("does not hold") && told.contains("number"),
        "{told}"
    );
    assert!(kept.is_dir(), "the state is kept");
    println!("{told}");
}
