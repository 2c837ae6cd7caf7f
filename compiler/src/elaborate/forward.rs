//! Applying layers: the nodes they emit, their parameters and running statistics.

use super::Elab;
use super::broadcast::dims;
use super::layers::{BufferDecl, Layer, Mode, NormUse, ParamDecl, Window};
use super::values::{ModuleId, ModuleRef, NetworkId, R};
use crate::core::graph::{DType, ValueId};
use crate::core::ops;
use crate::program::{Init, Layout, ParamKind};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// Where a layer is applied.
struct Site<'s> {
    m: ModuleRef,
    name: &'static str,
    /// The input's expression and the application's.
    at: Span,
    span: Span,
    shape: &'s [usize],
}

impl<'a> Elab<'a> {
    /// Applies a layer to a tensor.
    pub fn apply_layer(
        &mut self,
        m: ModuleRef,
        layer: &Layer,
        x: ValueId,
        at: Span,
        span: Span,
    ) -> R<ValueId> {
        self.g.b.origin = Some(self.site(span));
        let x = self.float_tensor(x);
        let shape = self.g.b.shape(x);
        let site = Site {
            m,
            name: layer.name(),
            at,
            span,
            shape: &shape,
        };
        let y = match layer {
            Layer::Conv2d {
                out,
                kernel,
                stride,
                padding,
                groups,
                bias,
            } => {
                let window = Window {
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                };
                self.conv2d(&site, x, *out, window, *groups, *bias)?
            }
            Layer::Linear { out, bias } => self.linear(&site, x, *out, *bias)?,
            Layer::BatchNorm {
                momentum,
                eps,
                scale,
                shift,
                init,
            } => {
                let affine = Affine {
                    scale: scale.then_some(*init),
                    shift: *shift,
                };
                self.batch_norm(&site, x, *momentum, *eps, affine)?
            }
            Layer::Normalise { eps } => self.layer_norm(&site, x, *eps)?,
            Layer::Relu => self.g.b.unary(&ops::RELU, x),
            Layer::Gelu => self.g.b.unary(&ops::GELU, x),
            Layer::Identity => return Ok(x),
            Layer::MaxPool(window) => self.pool(&site, x, &ops::MAX_POOL, *window)?,
            Layer::AvgPool(window) => self.pool(&site, x, &ops::AVG_POOL, *window)?,
            Layer::GlobalAvgPool => {
                self.rank(&site, 4)?;
                self.g.b.mean(x, &[1, 2])
            }
            Layer::Flatten => self.flatten(x),
            Layer::Dropout { p } => self.dropout(x, *p, span)?,
        };
        if let Some((_, path)) = &self.module(m.id).home {
            let path = self.in_target(path, m);
            if self.g.b.graph.node(y).name.is_none() {
                self.g.b.name(y, path);
            }
        }
        Ok(y)
    }

    /// A path of a source network, as the target calls it.
    fn in_target(&self, path: &str, m: ModuleRef) -> String {
        let Some(target) = m.target else {
            return path.to_string();
        };
        let target = &self.networks[target.index()];
        match target.source.map(|s| &self.networks[s.index()].name) {
            Some(source) => format!("{}{}", target.name, &path[source.len()..]),
            None => path.to_string(),
        }
    }

    fn home(&mut self, id: ModuleId, site: &Site<'_>) -> R<(NetworkId, String)> {
        if let Some(home) = &self.module(id).home {
            return Ok(home.clone());
        }
        let made = self.module(id).span;
        Err(self.report(
            Diagnostic::new(
                codes::E0303,
                format!("this `{}` belongs to no network, so its parameters have no name", site.name),
            )
            .label(made, "made here")
            .label(site.span, "applied here")
            .help("define it with `encoder`, `projector` or `predictor`, or as a binding of a `module`"),
        ))
    }

    /// A parameter of the module, under the network that is applied.
    fn param(
        &mut self,
        site: &Site<'_>,
        name: &str,
        kind: ParamKind,
        shape: &[usize],
        layout: Layout,
        init: Init,
    ) -> R<ValueId> {
        let (network, home) = self.home(site.m.id, site)?;
        let path = format!("{home}.{name}");
        if !self.param_index.contains_key(&path) {
            self.param_index.insert(path.clone(), self.params.len());
            self.params.push(ParamDecl {
                path: path.clone(),
                network,
                kind,
                shape: shape.to_vec(),
                layout,
                init,
            });
        }
        let path = self.in_target(&path, site.m);
        if let Some(v) = self.g.sources.get(&path) {
            return Ok(*v);
        }
        self.check_size(shape, site.span)?;
        let v = self.g.b.param(&path, shape);
        self.g.b.name(v, path.clone());
        self.g.sources.insert(path, v);
        Ok(v)
    }

    /// A running statistic of the module: its path under the network that is applied.
    fn buffer_path(&mut self, site: &Site<'_>, name: &str, size: usize, init: f64) -> R<String> {
        let (network, home) = self.home(site.m.id, site)?;
        let path = format!("{home}.{name}");
        if !self.buffer_index.contains_key(&path) {
            self.buffer_index.insert(path.clone(), self.buffers.len());
            self.buffers.push(BufferDecl {
                path: path.clone(),
                network,
                shape: vec![size],
                init,
            });
        }
        Ok(self.in_target(&path, site.m))
    }

    /// The value of a buffer at the start of the step.
    pub fn buffer_value(&mut self, path: &str, size: usize) -> ValueId {
        let key = format!("buffer/{path}");
        if let Some(v) = self.g.sources.get(&key) {
            return *v;
        }
        let v = self.g.b.buffer(path, &[size]);
        self.g.b.name(v, path);
        self.g.sources.insert(key, v);
        v
    }

    fn rank(&mut self, site: &Site<'_>, rank: usize) -> R<()> {
        if site.shape.len() == rank {
            return Ok(());
        }
        let wanted = if rank == 4 {
            "feature maps [B, H, W, C]"
        } else {
            "features [B, D]"
        };
        Err(self.report(
            Diagnostic::new(
                codes::E0204,
                format!("`{}` takes {wanted}, not {}", site.name, dims(site.shape)),
            )
            .label(site.at, format!("this is f32{}", dims(site.shape)))
            .label(site.span, format!("`{}` is applied here", site.name))
            .help(if site.shape.len() == 4 {
                "`flatten` or `global_avg_pool` make features of feature maps"
            } else {
                "apply it before the features are pooled"
            }),
        ))
    }

    fn conv2d(
        &mut self,
        site: &Site<'_>,
        x: ValueId,
        out: usize,
        w: Window,
        groups: usize,
        bias: bool,
    ) -> R<ValueId> {
        self.rank(site, 4)?;
        let channels = site.shape[3];
        if !channels.is_multiple_of(groups) || !out.is_multiple_of(groups) {
            let made = self.module(site.m.id).span;
            return Err(self.report(
                Diagnostic::new(
                    codes::E0312,
                    format!("{groups} groups do not divide {channels} channels into {out}"),
                )
                .label(made, format!("groups: {groups}, out: {out}"))
                .label(site.at, format!("{channels} channels come in"))
                .help("both channel counts must be multiples of `groups`"),
            ));
        }
        self.window_fits(site, w)?;
        self.fix_input(site.m.id, channels, site.span)?;
        let fan_out = (w.kernel * w.kernel * out) as f64;
        let fan_in = w.kernel * w.kernel * (channels / groups);
        let filter = self.param(
            site,
            "weight",
            ParamKind::Weight,
            &[w.kernel, w.kernel, channels / groups, out],
            Layout::Hwio,
            Init::Normal {
                std: (2.0 / fan_out).sqrt(),
            },
        )?;
        let y = self.push(
            &ops::CONV2D,
            &[x, filter],
            vec![
                ("stride", w.stride.into()),
                ("padding", w.padding.into()),
                ("groups", groups.into()),
            ],
            site.span,
        )?;
        if !bias {
            return Ok(y);
        }
        self.bias(site, y, out, fan_in)
    }

    /// Adds a bias over the last axis, drawn as PyTorch's default: uniform in ±1/√fan_in.
    fn bias(&mut self, site: &Site<'_>, y: ValueId, out: usize, fan_in: usize) -> R<ValueId> {
        let bias = self.param(
            site,
            "bias",
            ParamKind::Bias,
            &[out],
            Layout::Same,
            Init::Uniform {
                bound: 1.0 / (fan_in as f64).sqrt(),
            },
        )?;
        let shape = self.g.b.shape(y);
        let bias = self.g.b.broadcast_to(bias, &shape);
        Ok(self.g.b.add(y, bias))
    }

    fn linear(&mut self, site: &Site<'_>, x: ValueId, out: usize, bias: bool) -> R<ValueId> {
        let Some((&features, lead)) = site.shape.split_last().filter(|(_, l)| !l.is_empty()) else {
            self.rank(site, 2)?;
            return Ok(x);
        };
        self.fix_input(site.m.id, features, site.span)?;
        // PyTorch draws weights by kaiming_uniform(a = √5), which is uniform in ±1/√fan_in.
        let weight = self.param(
            site,
            "weight",
            ParamKind::Weight,
            &[out, features],
            Layout::Same,
            Init::Uniform {
                bound: 1.0 / (features as f64).sqrt(),
            },
        )?;
        let rows: usize = lead.iter().product();
        let flat = self.g.b.reshape(x, &[rows, features]);
        let y = self.push(
            &ops::MATMUL,
            &[flat, weight],
            vec![("ta", false.into()), ("tb", true.into())],
            site.span,
        )?;
        let y = if bias {
            self.bias(site, y, out, features)?
        } else {
            y
        };
        let mut shape = lead.to_vec();
        shape.push(out);
        Ok(self.g.b.reshape(y, &shape))
    }

    fn batch_norm(
        &mut self,
        site: &Site<'_>,
        x: ValueId,
        momentum: f64,
        eps: f64,
        affine: Affine,
    ) -> R<ValueId> {
        let Some((&channels, lead)) = site.shape.split_last().filter(|(_, l)| !l.is_empty()) else {
            self.rank(site, 2)?;
            return Ok(x);
        };
        self.fix_input(site.m.id, channels, site.span)?;
        let count: usize = lead.iter().product();
        let axes: Vec<usize> = (0..lead.len()).collect();
        let mean_path = self.buffer_path(site, "running_mean", channels, 0.0)?;
        let var_path = self.buffer_path(site, "running_var", channels, 1.0)?;
        let batch = self.mode != Mode::Evaluate;
        if batch && count < 2 {
            let made = self.module(site.m.id).span;
            return Err(self.report(
                Diagnostic::new(
                    codes::E0313,
                    "batch norm needs more than one value per channel to take statistics",
                )
                .label(site.at, format!("this is f32{}", dims(site.shape)))
                .label(made, "the batch norm")
                .help("use a larger batch, or `norm: \"none\"`"),
            ));
        }
        let (mean, var) = if batch {
            let mean = self.g.b.mean(x, &axes);
            let var = self.g.b.variance(x, mean, &axes);
            (mean, var)
        } else {
            (
                self.buffer_value(&mean_path, channels),
                self.buffer_value(&var_path, channels),
            )
        };
        let weight = match affine.scale {
            Some(init) => Some(self.norm_param(site, "weight", channels, init)?),
            None => None,
        };
        let bias = if affine.shift {
            Some(self.norm_param(site, "bias", channels, 0.0)?)
        } else {
            None
        };
        let spread = self.g.b.offset(var, eps);
        let spread = self.g.b.sqrt(spread);
        let y = self.normalized(x, mean, spread, weight, bias);
        if batch {
            let network = site
                .m
                .target
                .or(self.module(site.m.id).home.as_ref().map(|h| h.0));
            let Some(network) = network else {
                return Ok(y);
            };
            let span = self.site(site.span);
            self.g.norm_uses.push(NormUse {
                mean_path,
                var_path,
                mean,
                var,
                count,
                momentum,
                network,
                output: y,
                span,
            });
        }
        Ok(y)
    }

    fn norm_param(&mut self, site: &Site<'_>, name: &str, size: usize, init: f64) -> R<ValueId> {
        self.param(
            site,
            name,
            ParamKind::Norm,
            &[size],
            Layout::Same,
            Init::Constant(init),
        )
    }

    /// (x − mean) · (weight / spread) + bias, the small tensors repeated over the leading axes.
    fn normalized(
        &mut self,
        x: ValueId,
        mean: ValueId,
        spread: ValueId,
        weight: Option<ValueId>,
        bias: Option<ValueId>,
    ) -> ValueId {
        let shape = self.g.b.shape(x);
        let one = match weight {
            Some(w) => w,
            None => {
                let one = self.g.b.scalar(1.0);
                let small = self.g.b.shape(spread);
                self.g.b.broadcast(one, &small, &[])
            }
        };
        let factor = self.g.b.div(one, spread);
        let mean = self.g.b.broadcast_to(mean, &shape);
        let factor = self.g.b.broadcast_to(factor, &shape);
        let centred = self.g.b.sub(x, mean);
        let y = self.g.b.mul(centred, factor);
        match bias {
            Some(b) => {
                let b = self.g.b.broadcast_to(b, &shape);
                self.g.b.add(y, b)
            }
            None => y,
        }
    }

    fn layer_norm(&mut self, site: &Site<'_>, x: ValueId, eps: f64) -> R<ValueId> {
        let Some((&features, lead)) = site.shape.split_last().filter(|(_, l)| !l.is_empty()) else {
            self.rank(site, 2)?;
            return Ok(x);
        };
        self.fix_input(site.m.id, features, site.span)?;
        let axis = lead.len();
        let mean = self.g.b.mean(x, &[axis]);
        let var = self.g.b.variance(x, mean, &[axis]);
        let weight = self.norm_param(site, "weight", features, 1.0)?;
        let bias = self.norm_param(site, "bias", features, 0.0)?;
        let spread = self.g.b.offset(var, eps);
        let spread = self.g.b.sqrt(spread);
        let mean = self.g.b.unreduce(mean, site.shape, &[axis]);
        let spread = self.g.b.unreduce(spread, site.shape, &[axis]);
        let centred = self.g.b.sub(x, mean);
        let y = self.g.b.div(centred, spread);
        let weight = self.g.b.broadcast_to(weight, site.shape);
        let bias = self.g.b.broadcast_to(bias, site.shape);
        let y = self.g.b.mul(y, weight);
        Ok(self.g.b.add(y, bias))
    }

    fn window_fits(&mut self, site: &Site<'_>, w: Window) -> R<()> {
        let (h, width) = (site.shape[1], site.shape[2]);
        let padded = w.padding.saturating_mul(2);
        if h.saturating_add(padded) >= w.kernel && width.saturating_add(padded) >= w.kernel {
            return Ok(());
        }
        let made = self.module(site.m.id).span;
        Err(self.report(
            Diagnostic::new(
                codes::E0207,
                format!(
                    "a window of {} by {} does not fit images of {h} by {width} with padding {}",
                    w.kernel, w.kernel, w.padding
                ),
            )
            .label(site.at, format!("this is f32{}", dims(site.shape)))
            .label(made, format!("`{}` is made here", site.name))
            .help("use a smaller window, more padding, or larger views"),
        ))
    }

    fn pool(&mut self, site: &Site<'_>, x: ValueId, op: ops::Op, w: Window) -> R<ValueId> {
        self.rank(site, 4)?;
        self.window_fits(site, w)?;
        self.push(
            op,
            &[x],
            vec![
                ("kernel", w.kernel.into()),
                ("stride", w.stride.into()),
                ("padding", w.padding.into()),
            ],
            site.span,
        )
    }

    /// All axes but the first in one, in PyTorch's order: channels, rows, columns.
    fn flatten(&mut self, x: ValueId) -> ValueId {
        let shape = self.g.b.shape(x);
        if shape.len() <= 2 {
            return x;
        }
        let rank = shape.len();
        let mut perm = vec![0, rank - 1];
        perm.extend(1..rank - 1);
        let x = self.g.b.transpose(x, &perm);
        self.g
            .b
            .reshape(x, &[shape[0], shape[1..].iter().product()])
    }

    fn dropout(&mut self, x: ValueId, p: f64, span: Span) -> R<ValueId> {
        if self.mode != Mode::Train || p == 0.0 {
            return Ok(x);
        }
        let shape = self.g.b.shape(x);
        let step = self.g.b.step();
        let stream = self.g.draws;
        self.g.draws += 1;
        let seed = self.seed;
        let draw = self.push(
            &ops::UNIFORM,
            &[step],
            vec![
                ("seed", (seed as usize).into()),
                ("stream", stream.into()),
                ("shape", shape.as_slice().into()),
            ],
            span,
        )?;
        let p_value = self.g.b.scalar(p);
        let p_value = self.g.b.broadcast(p_value, &shape, &[]);
        let keep = self.push(&ops::GE, &[draw, p_value], vec![], span)?;
        let scaled = self.g.b.scale(x, 1.0 / (1.0 - p));
        let zero = self
            .g
            .b
            .full(&crate::core::graph::Type::new(DType::F32, &[]), 0.0);
        Ok(self.g.b.select(keep, scaled, zero))
    }
}

#[derive(Clone, Copy, Debug)]
struct Affine {
    /// Its initial value, where there is a scale.
    scale: Option<f64>,
    shift: bool,
}
