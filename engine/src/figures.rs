//! The picture that `stats` gives: read from counters and sums that others keep, in a time that
//! does not grow with the log or the keys.

use crate::core::Core;
use crate::report::Progress;
use crate::stats::Stats;

pub(crate) fn stats_of(core: &Core) -> Stats {
    let counters = &core.log.counters;
    let total_bytes = counters.merging_total.get();
    let mut stats = Stats {
        user_bytes: counters.user_bytes.get(),
        written_bytes: counters.written_bytes.get(),
        merge_written_bytes: counters.merge_written_bytes.get(),
        puts: counters.puts.get(),
        deletes: counters.deletes.get(),
        gets: counters.gets.get(),
        syncs: counters.syncs.get(),
        rotations: counters.rotations.get(),
        merges: counters.merges.get(),
        stalls: counters.stalls.get(),
        evicted: counters.evicted.get(),
        expired_bytes: counters.expired_bytes.get(),
        get_latency_ns: counters.get_latency.picture(),
        write_latency_ns: counters.write_latency.picture(),
        sync_latency_ns: counters.sync_latency.picture(),
        merge_latency_ns: counters.merge_latency.picture(),
        sync_group_records: counters.sync_group.picture(),
        reclaim_lateness_ms: counters.reclaim_lateness.picture(),
        merging: (total_bytes > 0).then(|| Progress {
            done_bytes: counters.merging_done.get().min(total_bytes),
            total_bytes,
        }),
        last_seq: core.log.last_seq(),
        synced_seq: core.log.synced_seq(),
        poisoned: core.log.poisoned().map(ToString::to_string),
        last_background_error: core.background_error(),
        ..Stats::default()
    };
    let all = core.log.table.totals.all();
    stats.segments = all.segments;
    stats.damaged_segments = all.damaged;
    stats.disk_bytes = all.file_bytes;
    stats.live_bytes = all.live_bytes;
    stats.tombstone_bytes = all.tombstone_bytes;
    let alive = all.live_bytes + all.tombstone_bytes;
    stats.dead_bytes = all.record_bytes.saturating_sub(alive);
    (stats.snapshots, stats.kept_versions) = (core.past.snapshots(), core.past.versions());
    stats.removed_bytes = core.log.table.removed_bytes();
    for space in core.spaces.all() {
        stats.keys += space.keydir.len();
        stats.index_bytes += space.keydir.index_bytes();
    }
    stats
}
