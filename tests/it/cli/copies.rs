//! `checkpoint` and `restore` on the command line.

use std::ffi::OsStr;

use serde_json::json;

use super::{FRUIT, Room, peercask};

#[test]
fn a_checkpoint_is_made_brought_up_to_date_and_restored() {
    let room = Room::with_records(&FRUIT);
    let (copy, back) = (room.path("copy"), room.path("back"));
    let to = copy.to_str().expect("text");
    let made = room.run("checkpoint", &[to, "--json"]).ends_with(0).json();
    assert_eq!(made["segments"], made["segments_linked"]);
    assert_eq!(made["bytes_copied"], json!(0));
    room.run("put", &["date", "brown"]).ends_with(0);
    let text = room.run("checkpoint", &[to]).ends_with(0);
    assert!(text.text().contains("1 linked"), "{}", text.text());

    let restore = [OsStr::new("restore"), copy.as_os_str(), back.as_os_str()];
    let text = peercask(restore).ends_with(0);
    assert!(text.text().contains("2 linked"), "{}", text.text());
    let get = [OsStr::new("get"), back.as_os_str(), OsStr::new("date")];
    assert_eq!(peercask(get).ends_with(0).out, b"brown");
    peercask(restore).fails_with(2, "a store of its own");
    let there = room.path("store");
    room.run("checkpoint", &[there.to_str().expect("text")])
        .fails_with(2, "a store of its own");
}
