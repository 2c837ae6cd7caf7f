//! Starter specs: a method, fitted to the images it is to learn from.

use crate::cli::Method;
use sslc_compiler::program::{DataKind, DataSource};
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::{self, Dataset};
use std::path::Path;

/// Images that are looked at to tell their size.
const LOOKED_AT: usize = 32;

/// What the images of a source are like, as far as a spec depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The source as a spec writes it.
    source: String,
    train: usize,
    /// Whether there are labelled training and test images.
    labelled: bool,
    /// The median of the shorter sides.
    side: usize,
    colour: bool,
    /// The arguments of `normalize`.
    statistics: &'static str,
}

impl Images {
    /// The small set inside the binary.
    pub fn built_in() -> Images {
        Images {
            source: "fashion_mini()".to_owned(),
            train: 5000,
            labelled: true,
            side: 28,
            colour: false,
            statistics: "\"fashion_mnist\"",
        }
    }

    /// Looks into a folder: one of the published sets by its files, or images.
    ///
    /// # Errors
    /// When there is no such folder, or nothing that can be read in it.
    pub fn look(folder: &Path) -> Result<Images, Diagnostic> {
        let (name, kind, statistics) = kind(folder);
        let shown = serde_json::Value::from(folder.display().to_string());
        let holdout = match kind {
            DataKind::ImageFolder { .. } => format!(", holdout: {HOLDOUT}"),
            _ => String::new(),
        };
        let idx = matches!(kind, DataKind::FashionMnist { .. } | DataKind::Mnist { .. });
        let source = DataSource {
            kind,
            channels: if idx { 1 } else { 3 },
            train_len: None,
        };
        let dataset = data::open(&source)?;
        let sizes = sizes(&dataset)?;
        let labels = |split: &data::Split| !split.labelled().is_empty();
        Ok(Images {
            source: format!("{name}({shown}{holdout})"),
            train: dataset.train.len(),
            labelled: labels(&dataset.train) && dataset.test.as_ref().is_some_and(labels),
            side: sizes,
            colour: !idx,
            statistics,
        })
    }

    /// The size of the views: what the images give, in the sizes that networks are made for.
    fn view(&self) -> usize {
        match self.side {
            0..=31 => self.side.max(8),
            32..=63 => 32,
            64..=95 => 64,
            96..=191 => 96,
            _ => 224,
        }
    }

    fn small(&self) -> bool {
        self.view() <= 64
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!(
            "{} training images, {} pixels on the shorter side; views of {} by {}",
            self.train,
            self.side,
            self.view(),
            self.view()
        )
    }
}

/// What a folder holds, by the files in it: the source's name and kind, and the arguments of `normalize`.
fn kind(folder: &Path) -> (&'static str, DataKind, &'static str) {
    let has = |name: &str| folder.join(name).exists();
    let path = folder.to_owned();
    if has("data_batch_1.bin") {
        return ("cifar10", DataKind::Cifar10 { path }, "\"cifar10\"");
    }
    if has("train.bin") && has("test.bin") {
        let statistics = "mean: [0.507, 0.487, 0.441], std: [0.267, 0.256, 0.276]";
        return ("cifar100", DataKind::Cifar100 { path }, statistics);
    }
    if has("train_X.bin") {
        return ("stl10", DataKind::Stl10 { path }, "\"imagenet\"");
    }
    if has("train-images-idx3-ubyte.gz") || has("train-images-idx3-ubyte") {
        // The files of both sets have the same names and sizes.
        let fashion = folder.to_string_lossy().to_lowercase().contains("fashion");
        return match fashion {
            true => {
                let kind = DataKind::FashionMnist { path };
                ("fashion_mnist", kind, "\"fashion_mnist\"")
            }
            false => (
                "mnist",
                DataKind::Mnist { path },
                "mean: [0.131], std: [0.308]",
            ),
        };
    }
    let kind = DataKind::ImageFolder {
        path,
        test: None,
        holdout: HOLDOUT,
        strict: false,
    };
    ("image_folder", kind, "\"imagenet\"")
}

/// The share of an image folder that is kept for evaluation.
const HOLDOUT: f64 = 0.1;

/// The median of the shorter sides of some images, spread over the training set.
fn sizes(dataset: &Dataset) -> Result<usize, Diagnostic> {
    let split = &dataset.train;
    if let Some((height, width)) = split.image_size() {
        return Ok(height.min(width));
    }
    let step = (split.len() / LOOKED_AT).max(1);
    let mut sides = Vec::new();
    let mut failure = None;
    for i in (0..split.len()).step_by(step).take(LOOKED_AT) {
        match split.image(i) {
            Ok(image) => sides.push(image.height.min(image.width)),
            Err(diagnostic) => failure = Some(diagnostic),
        }
    }
    sides.sort_unstable();
    match (sides.get(sides.len() / 2), failure) {
        (Some(side), _) => Ok(*side),
        (None, Some(diagnostic)) => Err(diagnostic),
        (None, None) => Ok(0),
    }
}

/// The spec of a method for such images.
pub fn spec(method: Method, images: &Images) -> String {
    let batch = match images.train {
        n if n >= 256 => 128,
        n => (n / 2).next_power_of_two().clamp(2, 64),
    };
    let data = match images.source.as_str() {
        "fashion_mini()" => "\
# The small set inside the program, to try things on. Your own folder instead:
# data = image_folder(\"path/to/images\", holdout: 0.1)"
            .to_owned(),
        source if source.starts_with("image_folder") => "\
# Folders inside are classes, whose names serve evaluation alone; loose images do as well. A tenth is kept for evaluation."
            .to_owned(),
        _ => "# Labels serve evaluation alone.".to_owned(),
    };
    let mut out = format!(
        "{}\n\nparam epochs = {}\nparam batch  = {batch}\n\n{data}\ndata = {}\n\n{}\n{}\n",
        about(method),
        if images.train <= 10_000 { 100 } else { 200 },
        images.source,
        views(method, images),
        networks(method, images),
    );
    out.push_str(loss(method));
    out.push_str(
        "\n\ntrain {\n    epochs, batch\n    seed      = 0\n    # On a machine with AVX-512 bf16 is faster and learns as well: precision = \"bf16\"\n",
    );
    let lr = match method {
        Method::Simclr | Method::Byol | Method::BarlowTwins => "0.06 * batch / 128",
        Method::Simsiam => "0.03 * batch / 256",
    };
    out.push_str(&format!(
        "    optimizer = sgd(lr: cosine_schedule({lr}, 0.0, warmup: epochs(5)), momentum: 0.9,\n                    weight_decay: 5e-4, exclude: [bias, norm])\n}}\n"
    ));
    if images.labelled {
        let k = if images.train >= 10_000 { 200 } else { 20 };
        out.push_str(&format!(
            "\n# How many of the test images have the class of their nearest neighbours among the training images?\neval {{ knn(k: {k}, temperature: 0.1, every: epochs(10)) }}\n"
        ));
    } else {
        out.push_str(
            "\n# With class folders, this measures what was learnt:\n# eval { knn(k: 20, temperature: 0.1, every: epochs(10)) }\n",
        );
    }
    out
}

fn about(method: Method) -> &'static str {
    match method {
        Method::Simclr => {
            "# SimCLR (Chen et al., 2020, arXiv:2002.05709): two views of an image attract each other,\n# views of different images repel."
        }
        Method::Byol => {
            "# BYOL (Grill et al., 2020, arXiv:2006.07733): an online network predicts what a slowly following copy of itself\n# says of another view of the same image."
        }
        Method::BarlowTwins => {
            "# Barlow Twins (Zbontar et al., 2021, arXiv:2103.03230): features of two views agree, and different features say\n# different things."
        }
        Method::Simsiam => {
            "# SimSiam (Chen & He, 2021, arXiv:2011.10566): a predictor on one view, a stop-gradient on the other; without the\n# latter it collapses."
        }
    }
}

fn views(method: Method, images: &Images) -> String {
    let view = images.view();
    let scale = match method {
        Method::Simsiam => "0.2..1.0",
        Method::Simclr | Method::Byol | Method::BarlowTwins => "0.08..1.0",
    };
    let scale = if images.colour { scale } else { "0.4..1.0" };
    let mut ops = vec![
        format!("random_resized_crop({view}, scale: {scale})"),
        "horizontal_flip(p: 0.5)".to_owned(),
    ];
    if images.colour {
        ops.push("color_jitter(0.4, 0.4, 0.4, 0.1, p: 0.8)".to_owned());
        ops.push("grayscale(p: 0.2)".to_owned());
    } else {
        ops.push("color_jitter(0.8, 0.8, 0, 0, p: 0.8)".to_owned());
    }
    if !images.small() {
        ops.push("gaussian_blur(sigma: 0.1..2.0, p: 0.5)".to_owned());
    }
    ops.push(format!("normalize({})", images.statistics));
    format!(
        "# Two augmented views of each image. What they change is what the encoder learns not to see: leave an operation out\n# where it would change what matters to you. Look at them: sslc views THIS.ssl --out views.png\nviews x1, x2 =\n    {}\n",
        ops.join("\n    |> ")
    )
}

fn networks(method: Method, images: &Images) -> String {
    let stem = if images.small() {
        "stem: \"cifar\""
    } else {
        ""
    };
    let (projector, predictor) = match method {
        Method::Simclr => ("mlp(512, 128, last_norm: true)", None),
        Method::Byol => ("mlp(1024, 256)", Some(("q", "mlp(1024, 256)"))),
        Method::BarlowTwins => ("mlp(2048, 2048, bias: false)", None),
        Method::Simsiam => (
            "mlp(2048, 2048, last_norm: true, last_affine: false)",
            Some(("h", "mlp(512, 2048)")),
        ),
    };
    let mut out = format!(
        "# The encoder is what is kept; resnet34, resnet50 and resnet101 are larger, `width:` makes it narrower.\nencoder   f = resnet18({stem})\nprojector g = {projector}\n"
    );
    if let Some((name, network)) = predictor {
        out.push_str(&format!("predictor {name} = {network}\n"));
    }
    if let Method::Byol = method {
        out.push_str("target    f_t, g_t = ema(f, g, decay: cosine_schedule(0.99, 1.0))\n");
    }
    out
}

fn loss(method: Method) -> &'static str {
    match method {
        Method::Simclr => {
            "# Eq. 1 of the paper: `sslc std nt_xent` shows it written out.\nloss = nt_xent(g(f(x1)), g(f(x2)), temperature: 0.5)"
        }
        Method::Byol => {
            "fn online(x) = q(g(f(x)))\nfn goal(x)   = stop_gradient(g_t(f_t(x)))\n\n# 2 - 2 cos, summed over both directions, averaged over the batch: Eq. 2 of the paper.\nfn regress(p, z) = mean(2 - 2 * cosine_similarity(p, z))\nloss = regress(online(x1), goal(x2)) + regress(online(x2), goal(x1))"
        }
        Method::BarlowTwins => {
            "# The cross-correlation of both views should be the identity: Eq. 1 of the paper.\nlet a = standardize(g(f(x1)), axis: 0)\nlet b = standardize(g(f(x2)), axis: 0)\nlet c = a.T @ b / batch_size(x1)\nloss  = sum((diag(c) - 1)^2) + 5e-3 * sum(off_diagonal(c)^2)"
        }
        Method::Simsiam => {
            "fn predict(x) = h(g(f(x)))\nfn goal(x)    = stop_gradient(g(f(x)))\n\n# Negative cosine, the mean over both directions: Eq. 2 of the paper.\nfn distance(p, z) = -mean(cosine_similarity(p, z))\nloss = distance(predict(x1), goal(x2)) / 2 + distance(predict(x2), goal(x1)) / 2"
        }
    }
}
