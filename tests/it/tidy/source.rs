//! Rust text seen three ways: code without comments and strings, strings alone, and without its test modules.
//! A small lexer, not a parser: it knows comments, strings, characters, words and braces, and nothing of meaning.
//! All views keep every byte's place, so a line number found in one holds in all.

use std::ops::Range;

/// Two views of one text, both as long as the text; what does not belong to a view is blank.
pub(super) struct Views {
    /// Code with comments, strings and character literals blanked.
    pub(super) code: String,
    /// What stands inside string literals (quotes included), all else blanked.
    pub(super) strings: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Literal,
    Comment,
}

pub(super) fn views(text: &str) -> Views {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut strings = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (part, len) = next_part(text, at);
        for byte in bytes.iter().skip(at).take(len.max(1)) {
            let keep = |wanted| {
                if part == wanted || *byte == b'\n' {
                    *byte
                } else {
                    b' '
                }
            };
            code.push(keep(Part::Code));
            strings.push(keep(Part::Literal));
        }
        at += len.max(1);
    }
    Views {
        code: String::from_utf8_lossy(&code).into_owned(),
        strings: String::from_utf8_lossy(&strings).into_owned(),
    }
}

/// What begins at `at`, and how many bytes of it there are.
fn next_part(text: &str, at: usize) -> (Part, usize) {
    let rest = text.get(at..).unwrap_or("");
    let after_word = at > 0 && byte_at(text, at - 1).is_some_and(is_word_byte);
    if rest.starts_with("//") {
        (Part::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Part::Comment, block_comment_len(rest))
    } else if let Some(len) = raw_string_len(rest).filter(|_| !after_word) {
        (Part::Literal, len)
    } else if rest.starts_with('"') {
        (Part::Literal, quoted_len(rest, '"'))
    } else if let Some(len) = char_literal_len(rest) {
        (Part::Comment, len)
    } else {
        (Part::Code, rest.chars().next().map_or(1, char::len_utf8))
    }
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn raw_string_len(rest: &str) -> Option<usize> {
    let body = ["br", "cr", "r"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = body.bytes().take_while(|byte| *byte == b'#').count();
    let inside = body.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let inside_len = inside
        .find(&end)
        .map_or(inside.len(), |found| found + end.len());
    Some(rest.len() - inside.len() + inside_len)
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// A character literal, or `None` for a lifetime, which opens with the same mark.
fn char_literal_len(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let closes = inside
        .get(first.len_utf8()..)
        .is_some_and(|end| end.starts_with('\''));
    (first == '\\' || closes).then(|| quoted_len(rest, '\''))
}

pub(super) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn byte_at(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

/// Line number, from 1, of the byte at `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Every identifier, keyword or number in `code`, with where it starts.
pub(super) fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for piece in
        code.split_inclusive(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
    {
        let word = piece
            .trim_end_matches(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        if !word.is_empty() {
            found.push((at, word));
        }
        at += piece.len();
    }
    found
}

/// First of `{` and `;` from `from` on that stands outside round and square brackets.
pub(super) fn body_or_end(code: &str, from: usize) -> Option<(usize, u8)> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' | b';' if depth == 0 => return Some((at, byte)),
            _ => {}
        }
    }
    None
}

/// Place of the brace that closes the one at `open`, or the end of the text.
pub(super) fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Where test-only items stand: from `#[cfg(test)]` to the end of the item under it.
pub(super) fn test_ranges(text: &str) -> Vec<Range<usize>> {
    let code = views(text).code;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for mark in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(mark) {
            let end = match body_or_end(&code, start) {
                Some((open, b'{')) => closing_brace(&code, open),
                Some((semicolon, _)) => semicolon,
                None => code.len(),
            };
            ranges.push(start..text.len().min(end + 1));
        }
    }
    ranges
}

/// The text with its test-only items blanked, line by line.
pub(super) fn without_tests(text: &str) -> String {
    let ranges = test_ranges(text);
    let blank = |(at, byte): (usize, u8)| {
        let in_tests = ranges.iter().any(|range| range.contains(&at));
        if in_tests && byte != b'\n' {
            b' '
        } else {
            byte
        }
    };
    let bytes: Vec<u8> = text.bytes().enumerate().map(blank).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn comments_strings_and_characters_are_told_from_code() {
    let text = "let a = \"x // y\"; // \"z\"\nlet b = '\"'; let c: &'a str = r#\"q\"w\"#; /* u /* v */ w */ d";
    let views = views(text);
    assert_eq!(views.code.len(), text.len());
    let code: Vec<&str> = words(&views.code)
        .into_iter()
        .map(|(_, word)| word)
        .collect();
    assert_eq!(code, ["let", "a", "let", "b", "let", "c", "a", "str", "d"]);
    let strings: Vec<&str> = views.strings.split_whitespace().collect();
    assert_eq!(strings, ["\"x", "//", "y\"", "r#\"q\"w\"#"]);
}

#[test]
fn test_items_vanish_and_lines_stay() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { \"}\"; }\n}\nfn c() {}\n";
    let left = without_tests(text);
    assert_eq!(left.lines().count(), text.lines().count());
    assert!(left.contains("fn a") && left.contains("fn c") && !left.contains("fn b"));
}

#[test]
fn a_body_is_found_behind_semicolons_in_types() {
    let code = "fn f(a: [u8; 4]) -> [u8; 3] { {} }";
    let (open, byte) = body_or_end(code, 0).expect("the function has a body");
    assert_eq!((byte, closing_brace(code, open)), (b'{', code.len() - 1));
}
