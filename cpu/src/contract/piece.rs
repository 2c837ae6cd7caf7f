//! Pieces of a result, and what an epilogue does with them while they are in the cache.

use std::ops::Range;

/// A piece of the result that has been made: some whole rows.
pub struct Piece {
    pub thread: usize,
    pub number: usize,
    pub rows: Range<usize>,
    /// Where its first row begins; all its rows follow each other.
    pub place: *mut f32,
}

/// What is done with a piece.
pub type After<'a> = dyn Fn(&Piece) + Sync + 'a;

/// An array that is read along with the result: the byte of the arena it begins at, and its bytes for each row of the result.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    pub first: usize,
    pub row: usize,
}

impl Beside {
    /// Where its part for a piece begins, and its bytes.
    pub fn part(&self, arena: *const f32, rows: &Range<usize>) -> (*const u8, usize) {
        let place = arena.cast::<u8>();
        (
            place.wrapping_add(self.first + rows.start * self.row),
            rows.len() * self.row,
        )
    }
}

/// What follows a contraction, piece by piece.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    pub after: &'a After<'a>,
    /// What it reads beside the result: fetched while a piece is made.
    pub beside: &'a [Beside],
}

impl Epilogue<'_> {
    /// Nothing.
    pub const NONE: Epilogue<'static> = Epilogue {
        after: &|_| {},
        beside: &[],
    };
}

/// How the pieces of a result lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Where the result has its place.
    InPlace,
    /// In a thread's scratch; and in the result's place as well, past the caches, if `kept`.
    Apart { kept: bool },
}

impl Lie {
    pub fn is_apart(self) -> bool {
        self != Lie::InPlace
    }

    /// Bytes from a place of the piece to the same place of the result; 0 where it is not written there.
    pub fn twin(self, piece: *const u8, result: *const u8) -> isize {
        match self {
            Lie::Apart { kept: true } => (result as isize).wrapping_sub(piece as isize),
            Lie::InPlace | Lie::Apart { kept: false } => 0,
        }
    }
}
