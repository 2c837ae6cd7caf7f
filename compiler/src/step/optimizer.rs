//! Update rules: SGD, LARS and AdamW, with groups and exclusions.

use crate::core::builder::Builder;
use crate::core::graph::ValueId;
use crate::core::ops;
use crate::program::{
    Hyper, Init, Optimizer, OptimizerRule, Parameter, Program, Schedule, ScheduleShape, Selector,
    StateDecl,
};
use std::collections::BTreeMap;

/// Σ x², f32[].
pub fn squares(b: &mut Builder, x: ValueId) -> ValueId {
    let square = b.mul(x, x);
    b.sum_all(square)
}

/// How one parameter is updated, after groups and exclusions.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub hyper: Hyper,
    /// Excluded: no decay and, under LARS, no adaptation.
    pub excluded: bool,
}

fn selects(selectors: &[Selector], p: &Parameter) -> bool {
    selectors.iter().any(|s| match s {
        Selector::Kind(kind) => *kind == p.kind,
        Selector::Network(network) => *network == p.network,
    })
}

/// The settings of a parameter: the optimizer's, overridden by its groups in order; an exclusion drops the decay.
pub fn resolve(optimizer: &Optimizer, p: &Parameter) -> Resolved {
    let mut hyper = optimizer.base.clone();
    for group in optimizer.groups.iter().filter(|g| selects(&g.select, p)) {
        if let Some(lr) = &group.lr {
            hyper.lr.clone_from(lr);
        }
        if let Some(momentum) = group.momentum {
            hyper.momentum = momentum;
        }
        if let Some(decay) = group.weight_decay {
            hyper.weight_decay = decay;
        }
    }
    let excluded = selects(&optimizer.exclude, p);
    if excluded {
        hyper.weight_decay = 0.0;
    }
    Resolved { hyper, excluded }
}

/// One parameter's update under construction.
struct Update<'a> {
    b: &'a mut Builder,
    state: &'a mut Vec<StateDecl>,
    p: &'a Parameter,
    hyper: Hyper,
    weight: ValueId,
    grad: ValueId,
    lr: ValueId,
}

impl Update<'_> {
    /// State of the parameter's shape that starts at 0; returns its value before the step.
    fn state(&mut self, name: &str) -> ValueId {
        let path = format!("{name}/{}", self.p.path);
        self.state.push(StateDecl {
            path: path.clone(),
            network: self.p.network,
            shape: self.p.shape.clone(),
            init: Init::Constant(0.0),
        });
        self.b.state(&path, &self.p.shape)
    }

    fn keep(&mut self, name: &str, value: ValueId) {
        let output = format!("state/{name}/{}", self.p.path);
        self.b.output(output, value);
    }

    /// `g + wd·w`
    fn decayed(&mut self) -> ValueId {
        if self.hyper.weight_decay == 0.0 {
            return self.grad;
        }
        let decay = self.b.scale(self.weight, self.hyper.weight_decay);
        self.b.add(self.grad, decay)
    }

    /// `v ← m·v + x`, or `x` itself without momentum.
    fn momentum(&mut self, x: ValueId) -> ValueId {
        if self.hyper.momentum == 0.0 {
            return x;
        }
        let v = self.state("momentum");
        let v = self.b.scale(v, self.hyper.momentum);
        let v = self.b.add(v, x);
        self.keep("momentum", v);
        v
    }

    /// `w − lr·x`
    fn descend(&mut self, x: ValueId) -> ValueId {
        let change = self.b.mul(x, self.lr);
        self.b.sub(self.weight, change)
    }

    /// As `torch.optim.SGD`.
    fn sgd(&mut self, nesterov: bool) -> ValueId {
        let g = self.decayed();
        let v = self.momentum(g);
        if !nesterov {
            return self.descend(v);
        }
        let ahead = self.b.scale(v, self.hyper.momentum);
        let ahead = self.b.add(g, ahead);
        self.descend(ahead)
    }

    /// You et al. 2017 (arXiv:1708.03888), Algorithm 1, with the trust ratio η‖w‖/‖g + wd·w‖, 1 where a norm is 0.
    fn lars(&mut self, eta: f64, lr_in_momentum: bool, adapt: bool) -> ValueId {
        let mut g = self.decayed();
        if adapt {
            let ratio = self.trust_ratio(g, eta);
            g = self.b.mul(g, ratio);
        }
        if lr_in_momentum {
            g = self.b.mul(g, self.lr);
            let v = self.momentum(g);
            self.b.sub(self.weight, v)
        } else {
            let v = self.momentum(g);
            self.descend(v)
        }
    }

    fn trust_ratio(&mut self, g: ValueId, eta: f64) -> ValueId {
        let b = &mut *self.b;
        let w2 = squares(b, self.weight);
        let g2 = squares(b, g);
        let (w_norm, g_norm) = (b.sqrt(w2), b.sqrt(g2));
        let zero = b.scalar(0.0);
        let one = b.scalar(1.0);
        let (w_some, g_some) = (b.gt(w_norm, zero), b.gt(g_norm, zero));
        let both = b.binary(&ops::AND, w_some, g_some);
        let divisor = b.select(g_some, g_norm, one);
        let ratio = b.div(w_norm, divisor);
        let ratio = b.scale(ratio, eta);
        b.select(both, ratio, one)
    }

    /// As `torch.optim.AdamW`: Loshchilov & Hutter 2019 (arXiv:1711.05101), Algorithm 2.
    fn adamw(&mut self, beta1: f64, beta2: f64, eps: f64) -> ValueId {
        let (m, v) = (self.state("exp_avg"), self.state("exp_avg_sq"));
        let b = &mut *self.b;
        let (kept, new) = (b.scale(m, beta1), b.scale(self.grad, 1.0 - beta1));
        let m = b.add(kept, new);
        let square = b.mul(self.grad, self.grad);
        let (kept, new) = (b.scale(v, beta2), b.scale(square, 1.0 - beta2));
        let v = b.add(kept, new);
        let (c1, c2) = (b.schedule(CORRECTION_1), b.schedule(CORRECTION_2));
        let root_v = b.sqrt(v);
        let root_c = b.sqrt(c2);
        let divisor = b.div(root_v, root_c);
        let divisor = b.offset(divisor, eps);
        let rate = b.div(self.lr, c1);
        let change = b.div(m, divisor);
        let change = b.mul(change, rate);
        let mut weight = self.weight;
        if self.hyper.weight_decay != 0.0 {
            let decay = b.scale(self.lr, self.hyper.weight_decay);
            let one = b.scalar(1.0);
            let keep = b.sub(one, decay);
            weight = b.mul(weight, keep);
        }
        let next = b.sub(weight, change);
        self.keep("exp_avg", m);
        self.keep("exp_avg_sq", v);
        next
    }
}

/// Schedules of AdamW's bias corrections, 1 − β^(k+1).
const CORRECTION_1: &str = "adamw.correction1";
const CORRECTION_2: &str = "adamw.correction2";

/// The updated value of every parameter that has a gradient, by path.
pub fn update(
    b: &mut Builder,
    program: &Program,
    grads: &[(usize, ValueId)],
    state: &mut Vec<StateDecl>,
    schedules: &mut BTreeMap<String, Schedule>,
) -> BTreeMap<String, ValueId> {
    let optimizer = &program.train.optimizer;
    if let OptimizerRule::Adamw { beta1, beta2, .. } = optimizer.rule {
        for (name, beta) in [(CORRECTION_1, beta1), (CORRECTION_2, beta2)] {
            let shape = ScheduleShape::Correction { beta };
            schedules.insert(
                name.to_owned(),
                Schedule {
                    shape,
                    ..Schedule::constant(0.0)
                },
            );
        }
    }
    grads
        .iter()
        .map(|(index, grad)| {
            let p = &program.parameters[*index];
            let Resolved { hyper, excluded } = resolve(optimizer, p);
            let weight = b.param(&p.path, &p.shape);
            let lr = b.schedule(&hyper.lr);
            let mut update = Update {
                b,
                state,
                p,
                hyper,
                weight,
                grad: *grad,
                lr,
            };
            let next = match optimizer.rule {
                OptimizerRule::Sgd { nesterov } => update.sgd(nesterov),
                OptimizerRule::Lars {
                    eta,
                    lr_in_momentum,
                } => update.lars(eta, lr_in_momentum, !excluded),
                OptimizerRule::Adamw { beta1, beta2, eps } => update.adamw(beta1, beta2, eps),
            };
            (p.path.clone(), next)
        })
        .collect()
}
