//! A block of threads.
use super::shared::Shared;
use super::view::Window;
use super::warp::{State, Warp};
use super::{Fault, Launch};
use crate::code::{Op, Vote};
use crate::memory::Memory;
use crate::shadow;

pub struct Block<'a> {
    pub launch: &'a Launch<'a>,
    pub memory: &'a mut Memory,
    pub shared: Shared,
    pub budget: u64,
    pub index: u64,
    pub place: [u32; 3],
    /// The key of records in global memory.
    pub key: u64,
    /// Goes up at each synchronisation.
    pub clock: u64,
    pub block_clock: u64,
    /// Addresses that each parameter may reach, where it is a pointer.
    pub reach: Vec<(u64, u64)>,
    /// For each parameter (0: for the rest), the memory last used.
    pub windows: Vec<Window>,
    /// Whether the processor has AVX2 and FMA.
    pub wide: bool,
    warps: Vec<Warp>,
}

impl<'a> Block<'a> {
    pub fn new(launch: &'a Launch<'a>, memory: &'a mut Memory) -> Self {
        let threads = launch.threads.iter().product::<u32>();
        let warps = (0..threads.div_ceil(32))
            .map(|w| Warp::new(launch, w, threads))
            .collect();
        let mut reach = vec![(0, u64::MAX)];
        for parameter in &launch.kernel.parameters {
            let bytes = launch
                .parameters
                .get(parameter.offset as usize..)
                .and_then(|p| p.first_chunk::<8>());
            let pointer = bytes
                .filter(|_| parameter.size == 8)
                .map(|b| u64::from_le_bytes(*b));
            reach.push(
                pointer
                    .and_then(|p| memory.reach(p))
                    .unwrap_or((0, u64::MAX)),
            );
        }
        Block {
            launch,
            memory,
            shared: Shared::new(launch.kernel, launch.shared),
            budget: launch.budget,
            index: 0,
            place: [0; 3],
            key: 0,
            clock: 1,
            block_clock: 1,
            windows: vec![Window::NONE; reach.len()],
            reach,
            wide: wide(),
            warps,
        }
    }

    /// The clock as records keep it.
    pub fn now(&self) -> u64 {
        if self.clock < shadow::CLOCKS as u64 {
            self.clock
        } else {
            0
        }
    }

    pub fn run(&mut self, index: u64) -> Result<(), Fault> {
        let [x, y, _] = self.launch.grid.map(u64::from);
        self.index = index;
        self.place = [
            (index % x) as u32,
            (index / x % y) as u32,
            (index / x / y) as u32,
        ];
        self.key = shadow::key(self.memory.stamp, index);
        (self.clock, self.block_clock) = (1, 1);
        self.shared.restart();
        let mut warps = std::mem::take(&mut self.warps);
        for warp in &mut warps {
            warp.restart(self);
        }
        let result = self.phases(&mut warps);
        self.warps = warps;
        result
    }

    /// From barrier to barrier.
    fn phases(&mut self, warps: &mut [Warp]) -> Result<(), Fault> {
        let (mut turn, count) = (self.index as usize, warps.len());
        loop {
            let (mut waiting, mut done) = (None, None);
            for at in 0..warps.len() {
                // Another warp goes first in each phase.
                let warp = &mut warps[(at + turn) % count];
                match warp.run(self)? {
                    State::Done => done = Some(warp.index),
                    State::Barrier(pc) => {
                        if let Some((other, _)) =
                            waiting.filter(|&(_, first): &(u32, u32)| first != pc)
                        {
                            return Err(self.fault(
                                warp,
                                pc,
                                format!("warp {other} waits at another barrier"),
                            ));
                        }
                        waiting = Some((warp.index, pc));
                    }
                }
            }
            let Some((_, pc)) = waiting else {
                return Ok(());
            };
            if let Some(done) = done {
                let warp = &warps[waiting.map_or(0, |w| w.0) as usize];
                return Err(self.fault(
                    warp,
                    pc,
                    format!("a barrier that warp {done} never reaches: it has exited"),
                ));
            }
            self.release(warps, pc);
            turn += 1;
        }
    }

    fn fault(&self, warp: &Warp, pc: u32, message: String) -> Fault {
        warp.locate(
            self,
            pc,
            warp.present.trailing_zeros(),
            Fault::failed(message),
        )
    }

    /// All threads are at the barrier: combines what they bring, and lets them go on.
    fn release(&mut self, warps: &mut [Warp], pc: u32) {
        let inst = self.launch.kernel.code[pc as usize];
        let votes = |warp: &Warp| {
            let bits = warp.predicates[inst.a as usize];
            (if inst.extra == 1 { !bits } else { bits }) & warp.present
        };
        match inst.op {
            Op::BarrierReduce(vote) => {
                let holds = match vote {
                    Vote::All => warps.iter().all(|w| votes(w) == w.present),
                    _ => warps.iter().any(|w| votes(w) != 0),
                };
                for warp in warps.iter_mut() {
                    warp.predicates[inst.d as usize] = if holds { warp.present } else { 0 };
                }
            }
            Op::BarrierCount => {
                let count = warps.iter().map(|w| votes(w).count_ones()).sum();
                for warp in warps.iter_mut() {
                    warp.registers[inst.d as usize].0 = [count; 32];
                }
            }
            _ => {}
        }
        self.clock += 1;
        self.block_clock = self.now();
        for warp in warps {
            warp.pass(self.block_clock);
        }
    }
}

fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}
