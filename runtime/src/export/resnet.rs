//! Which of torchvision's residual networks a set of tensors belongs to, told by names and shapes.

use crate::tensors::Tensors;

/// A residual network as `sslc`'s standard library, torchvision and timm know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resnet {
    /// `resnet18`, as torchvision and timm call it.
    pub name: &'static str,
    pub stem: Stem,
    /// Channels behind the stem; 64 as published.
    pub width: usize,
    /// Channels of the images.
    pub channels: usize,
    /// Size of the features.
    pub features: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// A 7×7 convolution of stride 2, and a pool.
    Imagenet,
    /// A 3×3 convolution.
    Cifar,
}

impl Stem {
    pub fn name(self) -> &'static str {
        match self {
            Stem::Imagenet => "imagenet",
            Stem::Cifar => "cifar",
        }
    }
}

struct Form {
    name: &'static str,
    blocks: [usize; 4],
    bottleneck: bool,
}

const FORMS: [Form; 4] = [
    Form {
        name: "resnet18",
        blocks: [2, 2, 2, 2],
        bottleneck: false,
    },
    Form {
        name: "resnet34",
        blocks: [3, 4, 6, 3],
        bottleneck: false,
    },
    Form {
        name: "resnet50",
        blocks: [3, 4, 6, 3],
        bottleneck: true,
    },
    Form {
        name: "resnet101",
        blocks: [3, 4, 23, 3],
        bottleneck: true,
    },
];

/// The convolutions of a form, by name, with the shape of their weights.
fn convolutions(
    form: &Form,
    width: usize,
    channels: usize,
    kernel: usize,
) -> Vec<(String, String, [usize; 4])> {
    let mut found = vec![(
        "conv1".to_owned(),
        "bn1".to_owned(),
        [width, channels, kernel, kernel],
    )];
    let expansion = if form.bottleneck { 4 } else { 1 };
    let mut inputs = width;
    for (stage, blocks) in form.blocks.iter().enumerate() {
        let planes = width << stage;
        for block in 0..*blocks {
            let at = format!("layer{}.{block}", stage + 1);
            let kernels: &[(usize, usize, usize)] = if form.bottleneck {
                &[
                    (planes, inputs, 1),
                    (planes, planes, 3),
                    (4 * planes, planes, 1),
                ]
            } else {
                &[(planes, inputs, 3), (planes, planes, 3)]
            };
            for (i, (out, input, k)) in kernels.iter().enumerate() {
                found.push((
                    format!("{at}.conv{}", i + 1),
                    format!("{at}.bn{}", i + 1),
                    [*out, *input, *k, *k],
                ));
            }
            let outputs = planes * expansion;
            if (block == 0 && stage > 0) || inputs != outputs {
                found.push((
                    format!("{at}.downsample.0"),
                    format!("{at}.downsample.1"),
                    [outputs, inputs, 1, 1],
                ));
            }
            inputs = outputs;
        }
    }
    found
}

/// The network whose names and shapes are exactly these.
pub fn recognise(tensors: &Tensors) -> Option<Resnet> {
    let [width, channels, kernel, _] = tensors.get("conv1.weight")?.shape[..] else {
        return None;
    };
    let stem = match kernel {
        7 => Stem::Imagenet,
        3 => Stem::Cifar,
        _ => return None,
    };
    let fits = |form: &Form| {
        let layers = convolutions(form, width, channels, kernel);
        let shaped =
            |name: String, shape: &[usize]| tensors.get(&name).is_some_and(|t| t.shape == shape);
        // A convolution's weight, and of its norm scale, shift, two statistics and a counter.
        layers.len() * 6 == tensors.len()
            && layers.iter().all(|(conv, norm, shape)| {
                shaped(format!("{conv}.weight"), shape)
                    && ["weight", "bias", "running_mean", "running_var"]
                        .iter()
                        .all(|part| shaped(format!("{norm}.{part}"), &shape[..1]))
                    && shaped(format!("{norm}.num_batches_tracked"), &[])
            })
    };
    let form = FORMS.iter().find(|form| fits(form))?;
    Some(Resnet {
        name: form.name,
        stem,
        width,
        channels,
        features: (width << 3) * if form.bottleneck { 4 } else { 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::FileTensor;

    /// torchvision's own names and shapes.
    fn torchvision(network: &str) -> Tensors {
        let list = include_str!("../../../tests/golden/resnet_names.txt");
        let mut tensors = Tensors::new();
        for line in list.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] != network {
                continue;
            }
            let shape: Vec<usize> = words[2].split('x').map(|n| n.parse().unwrap()).collect();
            let zeros = vec![0.0; shape.iter().product()];
            tensors.insert(words[1].to_owned(), FileTensor::f32(&shape, zeros));
            if let Some(norm) = words[1].strip_suffix("running_mean") {
                let counter = FileTensor::i64(&[], vec![0]);
                tensors.insert(format!("{norm}num_batches_tracked"), counter);
            }
        }
        tensors
    }

    #[test]
    fn torchvision_s_networks_are_recognised() {
        for (name, features) in [
            ("resnet18", 512),
            ("resnet34", 512),
            ("resnet50", 2048),
            ("resnet101", 2048),
        ] {
            let found = recognise(&torchvision(name));
            let wanted = Resnet {
                name,
                stem: Stem::Imagenet,
                width: 64,
                channels: 3,
                features,
            };
            assert_eq!(found, Some(wanted));
        }
    }

    #[test]
    fn a_tensor_more_or_less_is_another_network() {
        let mut tensors = torchvision("resnet18");
        tensors.insert("fc.weight".to_owned(), FileTensor::f32(&[1], vec![0.0]));
        assert_eq!(recognise(&tensors), None);
        tensors.remove("fc.weight");
        tensors.remove("layer2.0.downsample.0.weight");
        assert_eq!(recognise(&tensors), None);
    }
}
