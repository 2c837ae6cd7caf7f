//! Decoded kernels: instructions with operands resolved to rows of registers.
//!
//! A row holds one value of 32 bits for each lane of a warp; a register of 64 bits takes two rows, and one of 16 bits has zeros
//! above. Constants are rows of their own, shared by all warps.
use crate::ptx::Space;

/// A row whose number has this bit is one of [`Kernel::constants`].
pub const CONSTANT: u32 = 1 << 31;
/// The predicate that always holds.
pub const TRUE: u32 = 0;
/// Where the shared memory of a block begins in its address space.
pub const SHARED_BASE: u64 = 1024;
/// Generic addresses of shared memory begin here.
pub const SHARED_WINDOW: u64 = 0x7f00_0000_0000;
/// Generic addresses of local memory begin here.
pub const LOCAL_WINDOW: u64 = 0x7e00_0000_0000;
/// Bytes of a window.
pub const WINDOW: u64 = 1 << 24;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct Row(pub [u32; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int2 {
    Add,
    Sub,
    Mul,
    MulHighU,
    MulHighS,
    DivU,
    DivS,
    RemU,
    RemS,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    MinU,
    MinS,
    MaxU,
    MaxS,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int1 {
    Not,
    Neg,
    Abs,
    Brev,
    Cnot,
}

/// Operations whose result has 32 bits whatever the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Popc,
    Clz,
    FindU,
    FindS,
    /// How far to shift what `Find` finds to the highest bit.
    ShiftU,
    ShiftS,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int3 {
    Mad,
    MadHighU,
    MadHighS,
    BfeU,
    BfeS,
    SadU,
    SadS,
    /// Two halves of the first times the lower two bytes of the second, or the upper two, added to the third.
    Dot2Low,
    Dot2High,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    LeftWrap,
    LeftClamp,
    RightWrap,
    RightClamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Nearest,
    Zero,
    Down,
    Up,
}

/// Modifiers of an operation on floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub round: Round,
    pub flush: bool,
    pub saturate: bool,
}

impl Mode {
    pub const PLAIN: Mode = Mode {
        round: Round::Nearest,
        flush: false,
        saturate: false,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float2 {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    MinNan,
    MaxNan,
    CopySign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float1 {
    Abs,
    Neg,
    Sqrt,
    Rcp,
    Rsqrt,
    Exp2,
    Log2,
    Sin,
    Cos,
    Tanh,
}

/// Comparisons; those that end in `U` also hold where an operand is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    EqU,
    NeU,
    LtU,
    LeU,
    GtU,
    GeU,
    Num,
    Nan,
}

/// A fundamental type of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    BF16,
    F32,
    F64,
}

impl Type {
    pub fn bytes(self) -> u32 {
        match self {
            Type::U8 | Type::S8 => 1,
            Type::U16 | Type::S16 | Type::F16 | Type::BF16 => 2,
            Type::U32 | Type::S32 | Type::F32 => 4,
            Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }

    pub fn float(self) -> bool {
        matches!(self, Type::F16 | Type::BF16 | Type::F32 | Type::F64)
    }

    pub fn signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logic {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convert {
    pub from: Type,
    pub to: Type,
    /// To a whole number, where the result is a float too.
    pub whole: bool,
    pub round: Round,
    pub flush: bool,
    pub saturate: bool,
    /// Whether the operand's register has 64 bits.
    pub wide_from: bool,
    /// Whether the result's register has 64 bits.
    pub wide_to: bool,
}

/// Where a load or a store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Generic,
    In(Space),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub place: Place,
    /// Bytes of an element.
    pub size: u8,
    /// Elements of a lane.
    pub count: u8,
    pub signed: bool,
    /// Whether the registers have 64 bits.
    pub wide: bool,
    /// Whether the address has 64 bits.
    pub wide_address: bool,
    /// The kernel parameter that the address was made from, counted from 1; 0: not known.
    pub origin: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    Add,
    MinU,
    MinS,
    MaxU,
    MaxS,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// m16n8k16 on bf16
    Bf16K16,
    /// m16n8k8 on bf16
    Bf16K8,
    /// m16n8k16 on f16
    F16K16,
    /// m16n8k8 on tf32
    Tf32K8,
    /// m16n8k4 on tf32
    Tf32K4,
}

/// What an instruction does with its operands `d`, `a`, `b`, `c` and its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Nop,
    Mov32,
    Mov64,
    /// A 64-bit register from two of 32 bits.
    Pack64,
    /// Two registers of 32 bits (`d`, `b`) from one of 64.
    Unpack64,
    /// A 32-bit register from two of 16 bits.
    Pack32,
    Unpack32,
    /// A 64-bit register from four of 16 bits in the list.
    Pack16x4,
    Unpack16x4,
    I16(Int2),
    I32(Int2),
    I64(Int2),
    J16(Int1),
    J32(Int1),
    J64(Int1),
    Count32(Count),
    Count64(Count),
    T16(Int3),
    T32(Int3),
    T64(Int3),
    /// 16 by 16 bits to 32; signed or not.
    Wide16(bool),
    /// 32 by 32 bits to 64; signed or not.
    Wide32(bool),
    MadWide16(bool),
    MadWide32(bool),
    /// `c` and the row in `extra` are position and length.
    Bfi32,
    Bfi64,
    /// The table is in `extra`.
    Lop3,
    Prmt,
    Funnel(Shift),
    Fma,
    F32(Float2),
    F32Slow(Float2, Mode),
    FmaSlow(Mode),
    F64(Float2),
    Fma64,
    G32(Float1, Mode),
    G64(Float1),
    /// A pair of bf16 in each register; the mask of halves that count is in `extra`.
    Bf16(Float2),
    Bf16Fma,
    Bf16Neg,
    Bf16Abs,
    Convert(Convert),
    /// Two f32 (`a` above `b`) to a pair of bf16.
    PairBf16 {
        relu: bool,
    },
    /// Two f32 (`a` above `b`) to a pair of f16.
    PairF16,
    /// f32 to tf32, rounding ties away from zero.
    Tf32,
    Set16(Compare, bool),
    Set32(Compare, bool),
    Set64(Compare, bool),
    SetF32(Compare, bool),
    SetF64(Compare),
    /// Combines what the comparison just made in `d` (and its complement in `b`) with a predicate.
    Combine(Logic),
    Select32,
    Select64,
    /// `d = c >= 0 ? a : b`
    Slct32,
    SlctF32,
    PredMov,
    PredNot,
    PredLogic(Logic),
    Load(Access),
    Store(Access),
    Atom(Atomic, Access),
    CopyAsync {
        bytes: u8,
        wide_global: bool,
        origin: u8,
    },
    CopyCommit,
    CopyWait,
    LoadMatrix {
        count: u8,
        transpose: bool,
        wide_address: bool,
    },
    Mma(Matrix),
    Shuffle(Shuffle),
    Vote(Vote),
    ActiveMask,
    Redux(Int2),
    MatchAny,
    /// Adds a window to a shared or local address, or takes it off.
    ToGeneric(u64),
    FromGeneric(u64),
    /// Whether a generic address lies in a space.
    IsSpace(Space),
    Branch,
    /// By a table of targets in the list.
    BranchIndexed,
    Barrier,
    BarrierReduce(Vote),
    BarrierCount,
    WarpSync,
    Fence,
    Exit,
    Trap,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub struct Inst {
    pub op: Op,
    /// A predicate, and whether it is negated.
    pub guard: u32,
    pub negated: bool,
    pub d: u32,
    pub a: u32,
    pub b: u32,
    pub c: u32,
    /// A fourth operand, a table or a number of bytes.
    pub extra: u64,
    /// A range of [`Kernel::lists`].
    pub list: (u32, u8),
    pub line: u32,
}

/// What a row holds when a warp begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    ThreadX,
    ThreadY,
    ThreadZ,
    BlockX,
    BlockY,
    BlockZ,
    ThreadsX,
    ThreadsY,
    ThreadsZ,
    BlocksX,
    BlocksY,
    BlocksZ,
    Lane,
    Warp,
    Warps,
    LanesEqual,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    LanesFrom,
    DynamicShared,
    TotalShared,
}

/// A parameter of a kernel: its place in the bytes of all of them.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub offset: u32,
    pub size: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub name: String,
    pub code: Vec<Inst>,
    pub constants: Vec<Row>,
    pub lists: Vec<u32>,
    /// Rows of registers of a warp.
    pub rows: u32,
    /// Predicates of a warp.
    pub predicates: u32,
    pub presets: Vec<(u32, Preset)>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    /// Bytes of static shared memory, with gaps between variables.
    pub shared_bytes: u32,
    /// Bytes of static shared memory without the gaps.
    pub shared_declared: u32,
    /// Places of static variables in shared memory: offset and size.
    pub shared_variables: Vec<(u32, u32)>,
    /// Bytes of local memory of a thread.
    pub local_bytes: u32,
    pub max_threads: u32,
}
