//! A warp: which lanes are where.
//!
//! Lanes that are at the same instruction go together. The ones furthest back in the code go first, so that those that parted at
//! a branch meet again where their ways join.
use super::block::Block;
use super::copies::Copies;
use super::{Fault, Kind, Launch};
use crate::code::{Preset, Row};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Can go on.
    No,
    /// For the other lanes that an instruction names.
    Lanes,
    /// At a barrier of the block.
    Barrier,
}

/// Lanes at one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub pc: u32,
    pub lanes: u32,
    pub wait: Wait,
}

pub enum State {
    Done,
    /// All lanes wait at the barrier at this instruction.
    Barrier(u32),
}

/// What an instruction did to the group that ran it.
pub enum Flow {
    Next,
    /// All lanes go there.
    Jump(u32),
    /// These lanes go there, the others on.
    Part(u32, u32),
    /// These lanes go to these places, the others on.
    Spread(Vec<(u32, u32)>),
    /// These lanes are done.
    Exit(u32),
    Wait(Wait),
}

/// A fault of a lane.
pub struct Stop {
    pub lane: u32,
    pub fault: Fault,
}

impl Stop {
    pub fn new(lane: u32, kind: Kind, message: impl Into<String>) -> Box<Self> {
        Box::new(Stop {
            lane,
            fault: Fault::new(kind, message),
        })
    }

    pub fn failed(lane: u32, message: impl Into<String>) -> Box<Self> {
        Stop::new(lane, Kind::Failed, message)
    }
}

pub struct Warp {
    pub index: u32,
    /// Lanes that have a thread.
    pub present: u32,
    pub registers: Vec<Row>,
    pub predicates: Vec<u32>,
    pub local: Vec<u8>,
    pub local_state: Vec<u8>,
    /// Bytes of local memory of a lane.
    pub local_bytes: usize,
    pub groups: Vec<Group>,
    pub warp_clock: u64,
    pub copies: Copies,
    /// The lanes that `mask32` and `mask64` spread out.
    pub masked: u32,
    pub mask32: Row,
    pub mask64: [u64; 32],
    pub live: u32,
}

impl Warp {
    pub fn new(launch: &Launch, index: u32, threads: u32) -> Self {
        let kernel = launch.kernel;
        let lanes = (threads - index * 32).min(32);
        let local_bytes = kernel.local_bytes as usize;
        let mut warp = Warp {
            index,
            present: u32::MAX >> (32 - lanes),
            registers: vec![Row([0; 32]); kernel.rows as usize + 2],
            predicates: vec![0; kernel.predicates as usize],
            local: vec![0; local_bytes * 32],
            local_state: vec![0; local_bytes * 32],
            local_bytes,
            groups: Vec::new(),
            warp_clock: 1,
            copies: Copies::default(),
            masked: 0,
            mask32: Row([0; 32]),
            mask64: [0; 32],
            live: 0,
        };
        for &(row, preset) in &kernel.presets {
            for lane in 0..32 {
                warp.registers[row as usize].0[lane as usize] = warp.preset(launch, preset, lane);
            }
        }
        warp
    }

    fn preset(&self, launch: &Launch, preset: Preset, lane: u32) -> u32 {
        let thread = self.index * 32 + lane;
        let [x, y, z] = launch.threads;
        let static_bytes = launch.kernel.shared_bytes;
        match preset {
            Preset::ThreadX => thread % x,
            Preset::ThreadY => thread / x % y,
            Preset::ThreadZ => thread / x / y,
            Preset::ThreadsX => x,
            Preset::ThreadsY => y,
            Preset::ThreadsZ => z,
            Preset::BlocksX => launch.grid[0],
            Preset::BlocksY => launch.grid[1],
            Preset::BlocksZ => launch.grid[2],
            Preset::BlockX | Preset::BlockY | Preset::BlockZ => 0,
            Preset::Lane => lane,
            Preset::Warp => self.index,
            Preset::Warps => (x * y * z).div_ceil(32),
            Preset::LanesEqual => 1 << lane,
            Preset::LanesBelow => (1 << lane) - 1,
            Preset::LanesUpTo => u32::MAX >> (31 - lane),
            Preset::LanesAbove => !(u32::MAX >> (31 - lane)),
            Preset::LanesFrom => !((1 << lane) - 1),
            Preset::DynamicShared => launch.shared,
            Preset::TotalShared => launch.shared + static_bytes,
        }
    }

    /// For the next block.
    pub fn restart(&mut self, block: &Block) {
        for &(row, preset) in &block.launch.kernel.presets {
            let value = match preset {
                Preset::BlockX => block.place[0],
                Preset::BlockY => block.place[1],
                Preset::BlockZ => block.place[2],
                _ => continue,
            };
            self.registers[row as usize].0 = [value; 32];
        }
        self.predicates.fill(0);
        self.predicates[crate::code::TRUE as usize] = u32::MAX;
        self.local_state.fill(0);
        self.groups.clear();
        self.groups.push(Group {
            pc: 0,
            lanes: self.present,
            wait: Wait::No,
        });
        self.warp_clock = 1;
        self.copies.clear();
        self.live = self.present;
    }

    /// Goes on after a barrier.
    pub fn pass(&mut self, clock: u64) {
        self.warp_clock = clock;
        for group in &mut self.groups {
            group.wait = Wait::No;
            group.pc += 1;
        }
    }

    pub fn run(&mut self, block: &mut Block) -> Result<State, Fault> {
        while let Some(at) = self.choose() {
            let group = self.groups.swap_remove(at);
            let mut pc = group.pc;
            match self.advance(block, &mut pc, group.lanes) {
                Ok(flow) => self.follow(pc, group.lanes, flow),
                Err(stop) => return Err(self.locate(block, pc, stop.lane, stop.fault)),
            }
        }
        self.settle(block)
    }

    /// The group that goes next: of those that can, the one furthest back.
    fn choose(&self) -> Option<usize> {
        let ready = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, g)| g.wait == Wait::No);
        ready.min_by_key(|(_, g)| g.pc).map(|(at, _)| at)
    }

    /// Runs a group until its lanes part, wait, end or meet others.
    fn advance(&mut self, block: &mut Block, pc: &mut u32, lanes: u32) -> Result<Flow, Box<Stop>> {
        let limit = self
            .groups
            .iter()
            .map(|g| g.pc)
            .filter(|p| p > pc)
            .min()
            .unwrap_or(u32::MAX);
        let alone = self.groups.is_empty();
        #[cfg(target_arch = "x86_64")]
        if block.wide {
            // SAFETY: `wide` says that this processor has these instructions.
            return unsafe { super::step::advance_wide(self, block, pc, lanes, limit, alone) };
        }
        super::step::advance(self, block, pc, lanes, limit, alone)
    }

    fn follow(&mut self, pc: u32, lanes: u32, flow: Flow) {
        match flow {
            Flow::Next => self.join(pc, lanes, Wait::No),
            Flow::Jump(to) => self.join(to, lanes, Wait::No),
            Flow::Part(to, some) => {
                self.join(to, some, Wait::No);
                self.join(pc + 1, lanes & !some, Wait::No);
            }
            Flow::Exit(some) => {
                self.live &= !some;
                if lanes & !some != 0 {
                    self.join(pc + 1, lanes & !some, Wait::No);
                }
            }
            Flow::Spread(targets) => {
                let mut left = lanes;
                for (to, some) in targets {
                    self.join(to, some, Wait::No);
                    left &= !some;
                }
                if left != 0 {
                    self.join(pc + 1, left, Wait::No);
                }
            }
            Flow::Wait(wait) => self.join(pc, lanes, wait),
        }
    }

    /// Puts lanes at an instruction, together with those that are there.
    fn join(&mut self, pc: u32, lanes: u32, wait: Wait) {
        match self.groups.iter_mut().find(|g| g.pc == pc) {
            Some(group) => {
                group.lanes |= lanes;
                group.wait = Wait::No;
            }
            None => self.groups.push(Group { pc, lanes, wait }),
        }
    }

    /// When no group can go on.
    fn settle(&self, block: &Block) -> Result<State, Fault> {
        let Some(first) = self.groups.first() else {
            return Ok(State::Done);
        };
        let fault = |group: &Group, message: String| {
            Err(self.locate(
                block,
                group.pc,
                group.lanes.trailing_zeros(),
                Fault::failed(message),
            ))
        };
        if let Some(group) = self.groups.iter().find(|g| g.wait == Wait::Lanes) {
            return fault(
                group,
                format!(
                    "names lanes that never come here; lanes {:#010x} wait",
                    group.lanes
                ),
            );
        }
        if let Some(other) = self.groups.get(1) {
            return fault(
                first,
                format!(
                    "a divergent barrier: lanes {:#010x} wait at another one",
                    other.lanes
                ),
            );
        }
        if first.lanes != self.present {
            let gone = self.present & !first.lanes;
            return fault(
                first,
                format!("a divergent barrier: lanes {gone:#010x} have exited"),
            );
        }
        Ok(State::Barrier(first.pc))
    }

    /// Says in a fault where it happened.
    pub fn locate(&self, block: &Block, pc: u32, lane: u32, mut fault: Fault) -> Fault {
        let kernel = block.launch.kernel;
        let line = kernel.code.get(pc as usize).map_or(0, |i| i.line);
        let text = block
            .launch
            .text
            .lines()
            .nth((line as usize).saturating_sub(1))
            .unwrap_or_default()
            .trim();
        let thread = self.index * 32 + lane.min(31);
        let [x, y, _] = block.launch.threads;
        let (tx, ty, tz) = (thread % x, thread / x % y, thread / x / y);
        let [bx, by, bz] = block.place;
        fault.message = format!(
            "kernel `{}`, block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz}), line {line} `{text}`: {}",
            kernel.name, fault.message
        );
        fault
    }
}
