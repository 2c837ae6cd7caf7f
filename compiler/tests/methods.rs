//! Whole specs.

mod support;
use support::run;

const BYOL: &str = r#"
param epochs = 200
param batch  = 256

data = cifar10("data/cifar-10-batches-bin")

fn augment(blur_p, solarize_p) =
    random_resized_crop(32, scale: 0.08..1.0)
    |> horizontal_flip(p: 0.5)
    |> color_jitter(0.4, 0.4, 0.2, 0.1, p: 0.8)
    |> grayscale(p: 0.2)
    |> gaussian_blur(sigma: 0.1..2.0, p: blur_p)
    |> solarize(threshold: 0.5, p: solarize_p)
    |> normalize("cifar10")

views x1 = augment(1.0, 0.0)
views x2 = augment(0.1, 0.2)

encoder   f = resnet18(stem: "cifar")
projector g = mlp(4096, 256)
predictor q = mlp(4096, 256)
target    f_t, g_t = ema(f, g, decay: cosine_schedule(0.99, 1.0))

fn online(x) = q(g(f(x)))
fn goal(x)   = stop_gradient(g_t(f_t(x)))

# 2 - 2 cos, summed over both directions, averaged over the batch: Eq. 2 of the paper
fn regress(p, z) = mean(2 - 2 * cosine_similarity(p, z))
loss = regress(online(x1), goal(x2)) + regress(online(x2), goal(x1))

train {
    epochs, batch
    seed      = 0
    optimizer = lars(lr: cosine_schedule(0.2 * batch / 256, 0.0, warmup: epochs(10)), momentum: 0.9,
                     weight_decay: 1.5e-6, eta: 0.001, exclude: [bias, norm])
}

eval { knn(k: 200, temperature: 0.1, every: epochs(10)) }
"#;

#[test]
fn byol() {
    let outcome = run(BYOL);
    assert_eq!(outcome.text, "");
    let p = outcome.program();
    assert_eq!(p.train.steps, 200 * 195);
    assert_eq!(p.networks.len(), 5);
    assert_eq!(
        sslc_compiler::core::verify::verify(&p.forward),
        Vec::<String>::new()
    );
}
