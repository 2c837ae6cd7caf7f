//! `sslc fetch` as a person calls it; what servers may do is tested beside the code.

use crate::drive::Sslc;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

#[test]
fn sets_are_called_by_their_names() {
    let sslc = Sslc::new();
    sslc.run(&["fetch", "cifar1O"])
        .fails(2, &["E0911", "did you mean cifar10?"]);
    sslc.run(&["fetch", "imagenet"])
        .fails(2, &["E0911", "fashion_mnist"]);
    assert!(!sslc.path().join("data").exists());
}

#[test]
fn without_a_network_nothing_is_left_behind() {
    let sslc = Sslc::new();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let run = sslc.run(&[
        "fetch",
        "cifar10",
        "--from",
        &format!("http://{closed}/sets"),
    ]);
    run.fails(3, &["E0690", "/sets/cifar-10-binary.tar.gz", "--from"]);
    assert_eq!(
        run.stderr.matches("trying again").count(),
        3,
        "{}",
        run.stderr
    );
    assert_eq!(
        std::fs::read_dir(sslc.path().join("data")).unwrap().count(),
        0
    );
}

#[test]
fn another_file_than_the_published_one_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let page = "<html>log in</html>";
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            );
        }
    });
    let sslc = Sslc::new();
    sslc.run(&["fetch", "fashion-mnist", "--out", "sets", "--from", &url])
        .fails(
            3,
            &[
                "E0691",
                "train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            ],
        );
    let left = std::fs::read_dir(sslc.path().join("sets/fashion_mnist")).unwrap();
    assert_eq!(left.count(), 0);
}
