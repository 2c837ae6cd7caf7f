//! Fetching from a server of our own, which can misbehave.

use super::{Event, Form, Options, Published, Set, fetch};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// What a server does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The file, or the part asked for.
    Whole,
    /// As much of it, then the connection ends.
    CutAfter(usize),
    /// The whole file whatever was asked.
    NoRange,
    Status(u16),
}

struct Server {
    url: String,
    /// The ranges that were asked for, by request.
    asked: Arc<Mutex<Vec<Option<usize>>>>,
}

/// A server that gives `file` under any name; the answers in order, the last one for all further requests.
fn serve(file: Vec<u8>, answers: &[Answer]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, answers) = (asked.clone(), answers.to_vec());
    thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { continue };
            let mut from = None;
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                let line = line.to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().ok();
                }
                if line.is_empty() {
                    break;
                }
            }
            log.lock().unwrap().push(from);
            let answer = answers[i.min(answers.len() - 1)];
            let start = if answer == Answer::NoRange {
                0
            } else {
                from.unwrap_or(0)
            };
            let head = match answer {
                Answer::Status(code) => format!("HTTP/1.1 {code} No\r\nContent-Length: 0\r\n"),
                _ if start >= file.len() && start > 0 => {
                    "HTTP/1.1 416 No\r\nContent-Length: 0\r\n".to_owned()
                }
                _ if start > 0 => format!(
                    "HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n",
                    file.len() - 1,
                    file.len(),
                    file.len() - start
                ),
                _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", file.len()),
            };
            let body: &[u8] = match answer {
                Answer::Status(_) => &[],
                Answer::CutAfter(n) => &file[start.min(file.len())..(start + n).min(file.len())],
                Answer::Whole | Answer::NoRange => &file[start.min(file.len())..],
            };
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
            let _ = stream.write_all(body);
        }
    });
    Server { url, asked }
}

fn md5(bytes: &[u8]) -> &'static str {
    let sum: String = Md5::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    sum.leak()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// An archive of files by their paths, written as they are.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        // `set_path` would refuse what a hostile archive holds.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

fn noise(n: usize) -> Vec<u8> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn set(file: &[u8], form: Form) -> Set {
    let files = Box::leak(Box::new([Published {
        name: "file.bin",
        md5: md5(file),
    }]));
    Set {
        name: "set",
        url: "http://127.0.0.1:9",
        files,
        folder: "set",
        form,
    }
}

struct Fetched {
    folder: TempDir,
    result: Result<PathBuf, Diagnostic>,
    retries: usize,
}

/// Fetches into a folder where `part` of the file lies already.
fn run(set: &Set, url: &str, part: &[u8]) -> Fetched {
    let folder = tempfile::tempdir().unwrap();
    if !part.is_empty() {
        let inside = folder
            .path()
            .join(if set.form == Form::Files { "set" } else { "" });
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join(".file.bin.part"), part).unwrap();
    }
    again(set, url, folder)
}

fn again(set: &Set, url: &str, folder: TempDir) -> Fetched {
    let mut retries = 0;
    let options = Options {
        from: Some(url),
        pause: Duration::from_millis(1),
    };
    let result = fetch(set, folder.path(), options, &mut |event| {
        retries += usize::from(matches!(event, Event::Retry { .. }));
    });
    Fetched {
        folder,
        result,
        retries,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_arrives_whole_and_is_not_fetched_twice() {
    let file = noise(300_000);
    let server = serve(file.clone(), &[Answer::Whole]);
    let set = set(&file, Form::Files);
    let first = run(&set, &server.url, &[]);
    assert_eq!(first.result, Ok(first.folder.path().join("set")));
    let place = first.folder.path().join("set");
    assert_eq!(names(&place), ["file.bin"]);
    assert_eq!(fs::read(place.join("file.bin")).unwrap(), file);
    let second = again(&set, &server.url, first.folder);
    assert!(second.result.is_ok());
    assert_eq!(server.asked.lock().unwrap().len(), 1);
    // One that was damaged since is fetched again.
    fs::write(second.folder.path().join("set/file.bin"), b"other").unwrap();
    let third = again(&set, &server.url, second.folder);
    assert_eq!(
        fs::read(third.folder.path().join("set/file.bin")).unwrap(),
        file
    );
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let file = noise(200_000);
    let cuts = [
        Answer::CutAfter(70_000),
        Answer::Status(503),
        Answer::CutAfter(50_000),
        Answer::Whole,
    ];
    let server = serve(file.clone(), &cuts);
    let fetched = run(&set(&file, Form::Files), &server.url, &[]);
    assert!(fetched.result.is_ok(), "{:?}", fetched.result);
    assert_eq!(fetched.retries, 3);
    assert_eq!(
        *server.asked.lock().unwrap(),
        [None, Some(70_000), Some(70_000), Some(120_000)]
    );
    assert_eq!(
        fs::read(fetched.folder.path().join("set/file.bin")).unwrap(),
        file
    );
}

#[test]
fn what_a_killed_run_left_is_used() {
    let file = noise(100_000);
    let server = serve(file.clone(), &[Answer::Whole]);
    let set = set(&file, Form::Files);
    assert!(run(&set, &server.url, &file[..99_000]).result.is_ok());
    assert_eq!(*server.asked.lock().unwrap(), [Some(99_000)]);
    // All of it was there.
    assert!(run(&set, &server.url, &file).result.is_ok());
    // It was of another file: once more from the start.
    let other = run(&set, &server.url, &[7; 500]);
    assert!(other.result.is_ok() && other.retries == 1);
    let longer = run(&set, &server.url, &vec![7; 200_000]);
    assert!(longer.result.is_ok() && longer.retries == 1);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let file = noise(100_000);
    let server = serve(file.clone(), &[Answer::CutAfter(60_000), Answer::NoRange]);
    let fetched = run(&set(&file, Form::Files), &server.url, &[]);
    assert!(fetched.result.is_ok(), "{:?}", fetched.result);
    assert_eq!(
        fs::read(fetched.folder.path().join("set/file.bin")).unwrap(),
        file
    );
}

#[test]
fn a_file_that_is_not_the_published_one_is_removed() {
    let server = serve(noise(1000), &[Answer::Whole]);
    let fetched = run(&set(b"published", Form::Files), &server.url, &[]);
    let error = fetched.result.unwrap_err();
    assert_eq!(error.code, codes::E0691);
    assert!(error.message.contains(md5(&noise(1000))) && error.message.contains(md5(b"published")));
    assert!(names(&fetched.folder.path().join("set")).is_empty());
}

#[test]
fn a_missing_file_is_not_asked_for_again_and_a_dead_server_is() {
    let set = set(b"x", Form::Files);
    let server = serve(vec![], &[Answer::Status(404)]);
    let error = run(&set, &server.url, &[]).result.unwrap_err();
    assert_eq!(error.code, codes::E0690);
    assert!(error.message.contains("404"));
    assert_eq!(server.asked.lock().unwrap().len(), 1);

    let server = serve(vec![], &[Answer::Status(500)]);
    let dead = run(&set, &server.url, &[]);
    assert_eq!(dead.result.unwrap_err().code, codes::E0690);
    assert_eq!(server.asked.lock().unwrap().len(), 4);

    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let none = run(&set, &format!("http://{closed}"), &[]);
    assert_eq!(
        (none.retries, none.result.unwrap_err().code),
        (3, codes::E0690)
    );

    let error = run(&set, "no address", &[]).result.unwrap_err();
    assert!(error.message.contains("is no address"), "{}", error.message);
}

#[test]
fn what_was_had_before_the_server_died_is_kept() {
    let file = noise(100_000);
    let server = serve(
        file.clone(),
        &[Answer::CutAfter(40_000), Answer::Status(500)],
    );
    let fetched = run(&set(&file, Form::Files), &server.url, &[]);
    assert!(
        fetched
            .result
            .unwrap_err()
            .help
            .unwrap()
            .contains("goes on")
    );
    let part = fetched.folder.path().join("set/.file.bin.part");
    assert_eq!(fs::read(part).unwrap(), file[..40_000]);
}

#[test]
fn an_archive_becomes_its_folder() {
    let file = archive(&[
        ("set/a.bin", b"one"),
        ("./set/deep/b.bin", b"two"),
        ("README", b"no"),
    ]);
    let server = serve(file.clone(), &[Answer::Whole]);
    let set = set(&file, Form::Archive);
    let fetched = run(&set, &server.url, &[]);
    assert!(fetched.result.is_ok(), "{:?}", fetched.result);
    assert_eq!(names(fetched.folder.path()), ["set"]);
    assert_eq!(
        fs::read(fetched.folder.path().join("set/deep/b.bin")).unwrap(),
        b"two"
    );
    assert!(again(&set, &server.url, fetched.folder).result.is_ok());
    assert_eq!(server.asked.lock().unwrap().len(), 1);
}

#[test]
fn an_archive_does_not_write_outside_of_its_folder() {
    let link = {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "set/link", "/etc").unwrap();
        gzip(&tar.into_inner().unwrap())
    };
    let whole = archive(&[("set/a", &noise(5000))]);
    let cut = whole[..whole.len() / 2].to_vec();
    let hostile = [
        archive(&[("set/a", b"x"), ("../escaped", b"x")]),
        archive(&[("set/../../escaped", b"x")]),
        archive(&[("/tmp/escaped", b"x")]),
        archive(&[("other/a", b"x")]),
        link,
        gzip(b"no archive"),
        noise(600),
        cut,
    ];
    for file in hostile {
        let server = serve(file.clone(), &[Answer::Whole]);
        let fetched = run(&set(&file, Form::Archive), &server.url, &[]);
        let error = fetched.result.unwrap_err();
        assert!(
            [codes::E0692, codes::E0654].contains(&error.code),
            "{}",
            error.message
        );
        // The archive is kept; nothing has the set's name, and nothing stands beside the folder.
        assert_eq!(names(fetched.folder.path()), [".file.bin.part"]);
    }
}
