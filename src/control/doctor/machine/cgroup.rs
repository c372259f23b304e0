//! Where the limits of this process's container are written.
//!
//! Owns the walk from our control group to the root of what is mounted, in version 1 and 2. Refuses to know what the
//! files mean.

use super::Root;

/// The folders of our control group and of those above it, for one controller; the innermost first.
pub fn folders(root: &Root, controller: &str) -> Vec<String> {
    let own = root.text_or_empty("proc/self/cgroup");
    let mut found = Vec::new();
    for line in root.text_or_empty("proc/mounts").lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(mount), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else { continue };
        let path = match kind {
            "cgroup" if options.split(',').any(|option| option == controller) => own_path(&own, Some(controller)),
            "cgroup2" => own_path(&own, None),
            _ => continue,
        };
        found.extend(upwards(mount, path.unwrap_or("/")).filter(|folder| root.exists(folder)));
    }
    found
}

/// Our path in the hierarchy of a controller, or in the unified one.
fn own_path<'a>(own: &'a str, controller: Option<&str>) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let matches = match controller {
            Some(controller) => controllers.split(',').any(|name| name == controller),
            None => controllers.is_empty(),
        };
        matches.then_some(path)
    })
}

fn upwards<'a>(mount: &'a str, path: &'a str) -> impl Iterator<Item = String> + 'a {
    let mut rest = Some(path.trim_end_matches('/'));
    std::iter::from_fn(move || {
        let now = rest?;
        rest = now.rfind('/').map(|end| &now[..end]);
        Some(format!("{mount}{now}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_ends_at_the_mount() {
        let walk = |path| upwards("/m", path).collect::<Vec<_>>();
        assert_eq!(walk("/"), ["/m"]);
        assert_eq!(walk("/a/b"), ["/m/a/b", "/m/a", "/m"]);
        let own = "3:cpu,cpuacct:/x\n1:name=systemd:/y\n0::/z:1\n";
        assert_eq!([own_path(own, Some("cpuacct")), own_path(own, None)], [Some("/x"), Some("/z:1")]);
        assert_eq!(own_path(own, Some("pids")), None);
    }
}
