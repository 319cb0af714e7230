//! The limits of one evaluation.
//!
//! The interpreter has none of its own, and no way to stop it. But it asks its data for the program at every single step,
//! and it lets filters of ours take part: [`Bounded`] counts the steps, and the filters here charge for every value that
//! is made (`charged` puts them into the program). What goes over a limit is unwound, which the interpreter allows: it
//! shares nothing but the program, which it does not change.
//!
//! Steps and bytes are the same on every machine, so that a record fails everywhere or nowhere; time is for the rest.

use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use jaq_core::box_iter::box_once;
use jaq_core::data::HasLut;
use jaq_core::native::{Filter as Named, Fun};
use jaq_core::native::{bome, v};
use jaq_core::{DataT, Error, Exn, Lut, Native, RunPtr};
use jaq_json::Val;
use jaq_std::ValT as _;

/// The most terms that are evaluated for one record.
const STEPS_MAX: u32 = 200_000;
/// The most bytes of values that are made for one record.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a value counts besides its text.
const VALUE_BYTES: usize = 16;
/// The deepest nesting of a value, as `serde_json` has it too, less a little.
const DEPTH_MAX: usize = 100;
/// The most stack that an evaluation uses: half of what a thread of the runtime has.
const STACK_BYTES_MAX: usize = 1024 * 1024;
/// The longest evaluation.
const TIME_MAX: Duration = Duration::from_secs(5);
/// The clock is looked at once in so many steps.
const STEPS_PER_LOOK: u32 = 64;

/// The names of the filters here. No program can write them.
pub(super) const CHECK: &str = "checked value";
/// `l * r`, checked before a text is repeated.
pub(super) const TIMES: &str = "checked product";

/// A limit that was reached.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Steps,
    Bytes,
    Depth,
    Stack,
    Time,
}

impl Limit {
    fn reason(self) -> String {
        match self {
            Self::Steps => format!("it takes more than {STEPS_MAX} steps; does it end?"),
            Self::Bytes => format!("it makes more than {} MiB of values", BYTES_MAX / 1024 / 1024),
            Self::Depth => format!("it nests values deeper than {DEPTH_MAX}"),
            Self::Stack => "it calls itself too deeply; does it end?".to_owned(),
            Self::Time => format!("it takes longer than {}s", TIME_MAX.as_secs()),
        }
    }

    /// Ends the evaluation. The program is never built to abort where it would unwind.
    fn stop(self) -> ! {
        // Unlike a panic, this tells nobody but `within`.
        panic::resume_unwind(Box::new(self))
    }
}

/// What is left for one evaluation.
#[derive(Debug)]
pub(super) struct Budget {
    steps: Cell<u32>,
    bytes: Cell<usize>,
    stack: usize,
    began: Instant,
}

impl Budget {
    /// Evaluates within the limits.
    ///
    /// # Errors
    /// The limit that was reached, or what broke in the interpreter.
    pub(super) fn within<T>(evaluate: impl FnOnce(&Self) -> T) -> Result<T, String> {
        let budget = Self {
            steps: Cell::new(STEPS_MAX),
            bytes: Cell::new(BYTES_MAX),
            stack: stack_address(),
            began: Instant::now(),
        };
        panic::catch_unwind(AssertUnwindSafe(|| evaluate(&budget))).map_err(|payload| {
            let limit = payload.downcast_ref::<Limit>().map(|limit| limit.reason());
            limit.unwrap_or_else(|| "the interpreter failed; this is a bug".to_owned())
        })
    }

    fn step(&self) {
        let left = self.steps.get().checked_sub(1).unwrap_or_else(|| Limit::Steps.stop());
        self.steps.set(left);
        if left.is_multiple_of(STEPS_PER_LOOK) && self.began.elapsed() > TIME_MAX {
            Limit::Time.stop();
        }
        if self.stack.abs_diff(stack_address()) > STACK_BYTES_MAX {
            Limit::Stack.stop();
        }
    }

    fn charge(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().checked_sub(bytes).unwrap_or_else(|| Limit::Bytes.stop()));
    }

    /// Charges for a value as if nothing of it were shared: written as text, it is not.
    fn charge_value(&self, value: &Val, depth: usize) {
        if depth > DEPTH_MAX {
            Limit::Depth.stop();
        }
        self.charge(VALUE_BYTES);
        match value {
            Val::TStr(text) | Val::BStr(text) => self.charge(text.len()),
            Val::Arr(items) => items.iter().for_each(|item| self.charge_value(item, depth + 1)),
            Val::Obj(map) => map.iter().for_each(|(key, item)| {
                self.charge_value(key, depth + 1);
                self.charge_value(item, depth + 1);
            }),
            Val::Null | Val::Bool(_) | Val::Num(_) => {}
        }
    }
}

/// Where the stack is now, about.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// What the interpreter works on: JSON values, and [`Bounded`].
#[derive(Debug)]
pub(super) struct Language;

impl DataT for Language {
    type V<'a> = Val;
    type Data<'a> = Bounded<'a>;
}

/// The program, and what is left for its evaluation.
#[derive(Clone, Copy)]
pub(super) struct Bounded<'a> {
    pub(super) program: &'a Lut<Language>,
    pub(super) budget: &'a Budget,
}

impl<'a> HasLut<'a, Language> for Bounded<'a> {
    fn lut(&self) -> &'a Lut<Language> {
        self.budget.step();
        self.program
    }
}

/// The filters that charge: our own two, and the two of the library that could run away within one step.
pub(super) fn filters() -> impl Iterator<Item = Fun<Language>> {
    let check = Native::<Language>::new(|cv| {
        cv.0.data().budget.charge_value(&cv.1, 0);
        box_once(Ok(cv.1))
    })
    .with_paths(|cv| box_once(Ok(cv.1)))
    .with_update(|cv, update| update(cv.1));
    let others: [Named<RunPtr<Language>>; 3] = [
        (TIMES, v(2), |mut cv| {
            let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
            let budget = cv.0.data().budget;
            budget.charge(repeated(&left, &right));
            let product = left * right;
            if let Ok(product) = &product {
                budget.charge_value(product, 0);
            }
            bome(product)
        }),
        ("range", v(3), |mut cv| {
            let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
            let budget = cv.0.data().budget;
            let mut next = Some(Ok(from));
            Box::new(std::iter::from_fn(move || {
                budget.step();
                budget.charge(VALUE_BYTES);
                let value = match next.take()? {
                    Ok(value) => value,
                    Err(error) => return Some(Err(Exn::from(error))),
                };
                let zero = Val::from(0_usize);
                let goes_on = match by.cmp(&zero) {
                    Ordering::Greater => value < to,
                    Ordering::Less => value > to,
                    Ordering::Equal => value != to,
                };
                next = goes_on.then(|| value.clone() + by.clone());
                goes_on.then_some(Ok(value))
            }))
        }),
        ("fromjson", v(0), |cv| {
            let budget = cv.0.data().budget;
            let text = match cv.1.try_as_utf8_bytes_owned() {
                Ok(text) => text,
                Err(error) => return box_once(Err(Exn::from(error))),
            };
            if nesting(&text) > DEPTH_MAX {
                Limit::Depth.stop();
            }
            budget.charge(text.len() * VALUE_BYTES);
            let fail = |e| Exn::from(Error::str(format_args!("cannot parse it as JSON: {e}")));
            let values: Vec<_> = jaq_json::read::parse_many(&text).map(|value| value.map_err(fail)).collect();
            Box::new(values.into_iter())
        }),
    ];
    let others = others.map(jaq_core::native::run::<Language>);
    std::iter::once((CHECK, v(0), check)).chain(others)
}

/// The bytes of a text that is repeated; nothing for other products.
fn repeated(left: &Val, right: &Val) -> usize {
    let (text, times) = match (left.as_bytes(), right.as_bytes()) {
        (Some(text), None) => (text, right),
        (None, Some(text)) => (text, left),
        _ => return 0,
    };
    let Some(times) = times.as_f64() else { return 0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and less than 0 is 0")]
    let times = times as usize;
    text.len().saturating_mul(times)
}

/// How deeply brackets are nested outside of strings.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_that_of_brackets_outside_of_strings() {
        assert_eq!(nesting(br#"{"a":[1,{"b":"]]{{\"[["}],"c":[]}"#), 3);
        assert_eq!(nesting(b"]]]["), 1);
    }
}
