//! A scanner for Rust source that knows just enough to tell code from comments and literals.
//!
//! Owns masking, brace matching, and what is found with them: words, paths, functions, test code. Refuses to parse: it never
//! needs to understand an expression. Text that does not close what it opens is read to its end.

/// One source file.
pub struct Source {
    /// Path from the repository's root, with forward slashes.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// The file with comments blanked and the content of literals replaced by `"`, byte for byte.
    pub code: String,
    /// The file with everything but comments blanked, byte for byte.
    pub comments: String,
    /// Byte ranges that are compiled for tests only.
    tests: Vec<(usize, usize)>,
    /// Byte ranges of inline modules.
    modules: Vec<(usize, usize)>,
}

/// A function with a body.
#[derive(PartialEq, Eq, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace that hold code.
    pub code_lines: usize,
}

impl Source {
    /// Scans `text`; `test` says that the whole file is test code.
    pub fn new(path: &str, text: &str, test: bool) -> Source {
        let (code, comments) = mask(text);
        let mut source =
            Source { path: path.into(), text: text.into(), code, comments, tests: Vec::new(), modules: Vec::new() };
        source.modules = source.inline_modules();
        source.tests = if test { vec![(0, text.len())] } else { source.test_items().map(|(s, e, _)| (s, e)).collect() };
        source
    }

    /// The line of a byte offset, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Whether the byte at `at` is compiled for tests only.
    pub fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|(start, end)| (*start..*end).contains(&at))
    }

    /// The names of the modules in files of their own that are compiled for tests only.
    pub fn test_modules(&self) -> Vec<String> {
        self.test_items().filter_map(|(_, _, module)| module).collect()
    }

    /// Offsets of `word` in code, where no identifier character stands on either side.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words(&self.code, word)
    }

    /// The first names of paths below `root` (`crate` gives `net` for `crate::net::key`), groups unfolded.
    pub fn paths(&self, root: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.words(root) {
            if let Some(rest) = after_colons(&self.code, at + root.len()) {
                found.extend(self.heads(rest).into_iter().map(|name| (at, name)));
            }
        }
        found
    }

    /// As `paths("crate")`, for chains of `super` that end at the crate's root; `depth` is that of the file's module.
    pub fn super_paths(&self, depth: usize) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.words("super") {
            if self.code[..at].trim_end().ends_with("::") {
                continue;
            }
            let (mut supers, mut end) = (1, at + "super".len());
            let rest = loop {
                let Some(next) = after_colons(&self.code, end) else { break None };
                if !ident(&self.code[next..]).eq("super") {
                    break Some(next);
                }
                (supers, end) = (supers + 1, next + "super".len());
            };
            let nested = self.modules.iter().filter(|(start, stop)| (*start..*stop).contains(&at)).count();
            if let Some(rest) = rest.filter(|_| supers >= depth + nested) {
                found.extend(self.heads(rest).into_iter().map(|name| (at, name)));
            }
        }
        found
    }

    /// Every function with a body, nested ones included.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in self.words("fn") {
            let name = ident(self.code[at + 2..].trim_start());
            if name.is_empty() {
                continue;
            }
            let Some(open) = self.body(at) else { continue };
            let end = close(&self.code, open);
            let code_lines = self.code[at..end].lines().filter(|line| !line.trim().is_empty()).count();
            found.push(Function { name: name.into(), line: self.line(at), code_lines });
        }
        found
    }

    /// The brace that opens the body of the function whose `fn` is at `at`; None for a declaration.
    fn body(&self, at: usize) -> Option<usize> {
        let bytes = self.code.as_bytes();
        let (mut i, mut parens, mut angles) = (at, 0i32, 0i32);
        while i < bytes.len() {
            match bytes[i] {
                b'-' if bytes.get(i + 1) == Some(&b'>') => i += 1,
                b'(' | b'[' => parens += 1,
                b')' | b']' => parens -= 1,
                b'<' => angles += 1,
                b'>' => angles -= 1,
                b';' if parens == 0 => return None,
                b'{' if parens == 0 && angles <= 0 => return Some(i),
                b'{' => i = close(&self.code, i) - 1,
                _ => {}
            }
            i += 1;
        }
        None
    }

    fn inline_modules(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for at in self.words("mod") {
            let rest = self.code[at + 3..].trim_start();
            let after = rest[ident(rest).len()..].trim_start();
            if after.starts_with('{') {
                let open = self.code.len() - after.len();
                found.push((open, close(&self.code, open)));
            }
        }
        found
    }

    /// Items under `#[cfg(test)]` or `#[cfg(all(test, ..))]`: their range, and the name of a module in a file of its own.
    fn test_items(&self) -> impl Iterator<Item = (usize, usize, Option<String>)> + '_ {
        let starts = ["#[cfg(test)]", "#[cfg(all(test"].iter().flat_map(|a| self.code.match_indices(a));
        starts.map(|(at, _)| {
            let item = at + self.code[at..].find(']').unwrap_or(0) + 1;
            let stop = self.code[item..].find(['{', ';']).map_or(self.code.len(), |n| item + n);
            let module = self.code[item..stop].split_whitespace().skip_while(|w| *w != "mod").nth(1);
            match self.code.as_bytes().get(stop) {
                Some(b'{') => (at, close(&self.code, stop), None),
                _ => (at, stop, module.map(str::to_string)),
            }
        })
    }

    /// The first names of the path or group at `at`.
    fn heads(&self, at: usize) -> Vec<String> {
        if !self.code[at..].starts_with('{') {
            return vec![head(&self.code[at..])];
        }
        let group = &self.code[at + 1..close(&self.code, at) - 1];
        let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
        for (i, byte) in group.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 0 => {
                    names.push(head(&group[start..i]));
                    start = i + 1;
                }
                _ => {}
            }
        }
        names.push(head(&group[start..]));
        names.retain(|name| !name.is_empty());
        names
    }
}

/// Offsets of `word` in `text`, where no identifier character stands on either side.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].bytes().next_back();
        let after = text.as_bytes().get(at + word.len());
        !before.is_some_and(is_ident) && !after.copied().is_some_and(is_ident)
    })
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn ident(text: &str) -> &str {
    &text[..text.bytes().position(|b| !is_ident(b)).unwrap_or(text.len())]
}

/// The identifier `text` begins with, or `*`.
fn head(text: &str) -> String {
    let text = text.trim_start();
    if text.starts_with('*') { "*".into() } else { ident(text).into() }
}

/// Where the text behind `::` begins, if that is what stands at `at`.
fn after_colons(code: &str, at: usize) -> Option<usize> {
    let rest = code[at..].trim_start().strip_prefix("::")?.trim_start();
    Some(code.len() - rest.len())
}

/// The offset behind the brace that closes the one at `open`.
fn close(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    code.len()
}

/// Splits `text` into code and comments, each as long as the whole.
fn mask(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut comments) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let mut i = 0;
    while i < bytes.len() {
        let comment = comment_len(&bytes[i..]);
        let literal = if comment == 0 { literal_len(bytes, i) } else { 0 };
        let len = comment.max(literal).max(1);
        for &byte in &bytes[i..i + len] {
            let newline = byte == b'\n';
            let code_fill = if comment > 0 { b' ' } else { b'"' };
            code.push(if newline || comment + literal == 0 { byte } else { code_fill });
            comments.push(if newline || comment > 0 { byte } else { b' ' });
        }
        i += len;
    }
    let valid = "whole characters are kept or replaced";
    (String::from_utf8(code).expect(valid), String::from_utf8(comments).expect(valid))
}

/// The length of the comment `bytes` begins with, else 0.
fn comment_len(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"//") {
        return bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    }
    if !bytes.starts_with(b"/*") {
        return 0;
    }
    let (mut depth, mut i) = (0, 0);
    while i < bytes.len() {
        let step = match &bytes[i..] {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth += step;
        i += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    i
}

/// The length of the string or character literal at `at`, else 0.
fn literal_len(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest[0] {
        b'"' => quoted_len(rest, b'"'),
        b'r' => raw_len(bytes, at),
        b'\'' => {
            let utf8_len = rest.get(1).map_or(1, |b| b.leading_ones().max(1) as usize);
            match rest.get(1) {
                Some(b'\\') => quoted_len(rest, b'\''),
                _ if rest.get(1 + utf8_len) == Some(&b'\'') => utf8_len + 2,
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// The length of a quoted literal with escapes, its quotes included.
fn quoted_len(bytes: &[u8], quote: u8) -> usize {
    let mut i = 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

/// The length of the raw string at `at`, else 0: `r"`, `br#"`, not the end of a longer name and not `r#name`.
fn raw_len(bytes: &[u8], at: usize) -> usize {
    let prefix = &bytes[..at];
    let prefix = prefix.strip_suffix(b"b").or(prefix.strip_suffix(b"c")).unwrap_or(prefix);
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if prefix.last().copied().is_some_and(is_ident) || bytes.get(open) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = &bytes[open + 1..];
    let found = body.windows(end.len()).position(|w| w == end);
    found.map_or(bytes.len() - at, |n| open + 1 + n + end.len() - at)
}

#[test]
fn comments_and_literals_are_masked() {
    // `~` stands for a masked byte of a literal.
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("{ \" }")"#, "f(~~~~~~~~)"),
        (r##"f(r#"a"b"#, x)"##, "f(~~~~~~~~, x)"),
        (r#"f(br"\", b"x")"#, "f(b~~~~, b~~~)"),
        ("f('{', '\\'', 'é')", "f(~~~, ~~~~, ~~~~)"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("let r#type = var\"x\";", "let r#type = var~~~;"),
        ("\"open", "~~~~~"),
        ("/* open", "       "),
        ("'\\", "~~"),
    ] {
        assert_eq!(mask(text).0, code.replace('~', "\""), "{text}");
    }
    assert_eq!(mask("a // b\nc").1, "  // b\n ");
}

#[test]
fn paths_are_unfolded() {
    let source = Source::new("src/a/b.rs", "use crate::{net::{key, ip}, time};\nfn f() { crate :: mem::x(); }", false);
    let names: Vec<_> = source.paths("crate").into_iter().map(|(at, name)| (source.line(at), name)).collect();
    assert_eq!(names, [(1, "net".into()), (1, "time".into()), (2, "mem".into())]);
    let text = "use super::x;\nuse super::super::y;\nmod m { use super::super::z; use super::super::super::w; }";
    let source = Source::new("src/a/b.rs", text, false);
    let names: Vec<_> = source.super_paths(2).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["y", "w"]);
}

#[test]
fn functions_are_measured_without_blanks_and_comments() {
    let text = "trait T { fn no_body(x: [u8; 2]); }\nfn f() -> V<{ 1 + 1 }> {\n\n    // c\n    g(\"}\");\n    \"a\n b\";\n}\nfn h() {}";
    let found = Source::new("src/a.rs", text, false).functions();
    let named: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.code_lines)).collect();
    assert_eq!(named, [("f", 2, 5), ("h", 9, 1)]);
}

#[test]
fn test_code_is_found() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline { fn b() {} }\nfn c() {}";
    let source = Source::new("src/a.rs", text, false);
    assert_eq!(source.test_modules(), ["tests"]);
    let inside = |needle: &str| source.is_test(source.code.find(needle).unwrap());
    assert_eq!((inside("fn a"), inside("fn b"), inside("fn c")), (false, true, false));
}
