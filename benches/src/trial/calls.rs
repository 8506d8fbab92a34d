//! System calls of a child as strace writes them down: run under it, and read back. Lines of calls that another
//! thread's broke into are put together again; a call counts when it returned.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;

/// The calls that change files, or tell which file a number is of.
const TRACED: &str = "?open,openat,?creat,close,read,readv,write,pwrite64,writev,pwritev,pwritev2,lseek,\
    ftruncate,?truncate,fallocate,fsync,fdatasync,sync_file_range,msync,sync,syncfs,?rename,?renameat,renameat2,\
    ?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?link,linkat,?symlink,symlinkat,dup,?dup2,dup3,fcntl,mmap,\
    copy_file_range,sendfile,splice,?io_uring_setup";

/// One call that returned without an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments as they were written down.
    pub arguments: Vec<String>,
    /// What it returned.
    pub answer: i64,
}

impl Call {
    /// Argument `at`, or nothing.
    #[must_use]
    pub fn text(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    /// Argument `at` as a number.
    #[must_use]
    pub fn number(&self, at: usize) -> Option<i64> {
        self.text(at).parse().ok()
    }

    /// Argument `at` as bytes.
    ///
    /// # Errors
    /// If it is no string, or one that was cut short.
    pub fn bytes(&self, at: usize) -> Outcome<Vec<u8>> {
        unquoted(self.text(at)).ok_or_else(|| {
            let told: String = self.text(at).chars().take(60).collect();
            format!("{}: `{told}` is no string", self.name).into()
        })
    }

    /// The strings of a vector of buffers, one after the other.
    ///
    /// # Errors
    /// As [`Call::bytes`].
    pub fn vector(&self, at: usize) -> Outcome<Vec<u8>> {
        let mut all = Vec::new();
        for part in self.text(at).split("iov_base=").skip(1) {
            let string = part.split(',').next().unwrap_or_default();
            let bytes = unquoted(string);
            all.extend(bytes.ok_or_else(|| format!("{}: a vector cut short", self.name))?);
        }
        Ok(all)
    }
}

/// The bytes of a string in which every byte is written `\xHH`.
fn unquoted(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let bytes = inner.strip_prefix("\\x")?.split("\\x");
    bytes.map(|hex| u8::from_str_radix(hex, 16).ok()).collect()
}

/// Whether strace is there and may trace, or why not.
///
/// # Errors
/// In words.
pub fn may_trace() -> Outcome<()> {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("strace cannot be run: {error}"))?;
    match tried.status.success() {
        true => Ok(()),
        false => Err(format!("strace may not trace here: {}", words_of(&tried.stderr)).into()),
    }
}

/// Runs a program under strace to its end, and answers with its calls in order.
///
/// # Errors
/// If it fails, or its trace cannot be read.
pub fn of(program: &Path, arguments: &[&OsStr], trace: &Path) -> Outcome<Vec<Call>> {
    let ran = Command::new("strace")
        .args(["-f", "-qq", "-xx", "-s", "16777216", "-o"])
        .arg(trace)
        .args(["-e", &format!("trace={TRACED}"), "-e", "signal=none"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !ran.status.success() {
        return Err(format!("the child that writes failed: {}", words_of(&ran.stderr)).into());
    }
    parse(&fs::read_to_string(trace)?)
}

fn words_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .next()
        .unwrap_or("it does not say why")
        .to_owned()
}

/// The calls of a trace that returned without an error, in the order in which they returned.
///
/// # Errors
/// If a line cannot be understood.
pub fn parse(trace: &str) -> Outcome<Vec<Call>> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(first) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, first);
            continue;
        }
        let whole = match rest.strip_prefix("<... ") {
            None => rest.to_owned(),
            Some(resumed) => {
                let first = begun.remove(thread).unwrap_or_default();
                let rest = resumed.split_once(" resumed>").map_or("", |(_, rest)| rest);
                format!("{first}{rest}")
            }
        };
        let call = call_of(&whole).ok_or_else(|| {
            let told: String = line.chars().take(120).collect();
            format!("a line of the trace that is no call: {told}")
        })?;
        calls.extend(call);
    }
    Ok(calls)
}

/// `None` if it is no call; `Some(None)` if it failed or never returned.
fn call_of(text: &str) -> Option<Option<Call>> {
    let (name, rest) = text.split_once('(')?;
    // Strings are all hexadecimal: no bracket or blank of the trace is within one.
    let (arguments, answer) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let answer = answer.split_whitespace().next()?;
    if answer == "?" {
        return Some(None);
    }
    let answer = match answer.strip_prefix("0x") {
        // An address: all that matters is that there is one.
        Some(_) => 0,
        None => answer.parse().ok()?,
    };
    Some((answer >= 0).then(|| Call {
        name: name.to_owned(),
        arguments: split(arguments),
        answer,
    }))
}

/// Arguments, at the commas outside of brackets.
fn split(text: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut depth = 0_u32;
    for c in text.chars() {
        match c {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = arguments.last_mut()
            && !(c == ' ' && last.is_empty())
        {
            last.push(c);
        }
    }
    // One that was broken into ends in a blank.
    arguments
        .iter()
        .map(|text| text.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = concat!(
        "7 openat(AT_FDCWD, \"\\x2f\\x61\", O_RDWR|O_CREAT, 0644) = 3\n",
        "7 pwrite64(3, \"\\x68\\x69\", 2, 512 <unfinished ...>\n",
        "8 fdatasync(3 <unfinished ...>\n",
        "7 <... pwrite64 resumed>)              = 2\n",
        "7 unlink(\"\\x2f\\x62\") = -1 ENOENT (No such file or directory)\n",
        "8 <... fdatasync resumed>)             = 0\n",
        "7 writev(3, [{iov_base=\"\\x31\", iov_len=1}, {iov_base=\"\\x32\\x33\", iov_len=2}], 2) = 3\n",
        "7 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3, 0) = 0x7f0000000000\n",
        "7 +++ exited with 0 +++\n",
    );

    #[test]
    fn a_trace_is_read_in_the_order_in_which_calls_returned() {
        let calls = parse(TRACE).expect("a trace");
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["openat", "pwrite64", "fdatasync", "writev", "mmap"]);
        assert_eq!(calls[0].bytes(1).expect("a string"), b"/a");
        assert_eq!(calls[1].bytes(1).expect("a string"), b"hi");
        assert_eq!((calls[1].number(3), calls[1].answer), (Some(512), 2));
        assert_eq!(calls[3].vector(1).expect("buffers"), b"123");
        assert_eq!(calls[4].text(2), "PROT_READ");
    }

    #[test]
    fn what_is_cut_short_or_no_call_is_an_error() {
        let cut = parse("7 write(1, \"\\x31\"..., 99) = 99\n").expect("a call");
        assert!(cut[0].bytes(1).is_err());
        assert!(parse("7 nothing of the kind\n").is_err());
    }
}
