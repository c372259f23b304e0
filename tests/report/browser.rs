//! The HTML report in a browser, where there is one.

use std::fs;
use std::process::{Command, Output};

use penstock::report::{Outputs, write_all};

use super::fixture::Script;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Runs the first browser there is, headless.
fn browse(folder: &std::path::Path, what: &[&str]) -> Option<Output> {
    BROWSERS.iter().find_map(|browser| {
        let mut command = Command::new("timeout");
        command.args(["120", browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1240,2400"]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display())).args(what);
        // 127: timeout found no such program.
        command.output().ok().filter(|output| output.status.code() != Some(127))
    })
}

#[test]
fn a_browser_shows_six_plots_that_fit_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    write_all(&Script::new(1).run("quiet"), &Outputs { html: Some(page.clone()), ..Outputs::default() }).unwrap();
    let (picture, url) = (folder.path().join("report.png"), format!("file://{}", page.display()));
    let Some(shown) = browse(folder.path(), &[&format!("--screenshot={}", picture.display()), &url]) else {
        eprintln!("skipped: no browser of {BROWSERS:?} is installed");
        return;
    };
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let png = fs::read(&picture).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 50_000, "{} bytes", png.len());

    // The page has no scripts; one is added here to measure it.
    let probe = "<script>const wide = document.documentElement.scrollWidth;\
                 const plots = [...document.querySelectorAll('figure svg[role=img]')].filter(p => p.getBBox().height > 200);\
                 document.title = 'measured ' + plots.length + ' ' + (wide <= innerWidth);</script></body>";
    fs::write(&page, fs::read_to_string(&page).unwrap().replace("</body>", probe)).unwrap();
    let measured = browse(folder.path(), &["--dump-dom", &url]).unwrap();
    let dom = String::from_utf8_lossy(&measured.stdout);
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
    assert_eq!(title, "measured 6 true");
}
