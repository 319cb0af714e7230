//! The cases: a fault, whether it is among the representative ones, what it needs, and what happens.

mod brokers;
mod disks;
mod members;
mod records;
mod seams;
mod signals;
mod sockets;
mod stores;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};

use crate::report::{Table, Tally};
use crate::world::World;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    // The longest come first, so that none of them is waited for alone.
    let all = [
        stores::cases(),
        members::cases(),
        brokers::cases(),
        seams::cases(),
        sockets::cases(),
        records::cases(),
        disks::cases(),
        signals::cases(),
    ];
    all.into_iter().flatten().collect()
}

type Body = Box<dyn Fn(&mut World) + Send>;

/// One fault.
pub(crate) struct Case {
    name: String,
    fault: &'static str,
    /// Whether `make test` runs it too.
    pub(crate) is_representative: bool,
    /// What it needs that is not here.
    lacks: Option<&'static str>,
    body: Body,
}

impl Case {
    /// A case of `make test-faults`.
    pub(crate) fn new(name: &str, fault: &'static str, body: impl Fn(&mut World) + Send + 'static) -> Self {
        Self { name: name.to_owned(), fault, is_representative: false, lacks: None, body: Box::new(body) }
    }

    /// Also a case of `make test`.
    pub(crate) fn representative(self) -> Self {
        Self { is_representative: true, ..self }
    }

    /// Ignored unless `is_here`; `what` says what it would take.
    pub(crate) fn needs(self, what: &'static str, is_here: bool) -> Self {
        Self { lacks: self.lacks.or((!is_here).then_some(what)), ..self }
    }

    /// As a test whose result also goes to the table.
    pub(crate) fn into_trial(self, table: &Arc<Table>) -> Trial {
        let Self { name, fault, body, .. } = self;
        let has_services = std::env::var_os("USERPIPE_TEST_KAFKA").is_some();
        let lacks = self.lacks.or((!has_services).then_some("needs live services: make test-faults"));
        let (table, shown) = (Arc::clone(table), name.clone());
        let run = move || {
            let seed = seed();
            let tally = Arc::new(Mutex::new(Tally::default()));
            let mut world = None;
            let ended = catch_unwind(AssertUnwindSafe(|| {
                body(world.insert(World::new(&name, seed, Arc::clone(&tally))));
            }));
            let said = world.as_ref().map(World::last_words).unwrap_or_default();
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let again = format!("USERPIPE_TEST_SEED={seed} make test-faults CASE={name}");
            table.add(fault, tally, ended.is_err().then(|| again.clone()));
            ended.map_err(|panic| Failed::from(format!("{}\n{said}again: {again}", text_of(panic.as_ref()))))
        };
        Trial::test(shown, run).with_kind(lacks.unwrap_or_default()).with_ignored_flag(lacks.is_some())
    }
}

/// As given, to repeat a failure, or drawn.
fn seed() -> u64 {
    let given = std::env::var("USERPIPE_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into())
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
