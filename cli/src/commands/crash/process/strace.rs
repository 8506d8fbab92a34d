//! Kills at a system call, by strace: the signal comes before the call is made.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// The calls that concern files; names that a system does not know are left out by the `?`.
const CALLS: &str = "?open,?openat,?creat,?mkdir,?mkdirat,?write,?pwrite64,?pwritev,?fsync,\
                     ?fdatasync,?sync_file_range,?rename,?renameat,?renameat2,?unlink,?unlinkat,\
                     ?ftruncate,?fallocate,?flock,?link,?linkat,?mmap,?close";

/// Whether strace is there and may trace, or why not.
pub(super) fn may_trace() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("strace is a tool of Linux".to_owned());
    }
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=none"]);
    let tried = command
        .arg(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(format!(
                "strace may not trace here: {}",
                said.lines().next().unwrap_or("it does not say why")
            ))
        }
        Err(error) => Err(format!("strace cannot be run: {error}")),
    }
}

/// `program` under strace, to be killed when it makes its call `number`, counted over all its threads.
pub(super) fn killing_at(number: u64, program: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    command.arg(format!("trace={CALLS}"));
    command.arg("-e");
    command.arg(format!("inject={CALLS}:signal=KILL:when={number}"));
    command.arg(program);
    command
}
