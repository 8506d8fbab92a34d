//! The table of workloads.

use super::*;

#[test]
fn every_workload_has_a_name_of_its_own_and_tells_what_it_does() {
    for workload in all() {
        assert_eq!(
            all()
                .iter()
                .filter(|other| other.name == workload.name)
                .count(),
            1
        );
        assert!(workload.about.len() > 10, "{}", workload.name);
    }
    for name in QUICK {
        assert!(named(name).is_some(), "{name}");
    }
}
