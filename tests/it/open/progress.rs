//! Opening tells how far it is, and holds what it needs for that no longer than it takes.

use std::sync::{Arc, Mutex};

use peercask::Progress;

use crate::support::{Place, delete_hints, hash, hints, segments};

#[test]
fn opening_tells_how_far_it_is_and_forgets_who_listened() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..60_u32 {
        space.put(key.to_le_bytes(), vec![1; 500]).expect("put");
    }
    drop(space);
    store.close().expect("closed");
    assert!(!hints(place.path()).is_empty());

    let mut totals = Vec::new();
    for life in ["with hints", "without"] {
        if life == "without" {
            delete_hints(place.path());
        }
        let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let listener = told.clone();
        let options = place.options().open_progress(move |progress| {
            listener.lock().expect("whole").push(progress);
        });
        let segments = segments(place.path()).len();
        let store = place.open_with(options);
        assert_eq!(
            Arc::strong_count(&told),
            1,
            "{life}: nobody listens any more"
        );
        let told = told.lock().expect("whole");
        assert_eq!(told.len(), segments, "{life}: once for each segment");
        let total = told[0].total_bytes;
        assert!(
            told.iter()
                .all(|p| p.total_bytes == total && p.done_bytes <= total)
        );
        let most = told.iter().map(|p| p.done_bytes).max();
        assert_eq!(most, Some(total), "{life}: all was read");
        totals.push(total);
        drop(store);
    }
    assert!(
        totals[1] > 5 * totals[0],
        "hints are little to read: {totals:?}"
    );
}
