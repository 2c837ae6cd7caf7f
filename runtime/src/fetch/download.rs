//! One file over HTTP.

use super::{Event, Published};
use crate::tensors::cannot_write;
use md5::{Digest, Md5};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use ureq::Agent;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};

/// Tries that bring nothing new, before giving up.
const TRIES: u32 = 4;
const CONNECT: Duration = Duration::from_secs(20);
/// A transfer that takes longer is begun anew where it stands.
const TRANSFER: Duration = Duration::from_secs(1800);
/// Bytes between two reports.
const REPORT: u64 = 1 << 18;

/// How a try ended short of the whole file.
enum Failed {
    /// Trying again may help.
    Retry(String),
    /// It will not.
    Stop(Diagnostic),
}

/// Downloads a file to `part`, going on with what stands there, until its checksum is the published one.
pub(super) fn download(
    url: &str,
    file: &Published,
    part: &Path,
    pause: Duration,
    event: &mut dyn FnMut(Event<'_>),
) -> Result<(), Diagnostic> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_body(Some(TRANSFER))
        .user_agent(concat!("sslc/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut tries = 0;
    loop {
        let before = length(part);
        match attempt(&agent, url, file, part, event) {
            Ok(resumed) => {
                let sum = md5_of(part).map_err(|e| cannot_write(part, &e.to_string()))?;
                if sum == file.md5 {
                    return Ok(());
                }
                let _ = fs::remove_file(part);
                // What an earlier run left may have been of another file: once more from the start.
                if !resumed {
                    return Err(mismatch(url, file, &sum));
                }
                event(Event::Retry {
                    file: file.name,
                    why: "what was there already does not fit",
                });
            }
            Err(Failed::Stop(diagnostic)) => return Err(diagnostic),
            Err(Failed::Retry(why)) => {
                tries = if length(part) > before { 1 } else { tries + 1 };
                if tries >= TRIES {
                    return Err(unreachable(url, &why, length(part)));
                }
                event(Event::Retry {
                    file: file.name,
                    why: &why,
                });
                sleep(pause * 2u32.pow(tries - 1));
            }
        }
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// One request. Says whether it went on with bytes that were there before.
fn attempt(
    agent: &Agent,
    url: &str,
    file: &Published,
    part: &Path,
    event: &mut dyn FnMut(Event<'_>),
) -> Result<bool, Failed> {
    let have = length(part);
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|e| match e {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Failed::Stop(
                Diagnostic::new(codes::E0690, format!("'{url}' is no address: {e}"))
                    .help("an address begins with https:// or http://"),
            )
        }
        other => Failed::Retry(other.to_string()),
    })?;
    let header = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let status = response.status().as_u16();
    let start = match status {
        206 => {
            let place = header(CONTENT_RANGE).unwrap_or_default();
            let begins = place
                .strip_prefix("bytes ")
                .and_then(|r| r.split('-').next()?.parse::<u64>().ok());
            if begins != Some(have) {
                // Another part than the one asked for is of no use.
                let _ = fs::remove_file(part);
                return Err(Failed::Retry(format!("the server sent '{place}'")));
            }
            have
        }
        200 => 0,
        // Nothing follows what is there: it is whole, or not of this file.
        416 if have > 0 => return Ok(true),
        404 | 410 => return Err(Failed::Stop(gone(url, status))),
        400..500 if status != 408 && status != 429 => {
            return Err(Failed::Stop(refused(url, status)));
        }
        _ => return Err(Failed::Retry(format!("the server answered {status}"))),
    };
    let total = header(CONTENT_LENGTH)
        .and_then(|n| n.parse::<u64>().ok())
        .map(|n| start + n);
    let stop = |e: io::Error| Failed::Stop(cannot_write(part, &e.to_string()));
    let mut out = OpenOptions::new()
        .create(true)
        .write(true)
        .append(start > 0)
        .truncate(start == 0)
        .open(part)
        .map_err(stop)?;
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let (mut done, mut told) = (start, None);
    loop {
        if told.is_none_or(|t| done - t >= REPORT) {
            told = Some(done);
            event(Event::Bytes {
                file: file.name,
                done,
                total,
            });
        }
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Failed::Retry(e.to_string())),
        };
        out.write_all(&buffer[..n]).map_err(stop)?;
        done += n as u64;
    }
    out.sync_all().map_err(stop)?;
    event(Event::Bytes {
        file: file.name,
        done,
        total,
    });
    match total {
        Some(total) if done < total => Err(Failed::Retry("the connection ended early".to_owned())),
        _ => Ok(start > 0),
    }
}

/// The checksum of a file, in hexadecimal digits.
pub(super) fn md5_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        sum.update(&buffer[..n]);
    }
    Ok(sum.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn unreachable(url: &str, why: &str, kept: u64) -> Diagnostic {
    let diagnostic = Diagnostic::new(codes::E0690, format!("'{url}' could not be had: {why}"));
    if kept > 0 {
        diagnostic.help("try again later: the download goes on where it stopped")
    } else {
        diagnostic
            .help("check the connection (a proxy is taken from HTTPS_PROXY), or name a mirror with `--from URL`")
    }
}

fn gone(url: &str, status: u16) -> Diagnostic {
    Diagnostic::new(
        codes::E0690,
        format!("'{url}' is not there: the server answered {status}"),
    )
    .help("name another address with `--from URL`, where the files lie under their published names")
}

fn refused(url: &str, status: u16) -> Diagnostic {
    Diagnostic::new(
        codes::E0690,
        format!("'{url}' was refused: the server answered {status}"),
    )
    .help("name another address with `--from URL`")
}

fn mismatch(url: &str, file: &Published, sum: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0691,
        format!(
            "'{url}' is not the published file: its MD5 is {sum}, not {}",
            file.md5
        ),
    )
    .help("it was changed on the way or at its source, and has been removed; try again, or another address with `--from URL`")
}
