//! `sslc snapshot`, and stages as text from Rust.

use crate::drive::{Sslc, TINY};
use sslc::Stage;
use std::fs;

#[test]
fn a_snapshot_is_written_then_held() {
    let sslc = Sslc::with("a.ssl", TINY);
    let first = sslc.run(&["snapshot", "a.ssl"]);
    assert!(first.succeeds().contains("a@kernels.snap: written"));
    let again = sslc.run(&["snapshot", "a.ssl", "--check"]);
    assert_eq!(again.succeeds(), "2 snapshots in order\n");
}

#[test]
fn a_difference_waits_for_review_until_it_is_accepted() {
    let sslc = Sslc::with("a.ssl", TINY);
    let args = ["snapshot", "a.ssl", "--stage", "core"];
    sslc.run(&args).succeeds();
    sslc.write("a.ssl", TINY.replace("h(g(f(x1)))", "-h(g(f(x1)))"));
    let changed = sslc.run(&args);
    assert_eq!(changed.status, Some(1));
    for words in ["a@core.snap: differs", "- %", ".snap.new"] {
        assert!(changed.stdout.contains(words), "{}", changed.stdout);
    }
    let pending = sslc.path().join("snapshots/a@core.snap.new");
    assert!(pending.exists());
    sslc.run(&["snapshot", "a.ssl", "--stage", "core", "--accept"])
        .succeeds();
    assert!(!pending.exists());
    sslc.run(&args).succeeds();
}

#[test]
fn missing_snapshots_fail_where_nobody_reviews() {
    let sslc = Sslc::with("a.ssl", TINY);
    let run = sslc.run(&["snapshot", "a.ssl", "--stage", "ast", "--check"]);
    assert_eq!(run.status, Some(1));
    assert!(sslc.path().join("snapshots/a@ast.snap.new").exists());
    assert!(!sslc.path().join("snapshots/a@ast.snap").exists());
}

#[test]
fn a_file_that_is_no_snapshot() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.write("snapshots/a@core.snap", "<<<<<<< ours\n");
    let args = ["snapshot", "a.ssl", "--stage", "core"];
    sslc.run(&args).fails(3, &["E0906", "a@core.snap"]);
    sslc.run(&["snapshot", "a.ssl", "--stage", "core", "--accept"])
        .succeeds();
    sslc.run(&args).succeeds();
}

#[test]
fn insta_reads_them_and_the_library_gives_the_same_text() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.run(&["snapshot", "a.ssl", "--stage", "core,kernels"])
        .succeeds();
    let compiled = sslc::compile(sslc.path().join("a.ssl")).unwrap();
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(sslc.path().join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        insta::assert_snapshot!("a@core", compiled.text(Stage::Core));
        insta::assert_snapshot!("a@kernels", compiled.text(Stage::Kernels));
    });
    let snap = fs::read_to_string(sslc.path().join("snapshots/a@core.snap")).unwrap();
    assert!(snap.contains("expression: \"sslc graph a.ssl --emit core\""));
}

#[test]
fn a_spec_with_errors_shows_them() {
    let sslc = Sslc::with("a.ssl", TINY.replace("resnet18", "resnet19"));
    let failure = sslc::compile(sslc.path().join("a.ssl")).unwrap_err();
    let shown = failure.to_string();
    assert!(
        shown.contains("E0101") && shown.contains("resnet18"),
        "{shown}"
    );
    sslc.run(&["snapshot", "a.ssl"]).fails(1, &["E0101"]);
}
