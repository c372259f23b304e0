//! What the load generator reads: plans, values on its command line, heads of answers.
//!
//! Owns what has to hold: mistakes have a place in the text, a comment changes nothing, an answer is the same however it
//! arrives. Refuses names of hosts, which the system would look up.

use penstock::control::load_plan::{LoadRunArguments, from_text, rate, sha256, statuses, target, threshold};
use penstock::http::answer;
use std::path::Path;

/// Any text as a plan.
pub fn plan(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let asks = |at: usize| text[at + 7..].starts_with(|c: char| !c.is_ascii_digit() && c != '[');
    let named = text.match_indices("http://").any(|(at, _)| asks(at)) || text.contains("\\u");
    // Reading those can wait for ever.
    if named || ["/proc", "/dev", "/sys", ".."].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let load = |text: &str| from_text("f", text, Path::new("/nonexistent"), &LoadRunArguments::default());
    match load(text) {
        Err(failure) => assert!(failure.exit as u8 == 104 && !failure.what.is_empty(), "{failure}"),
        Ok(loaded) => {
            let again = load(&format!("{text}\n# comment")).expect("a comment is no mistake");
            assert_eq!(loaded.hash, again.hash, "a comment means something");
            let plan = loaded.plan;
            assert!(!plan.stages.is_empty() && !plan.classes.is_empty() && plan.connections > 0);
            let mut fields = [httparse::EMPTY_HEADER; 128];
            for class in &plan.classes {
                let head = httparse::Request::new(&mut fields).parse(&class.head);
                assert_eq!(head, Ok(httparse::Status::Complete(class.head.len())), "one whole head");
                fields = [httparse::EMPTY_HEADER; 128];
            }
        }
    }
}

/// Any text as each kind of value.
pub fn values(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let placed = |mistake: rate::Mistake| {
        assert!(mistake.at.start <= mistake.at.end && mistake.at.end <= text.len(), "{mistake:?}");
        assert!(text.is_char_boundary(mistake.at.start) && text.is_char_boundary(mistake.at.end), "{mistake:?}");
    };
    let _ = rate::parse(text).map_err(placed);
    let _ = rate::stage(text).map_err(placed);
    let _ = rate::spike(text).map_err(placed);
    match rate::number((0, text)) {
        Ok(number) => assert!(number.is_finite()),
        Err(mistake) => placed(mistake),
    }
    if let Err(mistake) = statuses(text) {
        placed(mistake);
    }
    if let Some(digest) = sha256(text) {
        let shown: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.eq_ignore_ascii_case(text.trim()));
    }
    if let Ok(parts) = target::parse(text) {
        assert!(parts.port > 0 && parts.path.starts_with('/') && !parts.host.is_empty(), "{parts:?}");
    }
    match threshold::split(text) {
        Ok(((_, metric), (_, condition))) => {
            if let Ok(selector) = threshold::selector(metric) {
                let condition = threshold::condition(selector.metric, condition);
                assert!(condition.is_err() || condition.is_ok_and(|condition| condition.value.is_finite()));
            }
        }
        Err(mistake) => placed(mistake),
    }
}

/// A byte, and the head of an answer; what the byte says is whether it answers HEAD.
pub fn answer(input: &[u8]) {
    let Some((head_only, bytes)) = input.split_first() else { return };
    let read = |len: usize| answer::read(&bytes[..len], head_only & 1 == 1);
    let whole = read(bytes.len());
    for cut in 0..bytes.len() {
        match (read(cut), &whole) {
            // Not yet.
            (Ok(None), _) => {}
            // What was seen is final.
            (Ok(Some((len, head))), Ok(Some((again, same)))) => {
                assert_eq!((len, head), (*again, *same));
                assert!(len <= cut && (100..1000).contains(&head.status));
            }
            (Err(early), Err(late)) => assert_eq!(early, *late),
            (early, late) => panic!("{cut} bytes say {early:?}, all say {late:?}"),
        }
    }
}
