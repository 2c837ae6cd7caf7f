//! What happens in training, written to an event file as it happens.

use super::messages::{Event, FILE_VERSION, SessionLog, SessionStatus, Summary, Value, What};
use super::{FOLDER, records};
use image::RgbImage;
use prost::Message;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::train::{self, Observer, StepRecord, Subject};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What has happened is in the file after this time at the latest.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// Records what happens and passes it on to another observer. A file that cannot be written any more is told once, as a
/// warning, and training goes on.
pub struct Recorder<'a> {
    inner: &'a mut dyn Observer,
    file: Option<EventFile>,
    /// Optimizer steps done.
    step: u64,
}

impl<'a> Recorder<'a> {
    /// A new event file in the run directory; `step` is the first step to come: not 0 where a training goes on.
    pub fn new(run: &Path, step: u64, inner: &'a mut dyn Observer) -> Recorder<'a> {
        let mut recorder = Recorder {
            inner,
            file: None,
            step,
        };
        let folder = run.join(FOLDER);
        match EventFile::create(&folder) {
            Ok(file) => recorder.file = Some(file),
            Err(error) => recorder.tell(&folder, &error),
        }
        if step > 0 {
            let start = SessionLog {
                status: SessionStatus::Start.into(),
            };
            recorder.write(What::SessionLog(start));
        }
        recorder
    }

    /// Adds the sheet of views as an image.
    pub fn views(&mut self, sheet: &RgbImage, png: &[u8]) {
        let value = Value::image("views", sheet.width(), sheet.height(), png.to_vec());
        self.values(vec![value]);
    }

    fn values(&mut self, value: Vec<Value>) {
        self.write(What::Summary(Summary { value }));
    }

    fn write(&mut self, what: What) {
        let Some(file) = &mut self.file else {
            return;
        };
        if let Err(error) = file.write(self.step, what) {
            let path = file.path.clone();
            self.file = None;
            self.tell(&path, &error);
        }
    }

    /// Writes out what is held back.
    pub fn finish(&mut self) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        if let Err(error) = file.out.flush() {
            self.tell(&file.path, &error);
        }
    }

    fn tell(&mut self, path: &Path, error: &io::Error) {
        let notice = Diagnostic::new(
            codes::W0803,
            format!(
                "TensorBoard events are not written any more: '{}' cannot be written: {error}",
                path.display()
            ),
        )
        .help("training goes on, and metrics.jsonl has the same numbers; free some space on the disk before the next run");
        self.inner.event(train::Event::Notice(&notice));
    }
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: train::Event) {
        match &event {
            train::Event::Step { record, .. } => {
                // Values belong to the step that made them; what is measured after it stands at the number of steps done.
                self.step = record.step;
                self.values(scalars(record));
                self.step = record.step + 1;
            }
            train::Event::Knn { subject, accuracy } => {
                let tag = match subject {
                    Subject::Raw => "knn/raw",
                    Subject::Untrained => "knn/untrained",
                    Subject::Training | Subject::Trained => "knn/encoder",
                };
                self.values(vec![Value::scalar(tag, *accuracy as f32)]);
            }
            train::Event::Linear { subject, accuracy } => {
                let tag = match subject {
                    Subject::Raw => "linear/raw",
                    Subject::Untrained => "linear/untrained",
                    Subject::Training | Subject::Trained => "linear/encoder",
                };
                self.values(vec![Value::scalar(tag, *accuracy as f32)]);
            }
            train::Event::Notice(_) | train::Event::Kernels(_) => {}
        }
        self.inner.event(event);
    }
}

fn scalars(record: &StepRecord) -> Vec<Value> {
    let mut values = vec![
        Value::scalar("train/loss", record.loss),
        Value::scalar("train/lr", record.lr as f32),
        Value::scalar("train/epoch", record.epoch as f32),
        Value::scalar("speed/samples_per_second", record.samples_per_second as f32),
        Value::scalar("speed/waiting", record.waiting as f32),
    ];
    let watches = record.watches.iter();
    values.extend(watches.map(|(name, v)| Value::scalar(format!("watch/{name}"), *v)));
    let measured = [
        ("collapse/embedding_std", record.embedding_std),
        ("collapse/effective_rank", record.effective_rank),
        (
            "memory/resident_bytes",
            record.memory_bytes.map(|b| b as f64),
        ),
    ];
    for (tag, value) in measured {
        values.extend(value.map(|v| Value::scalar(tag, v as f32)));
    }
    values
}

/// An event file that is being written.
struct EventFile {
    path: PathBuf,
    out: BufWriter<File>,
    flushed: Instant,
}

impl EventFile {
    /// A file of its own in the folder: TensorBoard reads all of them, by the time in their names.
    fn create(folder: &Path) -> io::Result<EventFile> {
        fs::create_dir_all(folder)?;
        let seconds = now().as_secs();
        let process = std::process::id();
        for n in 0.. {
            let path = folder.join(format!("events.out.tfevents.{seconds}.sslc.{process}.{n}"));
            let file = match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            let mut file = EventFile {
                path,
                out: BufWriter::new(file),
                flushed: Instant::now(),
            };
            file.write(0, What::FileVersion(FILE_VERSION.to_owned()))?;
            file.out.flush()?;
            return Ok(file);
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn write(&mut self, step: u64, what: What) -> io::Result<()> {
        let event = Event {
            wall_time: now().as_secs_f64(),
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
        };
        records::write(&mut self.out, &event.encode_to_vec())?;
        if self.flushed.elapsed() >= FLUSH_EVERY {
            self.out.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
