//! The DPDK that this program is linked with, and its drivers, which are plug-ins in a folder.
//!
//! Owns finding that folder: the library that is mapped into this process tells it. Refuses to load anything.

use super::Root;

/// DPDK as installed.
#[derive(Clone, Default, Debug)]
pub struct Dpdk {
    /// Whether this program was built with it.
    pub built_in: bool,
    /// The folder that EAL loads drivers from, where it exists.
    pub folder: Option<String>,
    /// Names of the plug-ins in it that EAL would load, such as `net_tap`.
    pub plugins: Vec<String>,
}

impl Dpdk {
    pub fn read(root: &Root) -> Dpdk {
        let maps = root.text_or_empty("proc/self/maps");
        let folder = folder(root, &maps);
        let abi = folder.as_deref().and_then(|folder| folder.rsplit_once("pmds-")).map(|(_, abi)| abi.to_string());
        // EAL loads what ends in its own ABI version, and nothing else.
        let end = format!(".so.{}", abi.unwrap_or_default());
        let name = |file: String| Some(file.strip_prefix("librte_")?.strip_suffix(&end)?.to_string());
        let mut plugins: Vec<String> = folder.iter().flat_map(|folder| root.names(folder)).filter_map(name).collect();
        // What is linked in needs no plug-in.
        plugins.extend(libraries(&maps).filter_map(|(_, file)| Some(file.split_once(".so.")?.0.to_string())));
        Dpdk { built_in: cfg!(feature = "dpdk"), folder, plugins }
    }

    /// Whether a plug-in is there; without a known folder all are taken to be.
    pub fn has(&self, plugin: &str) -> bool {
        self.folder.is_none() || self.plugins.iter().any(|name| name == plugin)
    }
}

/// `LIBDIR/dpdk/pmds-ABI`, as DPDK's build sets it: LIBDIR and ABI are those of the EAL library in this process.
fn folder(root: &Root, maps: &str) -> Option<String> {
    let (libdir, abi) = libraries(maps).find_map(|(libdir, file)| Some((libdir, file.strip_prefix("eal.so.")?)))?;
    let folder = format!("{libdir}/dpdk/pmds-{abi}");
    root.exists(&folder).then_some(folder)
}

/// Folder and name, after `librte_`, of DPDK's libraries that are mapped into this process.
fn libraries(maps: &str) -> impl Iterator<Item = (&str, &str)> {
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    paths.filter_map(|path| path.split_once("/librte_"))
}
