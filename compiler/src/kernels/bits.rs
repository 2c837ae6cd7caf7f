//! Sets of small numbers, and who depends on whom.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub fn contains(&self, i: usize) -> bool {
        self.words
            .get(i / 64)
            .is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    pub fn insert(&mut self, i: usize) {
        if self.words.len() <= i / 64 {
            self.words.resize(i / 64 + 1, 0);
        }
        self.words[i / 64] |= 1 << (i % 64);
    }

    pub fn is_subset(&self, other: &Bits) -> bool {
        let word = |i: usize| other.words.get(i).copied().unwrap_or(0);
        self.words
            .iter()
            .enumerate()
            .all(|(i, w)| w & !word(i) == 0)
    }

    pub fn union(&mut self, other: &Bits) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a |= b;
        }
    }
}

/// The transitive dependencies of numbered things that are made one by one and merged.
///
/// A merged thing's number may stay in a set; it stands for nothing any more.
#[derive(Clone, Debug, Default)]
pub struct Ancestry {
    sets: Vec<Bits>,
}

impl Ancestry {
    /// A new thing without dependencies.
    pub fn push(&mut self) -> usize {
        self.sets.push(Bits::default());
        self.sets.len() - 1
    }

    /// Whether `a` depends on `b`.
    pub fn depends(&self, a: usize, b: usize) -> bool {
        self.sets[a].contains(b)
    }

    pub fn independent(&self, a: usize, b: usize) -> bool {
        !self.depends(a, b) && !self.depends(b, a)
    }

    /// Whether `a` depends on all that `b` depends on.
    pub fn covers(&self, a: usize, b: usize) -> bool {
        self.sets[b].is_subset(&self.sets[a])
    }

    /// Makes `a` and what depends on it depend on all of `on`.
    pub fn add(&mut self, a: usize, on: impl IntoIterator<Item = usize>) {
        let mut new = Bits::default();
        let mut any = false;
        for b in on {
            if b != a && !self.sets[a].contains(b) {
                any = true;
                new.insert(b);
                new.union(&self.sets[b]);
            }
        }
        if any {
            self.spread(a, &new);
        }
    }

    fn spread(&mut self, a: usize, new: &Bits) {
        self.sets[a].union(new);
        for set in self.sets.iter_mut().filter(|s| s.contains(a)) {
            set.union(new);
        }
    }

    /// Makes `a` stand for the independent `a` and `b`.
    pub fn merge(&mut self, a: usize, b: usize) {
        for set in self.sets.iter_mut().filter(|s| s.contains(b)) {
            set.insert(a);
        }
        let mut both = std::mem::take(&mut self.sets[b]);
        both.union(&self.sets[a]);
        self.spread(a, &both);
    }
}
