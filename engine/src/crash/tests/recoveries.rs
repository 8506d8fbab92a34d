//! Recovery that is interrupted: after a power cut it comes to one state, whatever interrupts it, at
//! whichever of its calls, and the next one too.

use std::collections::HashMap;
use std::sync::Arc;

use super::times;
use crate::crash::history::{Content, History};
use crate::crash::machine;
use crate::crash::program::Run;
use crate::crash::survival::content;
use crate::crash::trace::{Setting, lock, record};
use crate::crash::{Cut, SimDisk, Workload};
use crate::disk::sim::{Dice, Slots, State, mix};
use crate::store::Store;
use crate::sync::Mutex;

/// Between them: torn tails, segments without a name, half merges, leftovers, a drop, a checkpoint's
/// origin, keydir images.
const WORKLOADS: [&str; 5] = [
    "p0.1.700k,p1.2.30b,b+0.3+1.3-0.1k,p0.4.20d,p0.5.900k",
    "p0.1.700d,r,p0.1.600d,p0.2.500k,r,W,M",
    "p0.0.700d,r,p0.0.30k,r,d0.0k,m,p1.1.20k",
    "p0.1.30d,x0,p2.2.30k,o,p0.3.30k",
    "b+1.1+1.2+1.3d,D1k,c,p1.1.20t5k,w7,W",
];

/// How often a recovery is interrupted within a recovery.
const DEPTH: u32 = 2;

/// What opening comes to, and the disk after each of its calls.
struct Recovery {
    found: Content,
    calls: Vec<State>,
}

/// Counts, and what was seen before.
#[derive(Default)]
struct Tried {
    recoveries: u64,
    interrupted: u64,
    /// Media already recovered from, with how often they were interrupted from there on.
    known: HashMap<u64, (u32, Content)>,
}

/// The time at which the power returns, and how often a recovery is still interrupted.
#[derive(Clone, Copy)]
struct At {
    wall_ms: u64,
    depth: u32,
}

fn recover(state: &State, wall_ms: u64) -> Recovery {
    let disk = SimDisk::with_state(state.clone(), 1, wall_ms);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let keep = calls.clone();
    let hook = move |state: &State| lock(&keep).push(state.clone());
    disk.set_opening_hook(Some(Box::new(hook)));
    let store = Store::open_on(&disk, machine::options()).expect("opens");
    assert_eq!(store.recovery().damage, [], "a crash is no damage");
    let found = content(&store).expect("read");
    drop(store);
    let calls = std::mem::take(&mut *lock(&calls));
    Recovery { found, calls }
}

/// What recovery makes of it; every one that is interrupted on the way must come to the same.
fn settle(state: &State, at: At, dice: &mut Dice, tried: &mut Tried, told: &str) -> Content {
    let At { wall_ms, depth } = at;
    let key = mix(&[state.digest_of_pending(state.digest()), wall_ms]);
    if let Some((known, found)) = tried.known.get(&key)
        && *known >= depth
    {
        return found.clone();
    }
    let Recovery { found, calls } = recover(state, wall_ms);
    tried.recoveries += 1;
    tried.known.insert(key, (depth, found.clone()));
    if depth == 0 {
        return found;
    }
    let next = At {
        wall_ms,
        depth: depth - 1,
    };
    for (at, call) in calls.iter().enumerate() {
        let slots = Slots::of(call);
        let mut cuts = vec![slots.nothing_kept(), Cut::Kill, slots.random(dice, true)];
        if next.depth == 0 && times() == 1 {
            // One in each way is enough for those within.
            cuts = vec![cuts.swap_remove(dice.below(3))];
        }
        for cut in cuts {
            let told = format!("{told}, then after call {at} of recovery {cut:?}");
            let other = settle(&call.after(&cut), next, dice, tried, &told);
            tried.interrupted += 1;
            assert_eq!(other, found, "{told}: another state");
        }
    }
    found
}

#[test]
fn a_recovery_interrupted_at_every_call_to_depth_two_comes_to_the_same_state() {
    let mut tried = Tried::default();
    for (number, text) in (0_u64..).zip(WORKLOADS) {
        let workload: Workload = text.parse().expect("steps");
        let setting = Setting {
            seed: number,
            faults: Vec::new(),
            sector_len: 512,
            deaf: None,
        };
        let program = |run: &Run<Arc<History>>| machine::run(&workload, run);
        let trace = record(&setting, &program);
        assert_eq!(trace.error, None, "{text}");
        let mut dice = Dice::new(number);
        for (at, point) in trace.points.iter().enumerate() {
            let slots = Slots::of(&point.state);
            let mut cuts = vec![slots.nothing_kept()];
            cuts.extend((0..times()).map(|_| slots.random(&mut dice, true)));
            for cut in cuts {
                let told = format!("{text}: call {at} {cut:?}");
                let after = point.state.after(&cut);
                let at = At {
                    wall_ms: point.state.wall_ms,
                    depth: DEPTH,
                };
                settle(&after, at, &mut dice, &mut tried, &told);
            }
        }
    }
    let Tried {
        recoveries,
        interrupted,
        ..
    } = tried;
    println!("{recoveries} recoveries, interrupted {interrupted} times");
    assert!(interrupted > 5_000, "{interrupted}");
}
