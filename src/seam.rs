//! The seams of a record's way: places between two steps at which a process that dies leaves the most to be put right.
//!
//! With the feature `failpoints`, which only tests have, the environment variable `FAILPOINTS` says at which of them the
//! process ends and when: `after-ack=5*off->return` lets five pass and dies at the sixth, without a chance to do anything
//! (SIGKILL). Without the feature a seam is nothing at all.

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seam {
    /// A page has come from the source; nothing is stored.
    AfterFetch,
    /// A batch is in the outbox; nothing is sent.
    AfterStore,
    /// The bus has acknowledged; nothing is marked.
    AfterAck,
    /// What was acknowledged is marked.
    AfterMark,
    /// The sink has answered for a batch; nothing is committed.
    AfterWrite,
    /// What can never be written is about to become dead letters.
    BeforeDeadLetter,
    /// The dead letters are on the bus; nothing is committed.
    AfterDeadLetter,
    /// What is durable is about to be committed.
    BeforeCommit,
    /// It is committed.
    AfterCommit,
}

impl Seam {
    /// All of them, in the order of a record's way.
    pub const ALL: [Seam; 9] = [
        Seam::AfterFetch,
        Seam::AfterStore,
        Seam::AfterAck,
        Seam::AfterMark,
        Seam::AfterWrite,
        Seam::BeforeDeadLetter,
        Seam::AfterDeadLetter,
        Seam::BeforeCommit,
        Seam::AfterCommit,
    ];

    /// Its name in `FAILPOINTS`.
    pub fn name(self) -> &'static str {
        match self {
            Seam::AfterFetch => "after-fetch",
            Seam::AfterStore => "after-store",
            Seam::AfterAck => "after-ack",
            Seam::AfterMark => "after-mark",
            Seam::AfterWrite => "after-write",
            Seam::BeforeDeadLetter => "before-dead-letter",
            Seam::AfterDeadLetter => "after-dead-letter",
            Seam::BeforeCommit => "before-commit",
            Seam::AfterCommit => "after-commit",
        }
    }

    /// Passes it, or dies at it.
    #[cfg(feature = "failpoints")]
    pub(crate) fn pass(self) {
        if fail::eval(self.name(), |_| ()).is_some() {
            // Of its own hand, so that it happens here and now; nothing of the process is left to run.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Passes it.
    #[cfg(not(feature = "failpoints"))]
    #[inline]
    #[expect(clippy::unused_self, reason = "it is used where there is a way to die")]
    pub(crate) fn pass(self) {}
}

/// Arms the seams that `FAILPOINTS` names, for as long as the answer lives.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() -> impl Sized {
    fail::FailScenario::setup()
}
