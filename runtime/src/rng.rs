//! A counter-based random generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A draw is a pure function of a key and a counter, so that any draw can be made alone, in any order and on any thread.
//! A [`Stream`] is the sequence of draws under one address `(seed, domain, a, b, c)`; the last counter word numbers its blocks.
//!
//! Invariant: two purposes never share an address. What a draw is for is told apart by its [`Domain`], which is mixed into the key.

use sslc_compiler::core::rng::philox;

/// What draws are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Parameters of view operations: a = epoch, b = image, c = view and operation.
    Views = 1,
    /// The order of images in an epoch: a = epoch.
    Shuffle = 2,
    /// Initial values of parameters: a, b = hash of the path, c unused; one draw per element.
    Init = 3,
    /// The order in which a linear classifier sees features: a = epoch.
    Probe = 4,
}

/// The finalizer of splitmix64: every bit of the input reaches every bit of the output.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A 64-bit hash of bytes (FNV-1a, then [`mix`]): the same on every machine and in every version.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// 53 random bits as a number in [0, 1).
fn unit(hi: u32, lo: u32) -> f64 {
    ((u64::from(hi) << 32 | u64::from(lo)) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// The draws under one address, in order.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    address: [u32; 3],
    block: u32,
    /// The second half of the current block, when the first has been used.
    spare: Option<[u32; 2]>,
}

impl Stream {
    pub fn new(seed: u64, domain: Domain, a: u32, b: u32, c: u32) -> Stream {
        let key = mix(seed ^ mix(domain as u64));
        Stream {
            key: [key as u32, (key >> 32) as u32],
            address: [c, b, a],
            block: 0,
            spare: None,
        }
    }

    fn next_pair(&mut self) -> [u32; 2] {
        if let Some(pair) = self.spare.take() {
            return pair;
        }
        let [c, b, a] = self.address;
        let r = philox([self.block, c, b, a], self.key);
        self.block = self.block.wrapping_add(1);
        self.spare = Some([r[2], r[3]]);
        [r[0], r[1]]
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        let [hi, lo] = self.next_pair();
        unit(hi, lo)
    }

    /// A number in [lo, hi); `lo` itself where the range has no width.
    pub fn uniform(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }

    /// A whole number in [0, n), for n at least 1 (multiply-shift; its bias is below n/2⁶⁴).
    pub fn below(&mut self, n: usize) -> usize {
        let [hi, lo] = self.next_pair();
        let bits = u64::from(hi) << 32 | u64::from(lo);
        ((u128::from(bits) * n as u128) >> 64) as usize
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Draws for the elements of one named tensor, each addressed by its index: the same whatever else a network holds.
#[derive(Clone, Copy, Debug)]
pub struct ElementDraws {
    key: [u32; 2],
    path: [u32; 2],
}

impl ElementDraws {
    pub fn new(seed: u64, path: &str) -> ElementDraws {
        let key = mix(seed ^ mix(Domain::Init as u64));
        let path = hash_bytes(path.as_bytes());
        ElementDraws {
            key: [key as u32, (key >> 32) as u32],
            path: [path as u32, (path >> 32) as u32],
        }
    }

    fn bits(&self, element: u64) -> [u32; 4] {
        let counter = [
            element as u32,
            (element >> 32) as u32,
            self.path[0],
            self.path[1],
        ];
        philox(counter, self.key)
    }

    /// A number in [lo, hi) for one element.
    pub fn uniform(&self, element: u64, lo: f64, hi: f64) -> f64 {
        let r = self.bits(element);
        lo + (hi - lo) * unit(r[0], r[1])
    }

    /// A standard normal number for one element (Box and Muller).
    pub fn normal(&self, element: u64) -> f64 {
        let r = self.bits(element);
        let radius = (-2.0 * (1.0 - unit(r[0], r[1])).ln()).sqrt();
        radius * (std::f64::consts::TAU * unit(r[2], r[3])).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_draws_fill_their_range_evenly() {
        let mut s = Stream::new(7, Domain::Views, 1, 2, 3);
        let mut bins = [0usize; 10];
        for _ in 0..20_000 {
            bins[(s.uniform(2.0, 3.0) * 10.0) as usize - 20] += 1;
        }
        assert!(bins.iter().all(|n| (1_800..2_200).contains(n)), "{bins:?}");
    }

    #[test]
    fn below_covers_its_range_and_no_more() {
        let mut s = Stream::new(0, Domain::Shuffle, 0, 0, 0);
        let mut seen = [0usize; 3];
        for _ in 0..3_000 {
            seen[s.below(3)] += 1;
        }
        assert!(seen.iter().all(|n| (900..1_100).contains(n)), "{seen:?}");
    }

    #[test]
    fn addresses_seeds_and_domains_draw_independently() {
        let first = |seed, domain, a, b, c| Stream::new(seed, domain, a, b, c).unit();
        let draws = [
            first(0, Domain::Views, 0, 0, 0),
            first(1, Domain::Views, 0, 0, 0),
            first(0, Domain::Shuffle, 0, 0, 0),
            first(0, Domain::Views, 1, 0, 0),
            first(0, Domain::Views, 0, 1, 0),
            first(0, Domain::Views, 0, 0, 1),
        ];
        for (i, a) in draws.iter().enumerate() {
            for b in &draws[i + 1..] {
                assert!((a - b).abs() > 1e-6);
            }
        }
    }

    #[test]
    fn normal_draws_have_mean_0_and_variance_1() {
        let d = ElementDraws::new(3, "f.conv1.weight");
        let n = 40_000;
        let xs: Vec<f64> = (0..n).map(|i| d.normal(i)).collect();
        let mean = xs.iter().sum::<f64>() / n as f64;
        let var = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        let kurtosis = xs.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / n as f64 / var.powi(2);
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.03 && (kurtosis - 3.0).abs() < 0.15);
    }

    #[test]
    fn an_element_does_not_depend_on_the_others() {
        let d = ElementDraws::new(3, "g.layers.0.weight");
        assert_eq!(
            d.normal(17),
            ElementDraws::new(3, "g.layers.0.weight").normal(17)
        );
        assert_ne!(
            d.normal(17),
            ElementDraws::new(3, "g.layers.1.weight").normal(17)
        );
        assert_ne!(d.uniform(17, 0.0, 1.0), d.uniform(18, 0.0, 1.0));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..1000).collect();
        Stream::new(5, Domain::Shuffle, 2, 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..1000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
