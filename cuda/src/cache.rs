//! Compiled kernels on disk, by what they were made of. Any number of processes may use it at once.
//!
//! A file's name is the hash of all that decides its content; its first 16 bytes are the hash of the rest, so that a damaged
//! one counts as missing. Files are written aside and renamed. Where the folder cannot be written, nothing is kept.

use std::env;
use std::fs;
use std::path::PathBuf;
use xxhash_rust::xxh3::xxh3_128;

/// The folder of the cache, in place of `sslc/cuda` in the user's folder of caches.
pub const FOLDER: &str = "SSLC_CACHE";

/// A folder of compiled kernels.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The user's cache, where the environment tells its place.
    pub fn of_user() -> Cache {
        let set = |name: &str| {
            let value = env::var_os(name).filter(|v| !v.is_empty());
            value.map(PathBuf::from)
        };
        let folder = set(FOLDER).or_else(|| {
            let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
            Some(caches?.join("sslc/cuda"))
        });
        Cache { folder }
    }

    #[cfg(test)]
    fn at(folder: PathBuf) -> Cache {
        Cache {
            folder: Some(folder),
        }
    }

    /// What is kept under this key, whole.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.path(key)?).ok()?;
        let hash = u128::from_le_bytes(*bytes.first_chunk()?);
        bytes.drain(..16);
        (xxh3_128(&bytes) == hash).then_some(bytes)
    }

    /// Keeps a value.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        let Some(path) = self.path(key) else { return };
        let Some(folder) = path.parent() else { return };
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut bytes = xxh3_128(value).to_le_bytes().to_vec();
        bytes.extend_from_slice(value);
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&aside, bytes))
            .and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            // It may not exist.
            let _ = fs::remove_file(aside);
        }
    }

    fn path(&self, key: &[u8]) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(format!("{:032x}", xxh3_128(key))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_damage_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("deep/er"));
        assert_eq!(cache.get(b"a"), None);
        cache.put(b"a", b"one");
        cache.put(b"b", b"two");
        assert_eq!(cache.get(b"a").as_deref(), Some(&b"one"[..]));
        let path = cache.path(b"a").unwrap();
        for damage in [&b"short"[..], b"sixteen bytes, and more"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(cache.get(b"a"), None);
        }
        assert_eq!(cache.get(b"b").as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_written_keeps_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::at(file.path().join("below"));
        cache.put(b"a", b"one");
        assert_eq!(cache.get(b"a"), None);
    }
}
