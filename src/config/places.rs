//! Where things are when nobody says where.

use std::env;
use std::path::{Path, PathBuf};

/// The bundle's directory below a place that holds models.
const SHIPPED: &str = "models/small";

/// The shipped bundle: in the user's data directory, above the program (a checkout's `target/release`), or in the system's
/// share directories; the first that has a manifest.
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

/// The database: in the state directory that systemd gives a service, else in the user's.
pub fn default_database() -> Option<PathBuf> {
    let service = env::var_os("STATE_DIRECTORY").and_then(|dirs| env::split_paths(&dirs).next());
    let dir = service.or_else(|| xdg("XDG_STATE_HOME", ".local/state").map(|d| d.join("edge-scorer")))?;
    Some(dir.join("scores.db"))
}

/// Where what can be made again is kept: in the cache directory that systemd gives a service, else in the user's.
pub(super) fn cache_dir() -> Option<PathBuf> {
    let service = env::var_os("CACHE_DIRECTORY").and_then(|dirs| env::split_paths(&dirs).next());
    service.or_else(|| xdg("XDG_CACHE_HOME", ".cache").map(|d| d.join("edge-scorer")))
}

/// A directory of the XDG base directory specification; relative values are ignored, as it demands.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}
