//! Progress bars: on standard error, only when it is a terminal, only for work of over a second.
//!
//! It must never know the work, and costs it nearly nothing: a bar is drawn a few times a second.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a bar counts.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Bytes,
    Things,
}

/// A bar that appears when it is worth it and is gone when dropped.
pub(crate) struct Progress {
    title: &'static str,
    count: Count,
    total: u64,
    done: u64,
    started: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(title: &'static str, count: Count, total: u64) -> Progress {
        Progress {
            title,
            count,
            total,
            done: 0,
            started: Instant::now(),
            wanted: io::stderr().is_terminal(),
            bar: None,
        }
    }

    pub(crate) fn add(&mut self, more: u64) {
        self.set(self.done + more);
    }

    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        if !self.wanted {
            return;
        }
        if self.bar.is_none() && self.started.elapsed() >= PATIENCE {
            self.bar = Some(self.draw());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Says beside a bar that is drawn what has been found so far.
    pub(crate) fn tell(&self, found: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(found());
        }
    }

    /// The engine's progress reports, where the total is only known on the way.
    pub(crate) fn follow(&mut self, progress: &peercask::Progress) {
        if self.total != progress.total_bytes {
            self.total = progress.total_bytes;
            if let Some(bar) = &self.bar {
                bar.set_length(self.total);
            }
        }
        self.set(progress.done_bytes);
    }

    fn draw(&self) -> ProgressBar {
        let template = match self.count {
            Count::Bytes => "{msg:<28} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}",
            Count::Things => "{msg:<28} {wide_bar} {human_pos}/{human_len} {eta}",
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates above are well formed")
            .progress_chars("=> ");
        ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr())
            .with_elapsed(self.started.elapsed())
            .with_style(style)
            .with_message(self.title)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
