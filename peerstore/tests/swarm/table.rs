//! The table in the documentation of the room names only tests that exist.

#[test]
fn the_checklist_names_only_tests_that_exist() {
    let table = include_str!("../../src/swarm/mod.rs");
    let files = [
        ("customs", include_str!("customs.rs")),
        ("dials", include_str!("dials.rs")),
        ("limits", include_str!("limits.rs")),
        ("parity", include_str!("parity.rs")),
        ("restart", include_str!("restart.rs")),
    ];
    let mut named = 0;
    for name in table.split('`').skip(1).step_by(2) {
        let Some((module, test)) = name.split_once("::") else {
            continue;
        };
        let Some((_, text)) = files.iter().find(|(file, _)| *file == module) else {
            continue;
        };
        assert!(text.contains(&format!("fn {test}(")), "there is no {name}");
        named += 1;
    }
    assert!(named > 17, "{named} tests are named");
}
