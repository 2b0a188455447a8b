//! Default paths of the bundle, the database and the cache.

use std::env;
use std::path::{Path, PathBuf};

/// Path of the shipped bundle, relative to each directory that is searched for it.
const SHIPPED: &str = "models/small";

/// Returns the directory of the shipped bundle: the first one that has a manifest. Searches the user's data directory, then the
/// directories above the program (in a checkout, the program is in `target/release`), then the system's share directories.
pub fn shipped_model() -> Option<PathBuf> {
    let user = xdg("XDG_DATA_HOME", ".local/share").map(|d| d.join("edge-scorer"));
    let program = env::current_exe().ok().and_then(|p| p.canonicalize().ok());
    let above = program.iter().flat_map(|p| p.ancestors().skip(1)).map(Path::to_owned);
    let system = ["/usr/local/share/edge-scorer", "/usr/share/edge-scorer"].map(PathBuf::from);
    user.into_iter()
        .chain(above)
        .chain(system)
        .map(|place| place.join(SHIPPED))
        .find(|dir| dir.join(edge_model::bundle::manifest::file::MANIFEST).is_file())
}

/// Returns the database's default path: in the state directory that systemd sets for a service, else in the user's state directory.
/// `None` if neither is known.
pub fn default_database() -> Option<PathBuf> {
    let service = env::var_os("STATE_DIRECTORY").and_then(|dirs| env::split_paths(&dirs).next());
    let dir = service.or_else(|| xdg("XDG_STATE_HOME", ".local/state").map(|d| d.join("edge-scorer")))?;
    Some(dir.join("scores.db"))
}

/// Returns the cache directory: the directory that systemd sets for a service, else the user's cache directory.
pub(super) fn cache_dir() -> Option<PathBuf> {
    let service = env::var_os("CACHE_DIRECTORY").and_then(|dirs| env::split_paths(&dirs).next());
    service.or_else(|| xdg("XDG_CACHE_HOME", ".cache").map(|d| d.join("edge-scorer")))
}

/// Returns a directory of the XDG base directory specification: the value of `variable`, else `below_home` in the home directory. The
/// specification requires that relative values are ignored.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}
