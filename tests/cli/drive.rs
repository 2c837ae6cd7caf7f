//! A folder of files, and `sslc` run in it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A spec that compiles at once and trains in seconds.
pub const TINY: &str = r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8) |> normalize("fashion_mnist")
encoder   f = resnet18(stem: "cifar", width: 2)
projector g = mlp(8, 4)
predictor h = mlp(4, 4)
loss = negative_cosine(h(g(f(x1))), stop_gradient(g(f(x2))))
train { steps = 3, batch = 8, optimizer = sgd(lr: 0.05, momentum: 0.9) }
"#;

/// `sslc` in a folder of its own.
pub struct Sslc {
    folder: TempDir,
}

impl Sslc {
    pub fn new() -> Sslc {
        Sslc {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn with(name: &str, text: impl AsRef<[u8]>) -> Sslc {
        let sslc = Sslc::new();
        sslc.write(name, text);
        sslc
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslc"));
        command
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }
}

/// What a run said and ended with.
pub struct Run {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Run {
        Run {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The run failed with this exit code and these words in its message.
    #[track_caller]
    pub fn fails(&self, status: i32, words: &[&str]) {
        assert_eq!(
            self.status,
            Some(status),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "'{word}' is not in:\n{}",
                self.stderr
            );
        }
    }

    #[track_caller]
    pub fn succeeds(&self) -> &str {
        assert_eq!(
            self.status,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        &self.stdout
    }
}
