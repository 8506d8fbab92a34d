//! The parent's side of a node process: starts it, talks to it, kills it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::node::Config;
use super::swarm::Failure;

/// The variable in which a node finds its configuration.
pub const NODE: &str = "PEERCASK_KAD_NODE";

/// A running node.
pub struct NodeProcess {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Where it listens, with its peer id.
    pub address: String,
}

/// What `done` says of a command.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub queries: u64,
    pub found: u64,
    /// The longest and the shortest life that a record found had left.
    pub ttl_ms: u64,
    pub least_ms: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    pub ms: u64,
    /// The providers named, by their ids.
    pub who: Vec<String>,
}

/// What a store holds of some keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Those that have a provider.
    pub keys: u64,
    /// Their provider records.
    pub records: u64,
    /// The providers, by their ids.
    pub who: Vec<String>,
}

impl NodeProcess {
    /// Starts a node; `args` make this very program into one.
    pub fn start(config: &Config, args: &[&str]) -> Result<NodeProcess, Failure> {
        NodeProcess::start_within(config, &[], args)
    }

    /// The same, by a command that runs another.
    pub fn start_within(
        config: &Config,
        within: &[&str],
        args: &[&str],
    ) -> Result<NodeProcess, Failure> {
        let own = std::env::current_exe()?;
        let mut command = match within.split_first() {
            None => Command::new(own),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(own);
                command
            }
        };
        let mut child = command
            .args(args)
            .env(NODE, config.to_text())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = child.stdin.take().ok_or("piped")?;
        let output = child.stdout.take().ok_or("piped")?;
        let (tell, lines) = sync_channel(1_024);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut node = NodeProcess {
            child,
            input,
            lines,
            address: String::new(),
        };
        node.address = node.wait_for("listening ", Duration::from_secs(120))?;
        Ok(node)
    }

    /// Sends a command and waits for the line that answers it.
    pub fn ask(&mut self, command: &str, answer: &str, time: Duration) -> Result<String, Failure> {
        writeln!(self.input, "{command}")?;
        self.input.flush()?;
        self.wait_for(answer, time)
    }

    /// Sends a command; the answer is fetched with `wait_for`.
    pub fn tell(&mut self, command: &str) -> Result<(), Failure> {
        writeln!(self.input, "{command}")?;
        Ok(self.input.flush()?)
    }

    /// The rest of the next line that starts so.
    pub fn wait_for(&mut self, start: &str, time: Duration) -> Result<String, Failure> {
        let end = std::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(start) {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no '{start}' within {time:?}").into());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the node ended before it said '{start}'").into());
                }
            }
        }
    }

    pub fn dial(&mut self, address: &str) -> Result<(), Failure> {
        self.ask(
            &format!("dial {address}"),
            "dialled",
            Duration::from_secs(10),
        )?;
        Ok(())
    }

    /// Runs queries to their end.
    pub fn queries(&mut self, command: &str, time: Duration) -> Result<Done, Failure> {
        let told = self.ask(command, "done ", time)?;
        Ok(done_of(&told))
    }

    /// A number of `stats`.
    pub fn stat(&mut self, name: &str) -> Result<u64, Failure> {
        let told = self.ask("stats", "stats ", Duration::from_secs(30))?;
        number_after(&told, name).ok_or_else(|| format!("no {name} in '{told}'").into())
    }

    /// Waits until a number of `stats` is what it should be.
    pub fn wait_stat(
        &mut self,
        name: &str,
        is_right: impl Fn(u64) -> bool,
        time: Duration,
    ) -> Result<u64, Failure> {
        let end = std::time::Instant::now() + time;
        loop {
            let found = self.stat(name)?;
            if is_right(found) {
                return Ok(found);
            }
            if std::time::Instant::now() > end {
                return Err(format!("{name} is {found} after {time:?}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its peer id, as `who` names it.
    pub fn peer(&self) -> &str {
        self.address.rsplit('/').next().unwrap_or_default()
    }

    /// What its own store holds of these keys.
    pub fn held(&mut self, prefix: &str, from: u64, count: u64) -> Result<Held, Failure> {
        let command = format!("held {prefix} {from} {count}");
        let told = self.ask(&command, "held ", Duration::from_secs(30))?;
        let keys = told.split(' ').next().and_then(|word| word.parse().ok());
        let records = number_after(&told, "records");
        Ok(Held {
            keys: keys.ok_or("a number")?,
            records: records.ok_or("a number")?,
            who: names_after(&told, "who"),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no destructor runs.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // One that was killed before is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

pub fn done_of(told: &str) -> Done {
    let queries = told
        .split(' ')
        .nth(1)
        .and_then(|number| number.parse().ok());
    let number = |name| number_after(told, name).unwrap_or(0);
    Done {
        queries: queries.unwrap_or(0),
        found: number("found"),
        ttl_ms: number("ttlms"),
        least_ms: number("leastms"),
        p50_us: number("p50us"),
        p90_us: number("p90us"),
        p99_us: number("p99us"),
        max_us: number("maxus"),
        ms: number("ms"),
        who: names_after(told, "who"),
    }
}

fn names_after(text: &str, name: &str) -> Vec<String> {
    let names = text.split(' ').skip_while(|word| *word != name).nth(1);
    let names = names.filter(|names| !names.is_empty()).into_iter();
    names
        .flat_map(|names| names.split(','))
        .map(str::to_owned)
        .collect()
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let mut words = text.split(' ').skip_while(|word| *word != name);
    words.next()?;
    words.next()?.parse().ok()
}
