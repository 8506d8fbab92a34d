//! A file system that becomes read-only, as one does after an error of its device: opening for writing is
//! refused with the file's name and changes nothing, reading alone goes on, a copy into it is refused, and with
//! the file system writable again everything is there. In a mount namespace of a child's own.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

use peercask::{ErrorKind, Options, Store};

use crate::support::{Image, Place, assert_same, contents, hash, image, ordered, skipped};

const DIR: &str = "PEERCASK_TEST_REMOUNTED_DIR";
const MOUNT: &str = r#"mount -t tmpfs -o size=4m,mode=700 none "$0" && exec "$@""#;

fn options() -> Options {
    Options::default()
        .background(false)
        .segment_bytes(4_096)
        .reserve_bytes(0)
}

#[test]
fn on_a_file_system_remounted_read_only_reading_goes_on_and_nothing_is_changed() {
    let place = Place::new();
    let unshared = || {
        let mut command = Command::new("unshare");
        let how = ["--mount", "--map-root-user", "sh", "-c", MOUNT];
        command.args(how).arg(place.path());
        command
    };
    let remount = "mount -o remount,ro \"$0\" && mount -o remount,rw \"$0\"";
    let mut can = unshared();
    can.args(["sh", "-c", remount]).arg(place.path());
    if !can.status().is_ok_and(|status| status.success()) {
        skipped(
            "a read-only remount",
            "this system gives no mount namespace",
        );
        return;
    }
    let mut command = unshared();
    let exe = std::env::current_exe().expect("this test has a file");
    let helper = "system::remounted::helper_lives_on_a_file_system_that_is_remounted";
    command.arg(exe);
    command.args([helper, "--exact", "--nocapture", "--test-threads=1"]);
    let ran = command.env(DIR, place.path()).output();
    let ran = ran.expect("unshare ran before");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

fn remount(root: &Path, how: &str) {
    let mut command = Command::new("mount");
    command.args(["-o", &format!("remount,{how}")]).arg(root);
    let done = command.status().expect("it ran before");
    assert!(done.success(), "remounted {how}");
}

fn write(store: &Store, from: u32) {
    let (flat, sorted) = (hash(store, "flat"), ordered(store, "sorted"));
    for key in from..from + 12 {
        let value = vec![u8::try_from(key).expect("few"); 300];
        flat.put(key.to_le_bytes(), &value).expect("put");
        sorted.put(key.to_le_bytes(), &value).expect("put");
    }
    flat.delete(from.to_le_bytes()).expect("deleted");
}

/// Not a test of its own: the child.
#[test]
fn helper_lives_on_a_file_system_that_is_remounted() {
    let Some(root) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    // Closed well, or left as a kill leaves it.
    for closes in [true, false] {
        let (dir, other) = (root.join("store"), root.join("other"));
        let store = Store::open(&dir, options()).expect("made");
        write(&store, 0);
        let expected = contents(&store);
        let left: Image = image(&dir);
        store.close().expect("closed");
        if !closes {
            std::fs::remove_dir_all(&dir).expect("removed");
            std::fs::create_dir(&dir).expect("made");
            crate::support::write_image(&dir, &left);
        }
        let before = image(&dir);

        remount(&root, "ro");
        let refused = Store::open(&dir, options()).expect_err("nothing can be written");
        assert_eq!(refused.kind(), ErrorKind::Io, "{refused}");
        assert!(refused.to_string().contains("ead-only"), "{refused}");
        let made = Store::open(&other, options()).expect_err("nothing can be made");
        assert_eq!(made.kind(), ErrorKind::Io, "{made}");
        let reader = Store::open_read_only(&dir, options()).expect("it only reads");
        assert_same(&contents(&reader), &expected, "read-only");
        assert!(reader.verify(&mut |_| {}).expect("read").is_clean());
        let nowhere = Place::new();
        let source = Store::open(nowhere.path(), options()).expect("elsewhere");
        let copied = source.checkpoint_to(&other);
        assert_eq!(copied.expect_err("no room there").kind(), ErrorKind::Io);
        drop(reader);
        assert_eq!(image(&dir), before, "not a byte is changed");
        assert!(!other.exists(), "nothing was made");

        remount(&root, "rw");
        let store = Store::open(&dir, options()).expect("writable again");
        assert_same(&contents(&store), &expected, "writable again");
        write(&store, 20);
        store.close().expect("closed");
        std::fs::remove_dir_all(&dir).expect("removed");
    }
    println!("\nDONE");
}
