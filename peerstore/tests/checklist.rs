//! What the tables of all rooms have in common: a table in the documentation maps items to tests by name, and
//! names only those that exist. Each test binary includes this file and holds its own table to it.

/// The tests that a text names as `module::test`, each of which must stand in the file of its module.
///
/// # Panics
/// If there is no such module or no such test.
pub(crate) fn named<'a>(text: &'a str, files: &[(&str, &str)]) -> Vec<&'a str> {
    let mut named = Vec::new();
    let is_name = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
    };
    for name in text.split('`').skip(1).step_by(2).filter(is_name) {
        let Some((module, test)) = name.split_once("::") else {
            continue;
        };
        let Some((_, file)) = files.iter().find(|(file, _)| *file == module) else {
            // A type's methods and another crate's names are written in the same way; a test is a sentence.
            let may_be = module.starts_with(char::is_uppercase) || test.matches('_').count() < 2;
            assert!(may_be, "there is no module {module}");
            continue;
        };
        assert!(file.contains(&format!("fn {test}(")), "there is no {name}");
        named.push(name);
    }
    named
}
