//! What the lanes of a warp do together.
use super::access::{Checked, Lanes};
use super::block::Block;
use super::integer::two32;
use super::warp::{Stop, Warp};
use crate::code::{Inst, Int2, Shuffle, Vote};

impl Warp {
    /// The lanes that an instruction names in row `c`, once all of them are here; none while some are not.
    pub fn meet(&mut self, block: &mut Block, row: u32, lanes: u32) -> Checked<Option<u32>> {
        let kernel = block.launch.kernel;
        let named = self.get32(kernel, row, lanes.trailing_zeros());
        for lane in Lanes(lanes) {
            let other = self.get32(kernel, row, lane);
            if other != named {
                let message =
                    format!("lanes name different lanes to meet: {named:#010x} and {other:#010x}");
                return Err(Stop::failed(lane, message));
            }
        }
        if let Some(lane) = Lanes(lanes & !named).next() {
            return Err(Stop::failed(
                lane,
                format!("lane {lane} is not among those that it names, {named:#010x}"),
            ));
        }
        // Lanes that no thread has may be named, those of threads that have exited may not.
        if named & self.present & !self.live != 0 {
            let gone = named & self.present & !self.live;
            return Err(Stop::failed(
                lanes.trailing_zeros(),
                format!("lanes {gone:#010x} are named but have exited"),
            ));
        }
        if lanes != named & self.present {
            return Ok(None);
        }
        block.clock += 1;
        self.warp_clock = block.now();
        Ok(Some(named))
    }

    pub fn shuffle(&mut self, block: &mut Block, i: &Inst, op: Shuffle, lanes: u32) -> Checked<()> {
        let kernel = block.launch.kernel;
        let clamp = i.extra as u32;
        let mut values = [0; 32];
        for lane in 0..32 {
            values[lane as usize] = self.get32(kernel, i.a, lane);
        }
        let (mut result, mut within) = (values, 0u32);
        for lane in Lanes(lanes) {
            let (b, c) = (
                self.get32(kernel, i.b, lane) & 31,
                self.get32(kernel, clamp, lane),
            );
            let (edge, segment) = (c & 31, c >> 8 & 31);
            let most = lane & segment | edge & !segment;
            let least = lane & segment;
            let (source, inside) = match op {
                Shuffle::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= most as i32),
                Shuffle::Down => (lane + b, lane + b <= most),
                Shuffle::Butterfly => (lane ^ b, (lane ^ b) <= most),
                Shuffle::Index => (least | b & !segment, (least | b & !segment) <= most),
            };
            let source = if inside { source & 31 } else { lane };
            if lanes >> source & 1 == 0 {
                return Err(Stop::failed(
                    lane,
                    format!("takes a value from lane {source}, which does not take part"),
                ));
            }
            result[lane as usize] = values[source as usize];
            within |= (inside as u32) << lane;
        }
        for lane in Lanes(lanes) {
            self.set32(i.d, lane, result[lane as usize]);
        }
        self.decide((i.extra >> 32) as u32, lanes, within);
        Ok(())
    }

    pub fn vote(&mut self, i: &Inst, vote: Vote, lanes: u32) {
        let votes = self.predicate(i.a, i.extra == 1) & lanes;
        let holds = match vote {
            Vote::All => votes == lanes,
            Vote::Any => votes != 0,
            Vote::Uniform => votes == lanes || votes == 0,
            Vote::Ballot => {
                for lane in Lanes(lanes) {
                    self.set32(i.d, lane, votes);
                }
                return;
            }
        };
        self.decide(i.d, lanes, if holds { u32::MAX } else { 0 });
    }

    pub fn reduce(&mut self, block: &Block, i: &Inst, op: Int2, lanes: u32) {
        let kernel = block.launch.kernel;
        let values = Lanes(lanes).map(|lane| self.get32(kernel, i.a, lane));
        let total = values.reduce(|a, b| two32(op, a, b, 0)).unwrap_or(0);
        for lane in Lanes(lanes) {
            self.set32(i.d, lane, total);
        }
    }

    pub fn match_any(&mut self, block: &Block, i: &Inst, lanes: u32) {
        let kernel = block.launch.kernel;
        let mut found = [0u32; 32];
        for lane in Lanes(lanes) {
            let value = self.get32(kernel, i.a, lane);
            found[lane as usize] = Lanes(lanes)
                .filter(|&l| self.get32(kernel, i.a, l) == value)
                .fold(0, |m, l| m | 1 << l);
        }
        for lane in Lanes(lanes) {
            self.set32(i.d, lane, found[lane as usize]);
        }
    }
}
