//! `sslc` as a person drives it: a real process, real files, exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A spec that compiles at once and trains in seconds.
const TINY: &str = r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8) |> normalize("fashion_mnist")
encoder   f = resnet18(stem: "cifar", width: 2)
projector g = mlp(8, 4)
predictor h = mlp(4, 4)
loss = negative_cosine(h(g(f(x1))), stop_gradient(g(f(x2))))
train { steps = 3, batch = 8, optimizer = sgd(lr: 0.05, momentum: 0.9) }
"#;

struct Sslc {
    folder: TempDir,
}

impl Sslc {
    fn new() -> Sslc {
        Sslc {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn with(name: &str, text: impl AsRef<[u8]>) -> Sslc {
        let sslc = Sslc::new();
        sslc.write(name, text);
        sslc
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslc"));
        command
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args).output().unwrap();
        Run {
            status: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    /// The run failed with this exit code and these words in its message.
    #[track_caller]
    fn fails(&self, status: i32, words: &[&str]) {
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
    fn succeeds(&self) -> &str {
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

// What a spec can get wrong: exit code 1.

#[test]
fn an_empty_file() {
    Sslc::with("a.ssl", "")
        .run(&["check", "a.ssl"])
        .fails(1, &["E0002"]);
}

#[test]
fn a_binary_file() {
    let sslc = Sslc::with("a.ssl", [0u8, 159, 146, 150, 255]);
    sslc.run(&["check", "a.ssl"])
        .fails(3, &["E0655", "not text"]);
    let sslc = Sslc::with("a.ssl", "data\0 = fashion_mini()");
    sslc.run(&["check", "a.ssl"]).fails(1, &["E00"]);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let sslc = Sslc::with("a.ssl", TINY.replace("batch = 8", "bach = 8"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E04", "bach", "batch"]);
}

#[test]
fn a_misspelt_function_names_the_nearest() {
    let sslc = Sslc::with("a.ssl", TINY.replace("negative_cosine", "negativ_cosine"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E01", "negative_cosine"]);
}

#[test]
fn wrong_shapes_show_both() {
    let sslc = Sslc::with("a.ssl", TINY.replace("mlp(4, 4)", "mlp(4, 5)"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E02", "[8, 5]", "[8, 4]"]);
}

#[test]
fn a_missing_loss_two_losses_and_a_loss_that_is_no_scalar() {
    let without: String = TINY
        .lines()
        .filter(|l| !l.starts_with("loss"))
        .map(|l| format!("{l}\n"))
        .collect();
    let sslc = Sslc::with("none.ssl", &without);
    sslc.write("two.ssl", format!("{TINY}\nloss = 0.0 * mean(x1)\n"));
    sslc.write(
        "vector.ssl",
        format!("{without}\nloss = cosine_similarity(f(x1), f(x2))\n"),
    );
    sslc.run(&["check", "none.ssl"]).fails(1, &["loss"]);
    sslc.run(&["check", "two.ssl"]).fails(1, &["loss"]);
    sslc.run(&["check", "vector.ssl"])
        .fails(1, &["loss", "[8]"]);
}

#[test]
fn an_import_outside_of_the_root() {
    let sslc = Sslc::with("spec/a.ssl", format!("import \"../b.ssl\"\n{TINY}"));
    sslc.write("b.ssl", "fn one() = 1\n");
    sslc.run(&["check", "spec/a.ssl"])
        .fails(1, &["E0502", "outside"]);
}

#[cfg(unix)]
#[test]
fn an_import_outside_of_the_root_by_a_link() {
    let sslc = Sslc::with("spec/a.ssl", format!("import \"link.ssl\"\n{TINY}"));
    sslc.write("b.ssl", "fn one() = 1\n");
    std::os::unix::fs::symlink("../b.ssl", sslc.path().join("spec/link.ssl")).unwrap();
    sslc.run(&["check", "spec/a.ssl"])
        .fails(1, &["E0502", "outside"]);
}

#[test]
fn an_import_cycle() {
    let sslc = Sslc::with("a.ssl", format!("import \"b.ssl\"\n{TINY}"));
    sslc.write("b.ssl", "import \"c.ssl\"\nfn two() = 2\n");
    sslc.write("c.ssl", "import \"b.ssl\"\nfn three() = 3\n");
    sslc.run(&["check", "a.ssl"]).fails(1, &["E0503"]);
}

#[test]
fn an_import_that_is_not_there_names_the_nearest() {
    let sslc = Sslc::with("a.ssl", format!("import \"vews.ssl\"\n{TINY}"));
    sslc.write("views.ssl", "fn one() = 1\n");
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E0501", "views.ssl"]);
}

#[test]
fn endless_recursion() {
    let text = format!("{TINY}\nfn down(n) = down(n + 1)\nwatch w = down(0)\n");
    Sslc::with("a.ssl", text)
        .run(&["check", "a.ssl"])
        .fails(1, &["E01", "down"]);
}

#[test]
fn an_override_of_an_unknown_name_or_a_wrong_type() {
    let sslc = Sslc::with(
        "a.ssl",
        format!(
            "param width = 2\n{}",
            TINY.replace("width: 2", "width: width")
        ),
    );
    sslc.run(&["check", "a.ssl", "--set", "widht=3"])
        .fails(1, &["widht", "width"]);
    sslc.run(&["check", "a.ssl", "--set", "width=big"])
        .fails(1, &["width"]);
    sslc.run(&["check", "a.ssl", "--set", "width"])
        .fails(2, &["name=value"]);
    sslc.run(&["check", "a.ssl", "--set", "width=4"]).succeeds();
    sslc.run(&["check", "a.ssl", "--set", "train.seed=4"])
        .succeeds();
}

#[test]
fn the_keys_of_checkpoints_are_refused_until_they_work() {
    let text = TINY.replace("steps = 3", "steps = 3, checkpoint = every(epochs(1))");
    Sslc::with("a.ssl", text)
        .run(&["check", "a.ssl"])
        .fails(1, &["checkpoint"]);
}

#[test]
fn errors_as_json_are_one_object_a_line() {
    let sslc = Sslc::with("a.ssl", TINY.replace("negative_cosine", "negativ_cosine"));
    let run = sslc.run(&["check", "a.ssl", "--error-format", "json"]);
    run.fails(1, &[]);
    let lines: Vec<serde_json::Value> = run
        .stderr
        .lines()
        .map(|l| serde_json::from_str(l).expect("every line is JSON"))
        .collect();
    let error = lines
        .iter()
        .find(|l| l["severity"] == "error")
        .expect("an error");
    assert_eq!(error["labels"][0]["file"], "a.ssl");
    assert_eq!(error["labels"][0]["line"], 7);
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("- ", ""),
        ("not ", ""),
        ("2 ^ ", ""),
    ] {
        let text = format!(
            "let x = {}1{}\n{TINY}",
            open.repeat(10_000),
            close.repeat(10_000)
        );
        let run = Sslc::with("a.ssl", text).run(&["check", "a.ssl"]);
        assert!(
            matches!(run.status, Some(0 | 1)),
            "{open}: {:?} {}",
            run.status,
            &run.stderr[..run.stderr.len().min(500)]
        );
    }
    let chain = format!("let x = 1{}\n{TINY}", "+1".repeat(500_000));
    let run = Sslc::with("a.ssl", chain).run(&["check", "a.ssl"]);
    assert!(matches!(run.status, Some(0 | 1)), "{:?}", run.status);
}

// The command line: exit code 2.

#[test]
fn a_wrong_command_line() {
    let sslc = Sslc::new();
    sslc.run(&["trian", "a.ssl"]).fails(2, &["trian"]);
    sslc.run(&["explain", "E9999"]).fails(2, &["E0901"]);
    sslc.run(&["std", "resnets"]).fails(2, &["E0902", "resnet"]);
    sslc.run(&["bench", "a.ssl", "--steps", "0"])
        .fails(2, &["--steps"]);
}

// Data and files: exit code 3.

#[test]
fn a_missing_spec_names_the_nearest() {
    let sslc = Sslc::with("byol.ssl", TINY);
    sslc.run(&["check", "boyl.ssl"])
        .fails(3, &["E0650", "byol.ssl"]);
}

#[test]
fn a_missing_data_folder() {
    let sslc = Sslc::with(
        "a.ssl",
        TINY.replace("fashion_mini()", "cifar10(\"data/cifar\")"),
    );
    sslc.run(&["check", "a.ssl"]).fails(1, &["fashion_mnist"]);
    let text = TINY
        .replace("fashion_mini()", "cifar10(\"data/cifar\")")
        .replace("\"fashion_mnist\"", "\"cifar10\"");
    sslc.write("a.ssl", text);
    sslc.run(&["check", "a.ssl"]).succeeds();
    sslc.run(&["run", "a.ssl"]).fails(3, &["E06", "data/cifar"]);
}

#[test]
fn a_truncated_cifar_file() {
    let text = TINY
        .replace("fashion_mini()", "cifar10(\"data\")")
        .replace("\"fashion_mnist\"", "\"cifar10\"");
    let sslc = Sslc::with("a.ssl", text);
    for n in 1..=5 {
        sslc.write(
            &format!("data/data_batch_{n}.bin"),
            vec![0u8; 3073 * 10 - usize::from(n == 3)],
        );
    }
    sslc.write("data/test_batch.bin", vec![0u8; 3073 * 10]);
    sslc.run(&["run", "a.ssl"])
        .fails(3, &["E06", "data_batch_3.bin"]);
}

fn png(gray: u8) -> Vec<u8> {
    let image = image::GrayImage::from_fn(12, 10, |x, y| image::Luma([gray ^ (x * 7 + y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn folder_of_images() -> Sslc {
    let text = TINY.replace("fashion_mini()", "image_folder(\"photos\", channels: 1)");
    let sslc = Sslc::with("a.ssl", text);
    for i in 0..20 {
        sslc.write(&format!("photos/{i:02}.png"), png(i * 10));
    }
    sslc.write("photos/07.png", &png(70)[..40]);
    sslc
}

#[test]
fn a_corrupt_image_is_skipped_counted_and_named() {
    let sslc = folder_of_images();
    let run = sslc.run(&["run", "a.ssl"]);
    run.succeeds();
    assert!(
        run.stderr.contains("07.png") && run.stderr.contains('1'),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains("19 training images"), "{}", run.stdout);
}

#[test]
fn a_corrupt_image_is_refused_by_strict() {
    let sslc = folder_of_images();
    let text = fs::read_to_string(sslc.path().join("a.ssl")).unwrap();
    sslc.write(
        "a.ssl",
        text.replace("channels: 1", "channels: 1, strict: true"),
    );
    sslc.run(&["run", "a.ssl"]).fails(3, &["07.png"]);
}

#[test]
fn a_batch_larger_than_the_data() {
    let sslc = Sslc::with("a.ssl", TINY);
    let per_epoch = TINY.replace("steps = 3", "epochs = 1");
    sslc.write("epochs.ssl", per_epoch);
    sslc.run(&["check", "epochs.ssl", "--set", "train.batch=6000"])
        .fails(1, &["E0417", "5000"]);
    sslc.run(&["run", "a.ssl", "--set", "train.batch=6000"])
        .fails(3, &["E0612", "5000"]);
}

#[test]
fn a_run_directory_that_cannot_be_written() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.write("taken", "a file");
    sslc.run(&["run", "a.ssl", "--out", "taken/run"])
        .fails(3, &["E0654", "taken"]);
}

// The device: exit code 4.

#[test]
fn a_batch_that_no_memory_holds() {
    let text = TINY.replace("fashion_mini()", "image_folder(\"photos\", channels: 1)");
    let sslc = Sslc::with("a.ssl", text);
    let run = sslc.run(&["bench", "a.ssl", "--set", "train.batch=1000000000"]);
    run.fails(4, &["E07"]);
    let run = sslc.run(&["bench", "a.ssl", "--set", "train.batch=4000000"]);
    run.fails(4, &["E07", "GiB"]);
}

#[test]
fn a_device_that_is_not_there() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.run(&["run", "a.ssl", "--device", "cuda"])
        .fails(4, &["E0750", "cuda"]);
    sslc.run(&["run", "a.ssl", "--device", "cpi"])
        .fails(4, &["E0750", "cpu"]);
}

// Training: exit code 5 where it diverges; what was trained is kept.

#[test]
fn a_run_leaves_its_directory() {
    let sslc = Sslc::with("a.ssl", format!("{TINY}\neval {{ knn(k: 20) }}\n"));
    let run = sslc.run(&["run", "a.ssl", "--out", "out"]);
    let stdout = run.succeeds();
    for words in [
        "raw pixels",
        "untrained encoder",
        "trained encoder",
        "step 3/3",
        "loss",
    ] {
        assert!(stdout.contains(words), "'{words}' is not in:\n{stdout}");
    }
    for name in [
        "spec.ssl",
        "graph.txt",
        "metrics.jsonl",
        "encoder.safetensors",
    ] {
        assert!(sslc.path().join("out").join(name).is_file(), "{name}");
    }
    let metrics = fs::read_to_string(sslc.path().join("out/metrics.jsonl")).unwrap();
    let losses = metrics.lines().filter(|l| l.contains("\"loss\"")).count();
    assert_eq!(losses, 3, "{metrics}");
    sslc.run(&["check", "out/spec.ssl"]).succeeds();
}

#[test]
fn the_spec_of_a_run_stands_alone() {
    let text = TINY.replace("random_resized_crop(8)", "v.crop()");
    let sslc = Sslc::with("a.ssl", format!("import \"parts/v.ssl\" as v\n{text}"));
    sslc.write(
        "parts/v.ssl",
        "import \"size.ssl\"\nfn crop() = random_resized_crop(size())\n",
    );
    sslc.write("parts/size.ssl", "fn size() = 8\n");
    sslc.run(&["run", "a.ssl", "--out", "out", "--set", "train.steps=1"])
        .succeeds();
    fs::remove_dir_all(sslc.path().join("parts")).unwrap();
    sslc.run(&["check", "out/spec.ssl"]).succeeds();
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_encoder() {
    let sslc = Sslc::with(
        "a.ssl",
        TINY.replace("loss = ", "watch w = log(mean(x1) * 0 - 1)\nloss = "),
    );
    let run = sslc.run(&["run", "a.ssl", "--out", "out"]);
    run.fails(5, &["E0801", "'w'", "step 0"]);
    assert!(sslc.path().join("out/encoder.safetensors").is_file());
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_cleanly_and_keeps_the_encoder() {
    let sslc = Sslc::with("a.ssl", TINY.replace("steps = 3", "steps = 1000000"));
    let mut child = sslc
        .command(&["run", "a.ssl", "--out", "out"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = sslc.path().join("out/metrics.jsonl");
    for _ in 0..600 {
        if fs::read_to_string(&metrics).is_ok_and(|t| t.lines().count() > 2) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(sslc.path().join("out/encoder.safetensors").is_file());
}

#[test]
fn the_losses_do_not_depend_on_the_number_of_threads() {
    let sslc = Sslc::with("a.ssl", TINY);
    let losses = |threads: &str| {
        let out = format!("out{threads}");
        sslc.run(&["run", "a.ssl", "--out", &out, "--threads", threads])
            .succeeds();
        let metrics = fs::read_to_string(sslc.path().join(&out).join("metrics.jsonl")).unwrap();
        metrics
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"].to_string())
            .collect::<Vec<_>>()
    };
    let one = losses("1");
    assert_eq!(one.len(), 3);
    assert_eq!(one, losses("2"));
    assert_eq!(one, losses("4"));
}

// The other commands.

#[test]
fn a_stage_is_the_same_text_twice() {
    let sslc = Sslc::with("a.ssl", TINY);
    for stage in ["ast", "core", "step", "luminal", "kernels"] {
        let text = |_| {
            sslc.run(&["graph", "a.ssl", "--emit", stage])
                .succeeds()
                .to_owned()
        };
        assert_eq!(text(1), text(2), "{stage}");
        let json = sslc.run(&["graph", "a.ssl", "--emit", stage, "--format", "json"]);
        serde_json::from_str::<serde_json::Value>(json.succeeds()).expect(stage);
        let dot = sslc.run(&["graph", "a.ssl", "--emit", stage, "--format", "dot"]);
        assert!(dot.succeeds().starts_with("digraph"), "{stage}");
    }
}

#[test]
fn views_draw_a_sheet() {
    let sslc = Sslc::with("a.ssl", TINY);
    let args = [
        "views",
        "a.ssl",
        "--out",
        "sheet.png",
        "--raw",
        "raw.safetensors",
        "--count",
        "3",
    ];
    sslc.run(&args).succeeds();
    let sheet = image::open(sslc.path().join("sheet.png")).unwrap();
    assert!(sheet.width() > sheet.height());
    let raw = sslc_runtime::tensors::read(&sslc.path().join("raw.safetensors")).unwrap();
    assert_eq!(raw["x1"].shape, [3, 1, 8, 8]);
}

#[test]
fn bench_prints_what_a_machine_can_read() {
    let sslc = Sslc::with("a.ssl", TINY);
    let run = sslc.run(&["bench", "a.ssl", "--steps", "2", "--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(run.succeeds()).unwrap();
    for key in [
        "step_seconds",
        "samples_per_second",
        "flops_per_step",
        "peak_flops",
        "share_of_peak",
        "share_of_floor",
        "peak_memory_bytes",
        "kernels",
    ] {
        assert!(!object[key].is_null(), "{key} is missing: {object}");
    }
}

#[test]
fn bench_tells_what_views_cost() {
    let sslc = Sslc::with("a.ssl", TINY);
    let bench = ["bench", "a.ssl", "--views", "--steps", "1"];
    let run = sslc.run(&[&bench[..], &["--format", "json"]].concat());
    let reports: serde_json::Value = serde_json::from_str(run.succeeds()).unwrap();
    assert!(reports[0]["views_per_second"].as_f64().unwrap() > 0.0);
    assert!(!reports[0]["operations"].as_array().unwrap().is_empty());
    sslc.run(&[&bench[..], &["--compare", "pytorch", "--python", "true"]].concat())
        .fails(4, &["E0751", "--python"]);
}

#[test]
fn a_comparison_without_pytorch_says_what_is_missing() {
    let sslc = Sslc::with("a.ssl", TINY);
    let bench = ["bench", "a.ssl", "--compare", "pytorch", "--python"];
    for python in ["/no/such/python", "true"] {
        sslc.run(&[&bench[..], &[python]].concat())
            .fails(4, &["E0751", "--python"]);
    }
}

#[test]
fn fmt_formats_in_place_and_checks() {
    let sslc = Sslc::with("a.ssl", "data   =  fashion_mini( )   # small\n");
    sslc.run(&["fmt", "--check", "a.ssl"]).succeeds_not();
    sslc.run(&["fmt", "a.ssl"]).succeeds();
    let text = fs::read_to_string(sslc.path().join("a.ssl")).unwrap();
    assert_eq!(text, "data = fashion_mini() # small\n");
    sslc.run(&["fmt", "--check", "a.ssl"]).succeeds();
}

impl Run {
    #[track_caller]
    fn succeeds_not(&self) {
        assert_eq!(self.status, Some(1), "{}", self.stdout);
    }
}

#[test]
fn a_new_spec_checks_and_is_not_overwritten() {
    let sslc = Sslc::new();
    for method in ["simclr", "byol", "barlow-twins", "simsiam"] {
        let name = format!("{method}.ssl");
        sslc.run(&["new", &name, "--method", method]).succeeds();
        sslc.run(&["check", &name]).succeeds();
    }
    sslc.run(&["new", "byol.ssl"]).fails(2, &["E0903"]);
    sslc.run(&["new", "byol.ssl", "--force"]).succeeds();
}

#[test]
fn std_explain_and_completions_print() {
    let sslc = Sslc::new();
    assert!(sslc.run(&["std"]).succeeds().contains("resnet"));
    assert!(sslc.run(&["std", "resnet"]).succeeds().contains("module"));
    assert!(sslc.run(&["std", "conv2d"]).succeeds().contains("conv2d("));
    assert!(
        sslc.run(&["explain", "e0801"])
            .succeeds()
            .contains("## Right")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            sslc.run(&["completions", shell])
                .succeeds()
                .contains("sslc")
        );
    }
}

#[test]
fn the_output_may_be_cut_off() {
    let sslc = Sslc::with("a.ssl", TINY);
    let mut child = sslc
        .command(&["graph", "a.ssl", "--emit", "core"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
