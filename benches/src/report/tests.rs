//! The page is whole in itself, and shows what it was given.

use super::*;

fn line(backend: &str, workload: &str, n: u64) -> Line {
    Line {
        backend: backend.to_owned(),
        workload: workload.to_owned(),
        n,
        key_len: 32,
        value_len: 100,
        threads: 1,
        ..Line::default()
    }
}

fn page_of_everything() -> String {
    let mut lines = Vec::new();
    for backend in ["peercask-hash", "floor-map", "redb"] {
        let mut read = line(backend, "read-hit", 1_000);
        read.ops_per_s = Some(2_500_000.0);
        read.details.histogram = vec![(400, 90), (900, 9), (70_000, 1)];
        lines.push(read);
        for n in [1_000, 10_000] {
            let mut open = line(backend, "open-clean", n);
            open.open_ms = Some(n as f64 / 500.0);
            lines.push(open);
        }
        for round in 1..=3 {
            let mut space = line(backend, "space", round * 1_000);
            (space.user_bytes, space.disk_bytes) = (Some(round * 132_000), Some(200_000));
            space.details.live_bytes = Some(132_000);
            lines.push(space);
        }
        let mut growth = line(backend, "growth", 1_000);
        (growth.index_bytes_per_key, growth.rss_bytes_per_key) = (Some(9.5), Some(200.0));
        lines.push(growth);
    }
    let failed = Failed {
        backend: "sled",
        rival: true,
        workload: "fill",
        why: "<no room>".to_owned(),
    };
    page(&lines, &[failed]).expect("drawn")
}

#[test]
fn a_page_loads_nothing_from_elsewhere() {
    let page = page_of_everything();
    for outside in ["src=", "href=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // The only address is the name of SVG's vocabulary.
    let addresses = page.matches("http").count();
    assert_eq!(
        addresses,
        page.matches("http://www.w3.org/2000/svg").count()
    );
}

#[test]
fn a_page_shows_each_part_and_escapes_what_it_is_told() {
    let page = page_of_everything();
    for part in [
        "Throughput",
        "Latency",
        "Memory a key",
        "Open time against keys",
        "Space over time",
        "Goals",
    ] {
        assert!(page.contains(&format!("<h2>{part}</h2>")), "{part}");
    }
    assert!(page.matches("<svg").count() >= 3);
    assert!(page.contains("2,500,000"));
    assert!(page.contains("&lt;no room&gt;"));
}

#[test]
fn a_page_of_nothing_says_so() {
    let page = page(&[], &[]).expect("drawn");
    assert!(page.contains("nothing was measured"));
    assert!(!page.contains("<svg"));
}
