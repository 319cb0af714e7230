//! What goes wrong, where and when: drawn from a seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A call of one of the contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// `Ledger::store`.
    Store,
    /// `Ledger::mark`.
    Mark,
    /// The other calls of the ledger.
    Ledger,
    /// `Producer::send` to the topic.
    Send,
    /// `Consumer::poll`.
    Poll,
    /// `Consumer::commit`.
    Commit,
    /// `Consumer::watermarks` and `Consumer::committed`.
    Survey,
    /// `Consumer::close`.
    Leave,
    /// `Sink::write`.
    Write,
    /// `Producer::send` to the dead letters.
    Bury,
    /// The process as a whole, at no call in particular.
    Process,
}

/// What goes wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// An error, and no effect.
    Before,
    /// The effect, and an error: the acknowledgement is lost.
    After,
    /// Both of them and success, record by record.
    Part,
    /// An error that needs a person, who is quick.
    Blocked,
    /// Success, after others that came later.
    Late,
    /// No answer, ever.
    Stall,
    /// The process dies before the effect.
    CrashBefore,
    /// The process dies between the effect and the answer.
    CrashAfter,
    /// The session of the group member runs out, as if it had been stopped for a while.
    Expired,
    /// SIGKILL, whatever it is doing.
    Kill,
    /// SIGTERM.
    Stop,
}

/// Everything that can go wrong.
pub(super) const POSSIBLE: [(Place, &[Fault]); 11] = {
    use Fault::{After, Before, Blocked, CrashAfter, CrashBefore, Expired, Kill, Late, Part, Stall, Stop};
    const CALL: &[Fault] = &[Before, After, Late, Stall, CrashBefore, CrashAfter];
    const MANY: &[Fault] = &[Before, After, Part, Late, Stall, CrashBefore, CrashAfter];
    [
        (Place::Store, CALL),
        (Place::Mark, CALL),
        (Place::Ledger, CALL),
        (Place::Send, MANY),
        // An answer that gets lost would be records that get lost: the contract of a poll forbids it.
        (Place::Poll, &[Before, Late, Stall, CrashBefore, CrashAfter, Expired]),
        (Place::Commit, CALL),
        (Place::Survey, &[Before, Late, Stall]),
        (Place::Leave, &[Before, After, CrashBefore]),
        (Place::Write, &[Before, After, Part, Blocked, Late, Stall, CrashBefore, CrashAfter]),
        (Place::Bury, MANY),
        (Place::Process, &[Kill, Stop]),
    ]
};

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn hash(state: u64) -> u64 {
    let mixed = state.wrapping_add(GAMMA);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// How often each fault came.
pub(super) type Tally = BTreeMap<(Place, Fault), u64>;

/// Draws that depend on the seed, and on who draws; not on what the other tasks do meanwhile.
/// `SplitMix64` (Steele, Lea and Flood, 2014): one addition and a hash, which is cheap even without optimization.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64, process: u64, role: Place) -> Self {
        let parts = [seed, process, role as u64];
        Self(AtomicU64::new(parts.into_iter().fold(0, |state, part| hash(state ^ part))))
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&self, end: u64) -> u64 {
        hash(self.0.fetch_add(GAMMA, Ordering::Relaxed)) % end
    }

    /// A number from `first` to `last`, both included.
    pub(super) fn between(&self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}
