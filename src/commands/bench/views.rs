//! `sslc bench --views`: what views cost on one core, and where; in turns with torchvision, if it is asked for.

use super::python::Python;
use crate::cli::SpecArgs;
use crate::compile::{Compilation, Failure, json};
use crate::render::Format;
use crate::report::{Reporter, print};
use image::codecs::jpeg::JpegEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use sslc_compiler::program::{DataKind, DataSource, View};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::{self, DecodeBuffer, ImageRef};
use sslc_runtime::rng::{Domain, Stream};
use sslc_runtime::views::{Key, OpTimes, Renderer};
use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

/// The script that makes the views of a spec by torchvision.
const SCRIPT: &str = include_str!("../../../benches/views.py");
/// Seconds that one measurement takes, about.
const ROUND: f64 = 0.25;
/// Height and width of the image that stands for those of an image folder.
const PHOTO: (usize, usize) = (375, 500);
const JPEG_QUALITY: u8 = 90;

/// One pipeline of the spec.
#[derive(Debug, Serialize)]
struct Report {
    /// The views that it makes.
    views: Vec<String>,
    /// [H, W, C] of the image and of the view.
    image: [usize; 3],
    view: [usize; 3],
    /// Medians, on one core.
    views_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jpeg: Option<Jpeg>,
    /// Mean seconds per view where each operation makes its own pass; together they do better.
    operations: Vec<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    torchvision: Option<Comparison>,
}

/// With decoding for each view.
#[derive(Debug, Serialize)]
struct Jpeg {
    bytes: usize,
    views_per_second: f64,
    decode_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Operation {
    name: String,
    /// How often it acts.
    p: f64,
    seconds: f64,
}

/// torchvision's views per second, in the same run; ratios are ours over the better of tensors and PIL.
#[derive(Debug, Serialize)]
struct Comparison {
    version: String,
    tensors: f64,
    pil: f64,
    ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jpeg: Option<JpegComparison>,
    /// What torchvision does in another way.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct JpegComparison {
    tensors: f64,
    pil: f64,
    ratio: f64,
}

/// What was asked for beside the spec.
pub struct Request<'a> {
    /// Measurements, of which the median counts.
    pub rounds: u32,
    pub format: Format,
    /// The Python whose torchvision makes the same views in turns with ours.
    pub pytorch: Option<&'a Path>,
}

/// Measures each pipeline of the spec and prints what came out.
pub fn run(spec: &SpecArgs, request: &Request, reporter: Reporter) -> Result<u8, Failure> {
    let compilation = Compilation::from_args(spec)?;
    super::super::warn(&compilation, reporter);
    let program = &compilation.program;
    let sample = Sample::of(&program.data)?;
    let mut reports: Vec<Report> = Vec::new();
    for (i, view) in program.views.iter().enumerate() {
        let first = program
            .views
            .iter()
            .position(|v| v.pipeline == view.pipeline);
        let of_first =
            |r: &&mut Report| first.is_some_and(|f| r.views.contains(&program.views[f].name));
        match reports.iter_mut().find(of_first) {
            Some(report) => report.views.push(view.name.clone()),
            None => {
                let key = Key {
                    seed: program.train.seed,
                    epoch: 0,
                    image: 0,
                    view: i as u16,
                };
                reports.push(measure(view, &sample, key, request)?);
            }
        }
    }
    print(&match request.format {
        Format::Json => json(&reports),
        Format::Text => reports.iter().map(table).collect::<Vec<_>>().join("\n"),
    });
    Ok(0)
}

/// An image such as the source has, and its file where images come as files.
struct Sample {
    pixels: Vec<u8>,
    size: [usize; 3],
    jpeg: Option<Vec<u8>>,
}

impl Sample {
    fn of(source: &DataSource) -> Result<Sample, Diagnostic> {
        let channels = source.channels;
        let (height, width) = match source.kind {
            DataKind::FashionMini
            | DataKind::FashionMnist { .. }
            | DataKind::Mnist { .. }
            | DataKind::Idx { .. } => (28, 28),
            DataKind::Cifar10 { .. } | DataKind::Cifar100 { .. } => (32, 32),
            DataKind::Stl10 { .. } => (96, 96),
            DataKind::ImageFolder { .. } => PHOTO,
        };
        let size = [height, width, channels];
        let pixels = photo(size);
        let jpeg = match source.kind {
            DataKind::ImageFolder { .. } => Some(encode(&pixels, size)?),
            _ => None,
        };
        Ok(Sample { pixels, size, jpeg })
    }

    fn image(&self) -> ImageRef<'_> {
        let [height, width, channels] = self.size;
        ImageRef {
            pixels: Cow::Borrowed(&self.pixels),
            height,
            width,
            channels,
        }
    }
}

/// Waves from the whole image's size down to a few pixels, weaker as they get shorter, edges and a little noise: what costs a decoder
/// about as much as a photograph does.
fn photo([height, width, channels]: [usize; 3]) -> Vec<u8> {
    let mut draws = Stream::new(0, Domain::Views, 0, 0, 0);
    let waves: Vec<[f64; 4]> = (0..24)
        .map(|i| {
            let frequency = 3.0 * 1.22f64.powi(i) / width as f64;
            let angle = draws.uniform(0.0, std::f64::consts::TAU);
            let phase = draws.uniform(0.0, std::f64::consts::TAU);
            let amplitude = 0.16 * 0.9f64.powi(i);
            [
                frequency * angle.cos(),
                frequency * angle.sin(),
                phase,
                amplitude,
            ]
        })
        .collect();
    let mut pixels = Vec::with_capacity(height * width * channels);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f64, y as f64);
            let light: f64 = waves
                .iter()
                .map(|[a, b, phase, amplitude]| amplitude * (a * u + b * v + phase).sin())
                .sum();
            let edge = if waves[2][0] * u + waves[2][1] * v > 0.5 {
                0.12
            } else {
                0.0
            };
            for [a, _, phase, _] in waves.iter().take(channels) {
                let tint = 0.1 * (a * v + phase).sin();
                let value = 0.5 + light + edge + tint + draws.uniform(-0.02, 0.02);
                pixels.push((value.clamp(0.0, 1.0) * 255.0) as u8);
            }
        }
    }
    pixels
}

fn encode(pixels: &[u8], [height, width, channels]: [usize; 3]) -> Result<Vec<u8>, Diagnostic> {
    let color = if channels == 1 {
        image::ExtendedColorType::L8
    } else {
        image::ExtendedColorType::Rgb8
    };
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
        .encode(pixels, width as u32, height as u32, color)
        .map_err(|e| not_measured(&e.to_string()))?;
    Ok(file)
}

fn not_measured(why: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0608,
        format!("the image to measure with is unusable: {why}"),
    )
    .help("this is a mistake of the compiler: please report it with the spec")
}

/// Makes the views of one image; which draws each has is counted on.
struct Maker<'a> {
    view: &'a View,
    sample: &'a Sample,
    key: Key,
    renderer: Renderer,
    decoded: DecodeBuffer,
    out: Vec<f32>,
}

impl Maker<'_> {
    fn next_key(&mut self) -> Key {
        self.key.epoch = self.key.epoch.wrapping_add(1);
        self.key
    }

    /// Seconds that `n` views take.
    fn memory_times(&mut self, n: usize) -> Result<f64, Diagnostic> {
        let begin = Instant::now();
        for _ in 0..n {
            let key = self.next_key();
            let image = self.sample.image();
            self.renderer
                .render(self.view, &image, key, &mut self.out)?;
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Seconds that `n` views take with decoding, and seconds of decoding among them.
    fn jpeg_times(&mut self, file: &[u8], n: usize) -> Result<(f64, f64), Diagnostic> {
        let begin = Instant::now();
        let mut decoding = Duration::ZERO;
        let channels = self.sample.size[2];
        for _ in 0..n {
            let key = self.next_key();
            let start = Instant::now();
            let image = data::decode_image(file, channels, &mut self.decoded)
                .map_err(|_| not_measured("it cannot be decoded"))?;
            decoding += start.elapsed();
            self.renderer
                .render(self.view, &image, key, &mut self.out)?;
        }
        Ok((begin.elapsed().as_secs_f64(), decoding.as_secs_f64()))
    }

    fn times(&mut self, n: usize) -> Result<OpTimes, Diagnostic> {
        let mut times = OpTimes::default();
        for _ in 0..n {
            let key = self.next_key();
            let image = self.sample.image();
            let (view, out) = (self.view, &mut self.out);
            self.renderer
                .render_timed(view, &image, key, out, &mut times)?;
        }
        Ok(times)
    }
}

/// As many views as take about [`ROUND`] seconds.
fn count(seconds: f64, views: usize) -> usize {
    (ROUND * views as f64 / seconds.max(1e-9)).clamp(1.0, 1e6) as usize
}

fn measure(
    view: &View,
    sample: &Sample,
    key: Key,
    request: &Request,
) -> Result<Report, Diagnostic> {
    let mut maker = Maker {
        view,
        sample,
        key,
        renderer: Renderer::default(),
        decoded: DecodeBuffer::default(),
        out: vec![0.0; view.height * view.width * view.channels],
    };
    let mut peer = match request.pytorch {
        Some(python) => Some(Peer::start(python, view, sample)?),
        None => None,
    };
    maker.memory_times(10)?;
    let n = count(maker.memory_times(20)?, 20);
    let file = sample.jpeg.as_deref();
    let n_jpeg = match file {
        Some(file) => count(maker.jpeg_times(file, 10)?.0, 10),
        None => 0,
    };
    let (mut memory, mut jpeg, mut decoding) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..request.rounds {
        memory.push(maker.memory_times(n)? / n as f64);
        if let Some(file) = file {
            let (all, part) = maker.jpeg_times(file, n_jpeg)?;
            jpeg.push(all / n_jpeg as f64);
            decoding.push(part / n_jpeg as f64);
        }
        if let Some(peer) = &mut peer {
            peer.round()?;
        }
    }
    let median = |seconds: &mut Vec<f64>| super::median(seconds).unwrap_or(f64::NAN);
    let ours = 1.0 / median(&mut memory);
    let jpeg = file.map(|file| Jpeg {
        bytes: file.len(),
        views_per_second: 1.0 / median(&mut jpeg),
        decode_seconds: median(&mut decoding),
    });
    let torchvision = peer.map(|p| p.finish(ours, jpeg.as_ref().map(|j| j.views_per_second)));
    let times = maker.times(n)?;
    Ok(Report {
        views: vec![view.name.clone()],
        image: sample.size,
        view: [view.height, view.width, view.channels],
        views_per_second: ours,
        jpeg,
        operations: operations(view, &times, n),
        torchvision,
    })
}

fn operations(view: &View, times: &OpTimes, n: usize) -> Vec<Operation> {
    let mean = |d: Duration| d.as_secs_f64() / n as f64;
    let step = |name: &str, time: Duration| Operation {
        name: name.to_owned(),
        p: 1.0,
        seconds: mean(time),
    };
    let mut all = vec![step("draw parameters", times.draws)];
    if times.read > Duration::ZERO {
        all.push(step("bytes to floats", times.read));
    }
    for (op, time) in view.pipeline.ops.iter().zip(&times.ops) {
        all.push(Operation {
            name: op_name(&json!(op.kind)),
            p: op.p,
            seconds: mean(*time),
        });
    }
    all.push(step("write", times.write));
    all
}

/// The operation's name in the language, from its JSON form.
fn op_name(kind: &Value) -> String {
    match kind {
        Value::String(name) => name.clone(),
        Value::Object(map) => map.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// The ways in which torchvision makes views.
const KINDS: [&str; 4] = ["tensor", "pil", "tensor_jpeg", "pil_jpeg"];

/// torchvision, ready to make views.
struct Peer {
    python: Python,
    version: String,
    notes: Vec<String>,
    /// Of [`KINDS`], those that there are images for.
    kinds: usize,
    views: [usize; 4],
    seconds: [Vec<f64>; 4],
}

impl Peer {
    fn start(python: &Path, view: &View, sample: &Sample) -> Result<Peer, Diagnostic> {
        let mut python = Python::start(python, SCRIPT, 1)?;
        let jpeg = sample.jpeg.as_deref().unwrap_or_default();
        let job = json!({"ops": view.pipeline.ops, "size": sample.size, "jpeg": jpeg.len()});
        python.tell(format!("{job}\n").as_bytes());
        python.tell(&sample.pixels);
        python.tell(jpeg);
        let ready = python.answer()?;
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let notes = ready.get("notes").and_then(Value::as_array);
        let mut peer = Peer {
            python,
            version: ready.get("version").and_then(text).unwrap_or_default(),
            notes: notes.into_iter().flatten().filter_map(text).collect(),
            kinds: if jpeg.is_empty() { 2 } else { 4 },
            views: [1; 4],
            seconds: Default::default(),
        };
        for kind in 0..peer.kinds {
            peer.make(kind, 3)?;
            peer.views[kind] = count(peer.make(kind, 5)?, 5);
        }
        Ok(peer)
    }

    /// Seconds that `n` views take.
    fn make(&mut self, kind: usize, n: usize) -> Result<f64, Diagnostic> {
        self.python
            .tell(format!("{} {n}\n", KINDS[kind]).as_bytes());
        let answer = self.python.answer()?;
        let seconds = answer.get("seconds").and_then(Value::as_f64);
        seconds.ok_or_else(|| {
            Diagnostic::new(codes::E0751, "torchvision gave no times to compare with")
        })
    }

    fn round(&mut self) -> Result<(), Diagnostic> {
        for kind in 0..self.kinds {
            let n = self.views[kind];
            let seconds = self.make(kind, n)? / n as f64;
            self.seconds[kind].push(seconds);
        }
        Ok(())
    }

    fn finish(mut self, ours: f64, ours_from_jpeg: Option<f64>) -> Comparison {
        self.python.tell(b"quit\n");
        let rate = |seconds: &mut Vec<f64>| super::median(seconds).map_or(f64::NAN, |s| 1.0 / s);
        let [tensors, pil, tensors_jpeg, pil_jpeg] = &mut self.seconds;
        let (tensors, pil) = (rate(tensors), rate(pil));
        Comparison {
            version: self.version,
            tensors,
            pil,
            ratio: ours / tensors.max(pil),
            jpeg: ours_from_jpeg.map(|ours| {
                let (tensors, pil) = (rate(tensors_jpeg), rate(pil_jpeg));
                JpegComparison {
                    tensors,
                    pil,
                    ratio: ours / tensors.max(pil),
                }
            }),
            notes: self.notes,
        }
    }
}

fn table(report: &Report) -> String {
    let [h, w, c] = report.image;
    let [view_h, view_w, view_c] = report.view;
    let mut out = format!(
        "{}: {view_h}×{view_w}×{view_c} of an image {h}×{w}×{c}, on one core\n\
         from memory  {:9.0} views/s\n",
        report.views.join(", "),
        report.views_per_second,
    );
    if let Some(jpeg) = &report.jpeg {
        out.push_str(&format!(
            "from JPEG    {:9.0} views/s, decoding counted: {:.0} µs for {} kB\n",
            jpeg.views_per_second,
            jpeg.decode_seconds * 1e6,
            jpeg.bytes / 1000,
        ));
    }
    if let Some(t) = &report.torchvision {
        out.push_str(&format!(
            "\ntorchvision {}   tensors      PIL   ours are\n\
             from memory  {:9.0} {:8.0}   {:6.2} times as many\n",
            t.version, t.tensors, t.pil, t.ratio
        ));
        if let Some(j) = &t.jpeg {
            out.push_str(&format!(
                "from JPEG    {:9.0} {:8.0}   {:6.2} times as many\n",
                j.tensors, j.pil, j.ratio
            ));
        }
        for note in &t.notes {
            out.push_str(&format!("{note}\n"));
        }
    }
    out.push_str("\n   µs/view     p  each operation in a pass of its own\n");
    for op in &report.operations {
        out.push_str(&format!(
            "{:10.2}  {:4.2}  {}\n",
            op.seconds * 1e6,
            op.p,
            op.name
        ));
    }
    out
}
