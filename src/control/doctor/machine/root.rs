//! Small files below a root folder.
//!
//! Owns reading and the kernel's list formats. Refuses to fail: what cannot be read is None or empty.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest file that is read, in bytes; the rest of a longer one is ignored.
const FILE_MAX: u64 = 16 << 20;
/// The highest CPU or node number in a list.
const NUMBER_MAX: usize = 8191;

/// A folder in whose place `/` is read.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(root: &Path) -> Root {
        Root(root.to_path_buf())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A file's text without space at its ends.
    pub fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(path)).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_string())
    }

    /// A file's text, or nothing.
    pub fn text_or_empty(&self, path: &str) -> String {
        self.text(path).unwrap_or_default()
    }

    /// A file that holds one number.
    pub fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// A file that holds a list such as `0-3,8`.
    pub fn list(&self, path: &str) -> Vec<usize> {
        number_list(&self.text_or_empty(path))
    }

    /// The names in a folder, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points to.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }
}

/// The numbers of `0-3,8`, ascending; words that are no number are left out.
pub fn number_list(text: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            numbers.extend(first..=last.min(NUMBER_MAX));
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// `0-3,8`.
pub fn show_list(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let part = |(first, last): (usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

/// The value of a `Name: value` line.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_shown() {
        for (text, shown) in
            [("0-3,8", "0-3,8"), ("", ""), ("5", "5"), ("3,1-2,x,", "1-3"), ("9-1", ""), ("(null)", "")]
        {
            assert_eq!(show_list(&number_list(text)), shown, "{text}");
        }
        assert_eq!(number_list("0-99999999999").len(), NUMBER_MAX + 1);
    }
}
