//! A Python process that a comparison talks to: it is given bytes and answers in lines of JSON.

use serde_json::Value;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

/// A running script. It ends when this is dropped.
pub struct Python {
    child: Child,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: Option<ChildStderr>,
    python: PathBuf,
}

impl Python {
    /// Starts a script with so many threads. The C library keeps large blocks, as a training script that is tuned for
    /// speed would have it: memory that goes back to the system at each step costs page faults.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(python: &Path, script: &str, threads: usize) -> Result<Python, Diagnostic> {
        let mut child = Command::new(python)
            .args(["-c", script])
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("MALLOC_MMAP_THRESHOLD_", "4000000000")
            .env("MALLOC_TRIM_THRESHOLD_", "16000000000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Diagnostic::new(
                    codes::E0751,
                    format!("the comparison cannot start {}: {error}", python.display()),
                )
                .help("name a Python that has PyTorch with --python, or leave --compare out")
            })?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Python {
                errors: child.stderr.take(),
                child,
                input,
                answers: BufReader::new(output),
                python: python.to_owned(),
            }),
            _ => Err(Diagnostic::new(
                codes::E0751,
                "the comparison cannot talk to its Python process",
            )),
        }
    }

    /// Gives it bytes. A process that has ended is noticed by [`Python::answer`].
    pub fn tell(&mut self, bytes: &[u8]) {
        let _ = self
            .input
            .write_all(bytes)
            .and_then(|()| self.input.flush());
    }

    /// Its next answer.
    ///
    /// # Errors
    /// When it ended, or says that it cannot do what was asked.
    pub fn answer(&mut self) -> Result<Value, Diagnostic> {
        let mut line = String::new();
        let _ = self.answers.read_line(&mut line);
        match serde_json::from_str::<Value>(&line) {
            Ok(answer) => match answer.get("error").and_then(Value::as_str) {
                Some(error) => Err(self.failed(error)),
                None => Ok(answer),
            },
            Err(_) => Err(self.ended()),
        }
    }

    fn failed(&self, error: &str) -> Diagnostic {
        Diagnostic::new(
            codes::E0751,
            format!(
                "{} cannot run the comparison: {error}",
                self.python.display()
            ),
        )
        .help("name a Python that has torch and torchvision with --python, or leave --compare out")
    }

    /// What it said last, where it ended without an answer.
    fn ended(&mut self) -> Diagnostic {
        let _ = self.child.kill();
        let mut said = String::new();
        if let Some(errors) = &mut self.errors {
            let _ = errors.read_to_string(&mut said);
        }
        let last = said.lines().rfind(|l| !l.trim().is_empty());
        self.failed(last.unwrap_or("it ended without an answer"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
