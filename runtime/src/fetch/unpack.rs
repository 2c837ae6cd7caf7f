//! Archives, which may hold anything: only plain files and folders below the expected folder are taken.

use super::hidden;
use crate::tensors::cannot_write;
use flate2::read::GzDecoder;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path};
use tar::{Archive, EntryType};

/// Unpacks a `.tar.gz` aside and moves its `folder` to `out/folder`.
pub(super) fn unpack(archive: &Path, out: &Path, folder: &str) -> Result<(), Diagnostic> {
    let aside = hidden(out, folder, "unpacking");
    let clear = || match fs::remove_dir_all(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(cannot_write(&aside, &e.to_string())),
        _ => Ok(()),
    };
    // What a killed run left.
    clear()?;
    let place = out.join(folder);
    let result = entries(archive, &aside, folder).and_then(|()| {
        fs::rename(aside.join(folder), &place).map_err(|e| cannot_write(&place, &e.to_string()))
    });
    match result {
        Ok(()) => clear(),
        Err(diagnostic) => {
            // What matters is the first error.
            let _ = clear();
            Err(diagnostic)
        }
    }
}

fn entries(archive: &Path, aside: &Path, folder: &str) -> Result<(), Diagnostic> {
    let bad = |why: String| {
        Diagnostic::new(
            codes::E0692,
            format!(
                "the archive '{}' cannot be unpacked: {why}",
                archive.display()
            ),
        )
        .help("remove it and fetch the set again")
    };
    let broken = |e: io::Error| bad(e.to_string());
    let file = File::open(archive).map_err(broken)?;
    let mut tar = Archive::new(GzDecoder::new(file));
    let mut found = false;
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let plain = matches!(kind, EntryType::Regular | EntryType::Directory);
        let mut parts = path
            .components()
            .filter(|c| *c != Component::CurDir)
            .peekable();
        let first = parts.peek() == Some(&Component::Normal(folder.as_ref()));
        let below = parts.all(|c| matches!(c, Component::Normal(_)));
        if !plain || !below {
            return Err(bad(format!(
                "it holds '{}', which is no file or folder inside of it",
                path.display()
            )));
        }
        if !first {
            continue;
        }
        let place = aside.join(&path);
        let write = |e: io::Error| cannot_write(&place, &e.to_string());
        if kind == EntryType::Directory {
            fs::create_dir_all(&place).map_err(write)?;
            continue;
        }
        found = true;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(write)?;
        }
        let mut out = File::create(&place).map_err(write)?;
        let written = io::copy(&mut entry, &mut out).map_err(write)?;
        if written != entry.size() {
            return Err(bad(format!("'{}' is cut off", path.display())));
        }
        out.sync_all().map_err(write)?;
    }
    if found {
        Ok(())
    } else {
        Err(bad(format!("it has no folder '{folder}'")))
    }
}
