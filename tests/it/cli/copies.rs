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
    // Read, it is still the checkpoint; written to, it lives a life of its own.
    peercask(restore).ends_with(0);
    let put = [
        OsStr::new("put"),
        back.as_os_str(),
        OsStr::new("elder"),
        OsStr::new("black"),
    ];
    peercask(put).ends_with(0);
    peercask(restore).fails_with(2, "a store of its own");
    let there = room.path("store");
    room.run("checkpoint", &[there.to_str().expect("text")])
        .fails_with(2, "a store of its own");
}

#[test]
fn repair_saves_what_can_be_read_and_tells_the_rest_by_its_exit_code() {
    let room = Room::with_records(&FRUIT);
    let (store, new, more) = (room.path("store"), room.path("new"), room.path("more"));
    let line = |to: &std::path::Path| {
        [
            OsStr::new("repair").to_owned(),
            store.clone().into_os_string(),
            to.as_os_str().to_owned(),
        ]
    };
    let whole = peercask(line(&new)).ends_with(0);
    assert!(whole.text().contains("4 records"), "{}", whole.text());
    peercask(line(&new)).fails_with(2, "not empty");

    let segment = crate::support::segments(&store).remove(0);
    let path = store.join(segment);
    let mut bytes = std::fs::read(&path).expect("the segment");
    let at = bytes.windows(6).position(|bytes| bytes == b"yellow");
    bytes[at.expect("the value of banana")] ^= 1;
    std::fs::write(&path, bytes).expect("the segment is written");
    let found = room.run("verify", &["--json"]).ends_with(1).json();
    assert_eq!(found["lost"], json!(1));
    let told = peercask(line(&more)).ends_with(1);
    assert!(told.text().contains("lost: "), "{}", told.text());
    assert!(told.text().contains("\"banana\""), "{}", told.text());
    let list = [OsStr::new("list"), more.as_os_str()];
    assert_eq!(peercask(list).ends_with(0).lines().len(), 3);
}
