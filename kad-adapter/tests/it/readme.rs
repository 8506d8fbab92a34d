//! The README of the peer store shows the lines that are compiled here, where there is a whole node.

#[test]
fn the_readme_of_the_peer_store_shows_what_is_compiled_and_it_is_short() {
    let compiled = include_str!("../../src/remember.md");
    let readme = include_str!("../../../peerstore/README.md");
    let shown: Vec<&str> = compiled
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.starts_with("```"))
        .collect();
    assert!(readme.contains(&format!("```rust,ignore\n{}\n```", shown.join("\n"))));
    let code = shown.iter().filter(|line| !line.is_empty());
    assert!(code.count() <= 15);
}
