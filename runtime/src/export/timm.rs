//! What timm loads: a folder of `model.safetensors` and `config.json` for `timm.create_model("local-dir:DIR")`, or the
//! weights alone. timm's residual networks have torchvision's names.

use super::resnet::{Resnet, Stem, recognise};
use super::{Trained, description, normalisation, resizing};
use crate::tensors::{cannot_write, write_atomically, write_described};
use serde_json::{Value, json};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs;
use std::path::Path;

/// The width that timm builds.
const WIDTH: usize = 64;

/// The network as timm knows it.
///
/// # Errors
/// When timm has no such network.
pub fn network(trained: Trained<'_>) -> Result<Resnet, Diagnostic> {
    let name = &trained.program.networks[trained.program.encode.network].name;
    match recognise(&trained.tensors()) {
        Some(network) if network.width == WIDTH => Ok(network),
        Some(network) => Err(Diagnostic::new(
            codes::E0682,
            format!(
                "timm builds {} with a width of {WIDTH}, and `{name}` has {}",
                network.name, network.width
            ),
        )),
        None => Err(Diagnostic::new(
            codes::E0682,
            format!("timm has no network with the names and shapes of `{name}`"),
        )),
    }
    .map_err(|d| {
        d.help("timm takes resnet18, resnet34, resnet50 and resnet101 of the standard library; leave `--as timm` out")
    })
}

/// timm's `config.json`.
fn config(trained: Trained<'_>, network: Resnet) -> Value {
    let program = trained.program;
    let (mean, std) = normalisation(program);
    let (interpolation, crop_pct) = resizing(program);
    let reduction = match network.stem {
        Stem::Imagenet => 32,
        Stem::Cifar => 8,
    };
    let (height, width) = (program.encode.height, program.encode.width);
    let pooled = |side: usize| side.div_ceil(reduction);
    json!({
        "architecture": network.name,
        "num_classes": 0,
        "num_features": network.features,
        "global_pool": "avg",
        "model_args": { "in_chans": network.channels },
        "pretrained_cfg": {
            "tag": "sslc",
            "custom_load": false,
            "input_size": [network.channels, height, width],
            "fixed_input_size": false,
            "interpolation": interpolation,
            "crop_pct": crop_pct,
            "crop_mode": "center",
            "mean": mean,
            "std": std,
            "num_classes": 0,
            "pool_size": [pooled(height), pooled(width)],
            "first_conv": "conv1",
            "classifier": "fc",
        },
        "sslc": {
            "version": env!("CARGO_PKG_VERSION"),
            "spec": program.name,
            "steps": trained.steps,
            "stem": network.stem.name(),
        },
    })
}

/// Writes a folder (or, to a path that ends in `.safetensors`, the weights alone) for timm.
///
/// # Errors
/// When timm has no such network, or the files cannot be written.
pub fn write(trained: Trained<'_>, path: &Path) -> Result<Resnet, Diagnostic> {
    let network = network(trained)?;
    let config = config(trained, network);
    let mut about = description(trained);
    about.insert("format".to_owned(), "pt".to_owned());
    about.insert("timm_config".to_owned(), config.to_string());
    let tensors = trained.tensors();
    if path.extension().is_some_and(|e| e == "safetensors") {
        write_described(path, &tensors, &about)?;
        return Ok(network);
    }
    fs::create_dir_all(path).map_err(|e| cannot_write(path, &e.to_string()))?;
    write_described(&path.join("model.safetensors"), &tensors, &about)?;
    let mut text = serde_json::to_string_pretty(&config).unwrap_or_default();
    text.push('\n');
    write_atomically(&path.join("config.json"), text.as_bytes())?;
    Ok(network)
}

/// The lines of Python that load what [`write`] wrote.
pub fn how_to_load(network: Resnet, path: &Path) -> String {
    let shown = path.display();
    let folder = path.extension().is_none_or(|e| e != "safetensors");
    match (network.stem, folder) {
        (Stem::Imagenet, true) => {
            format!("timm.create_model(\"local-dir:{shown}\", pretrained=True)")
        }
        (Stem::Imagenet, false) => format!(
            "timm.create_model(\"{}\", num_classes=0, in_chans={}, checkpoint_path=\"{shown}\")",
            network.name, network.channels
        ),
        // timm has no such stem: it is put in place before the weights are loaded.
        (Stem::Cifar, _) => {
            let file = if folder {
                format!("{shown}/model.safetensors")
            } else {
                shown.to_string()
            };
            format!(
                "model = timm.create_model(\"{}\", num_classes=0)\n\
                 model.conv1 = torch.nn.Conv2d({}, {WIDTH}, 3, padding=1, bias=False)\n\
                 model.maxpool = torch.nn.Identity()\n\
                 model.load_state_dict(safetensors.torch.load_file(\"{file}\"))",
                network.name, network.channels
            )
        }
    }
}
