//! Whether there is room for what the pump would fetch. Pure.

/// The most records that wait for the handle; one poll may go over it.
pub(super) const RECORDS_MAX: usize = 2_000;

/// The most bytes of keys, values and headers that wait for the handle; one poll may go over it.
pub(super) const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The limits with what lies between a look of the pump and the next: one that still fetches must not be woken, since
/// that costs it the fetch, and one that holds has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    #[default]
    Free,
    /// Over a limit, and not yet down to half of it: the pump is to hold when it looks.
    Full,
    /// The same, and the pump holds.
    Held,
    /// There is room again, and the pump that holds is to be told.
    Again,
}

impl Room {
    /// Takes note of what waits now.
    pub(super) fn measure(&mut self, records: usize, bytes: usize) {
        let holds = matches!(self, Self::Held | Self::Again);
        if records >= RECORDS_MAX || bytes >= BYTES_MAX {
            *self = if holds { Self::Held } else { Self::Full };
        } else if records <= RECORDS_MAX / 2 && bytes <= BYTES_MAX / 2 {
            *self = if holds { Self::Again } else { Self::Free };
        }
    }

    /// The pump looks: whether it is to hold.
    pub(super) fn hold(&mut self) -> bool {
        let holds = matches!(self, Self::Full | Self::Held);
        *self = if holds { Self::Held } else { Self::Free };
        holds
    }

    /// Whether the pump holds and there is room; true once for each time.
    pub(super) fn is_there_again(&mut self) -> bool {
        let is_due = *self == Self::Again;
        if is_due {
            *self = Self::Free;
        }
        is_due
    }
}
