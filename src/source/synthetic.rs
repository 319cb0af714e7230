//! Users made here, without a network: the API's shape, its 21 nationalities and its rules for seeds and pages.
//!
//! The same seed, page and filters give the same bytes on every machine, fewer users are a prefix of more, and
//! every user passes the formatter.

mod dice;
mod nations;
mod person;

use serde_json::value::RawValue;

use super::{Page, Source, seed};
use crate::config::{Gender, SourceConfig};
use crate::error::{Error, Kind, Result};
use crate::record::Timestamp;
use dice::Dice;
use nations::{NATIONS, Nation};
use person::Person;

/// A source of synthetic users.
#[derive(Clone, Debug)]
pub struct Synthetic {
    seed: String,
    seed_is_drawn: bool,
    next_page: u32,
    page_size: usize,
    nationalities: Vec<String>,
    gender: Option<Gender>,
}

impl Synthetic {
    /// Users of `config`'s seed (a new one where it names none), from page `starting_page` (1 is the first) on.
    pub fn new(config: &SourceConfig, starting_page: u32) -> Self {
        Self {
            seed: config.seed.clone().unwrap_or_else(seed::draw),
            seed_is_drawn: config.seed.is_none(),
            next_page: starting_page,
            page_size: config.page_size,
            nationalities: config.nationalities.clone(),
            gender: config.gender,
        }
    }

    /// Begins a new run: a seed that was drawn is drawn anew; under a given one pages go on.
    pub fn start_run(&mut self) {
        if self.seed_is_drawn {
            self.start_again(&seed::draw());
        }
    }

    /// Begins a run with this drawn seed; without an effect on a given one.
    pub(super) fn start_again(&mut self, seed: &str) {
        if self.seed_is_drawn {
            seed.clone_into(&mut self.seed);
            self.next_page = 1;
        }
    }

    /// Goes on with this page.
    pub(super) fn go_on_from(&mut self, page: u32) {
        self.next_page = page;
    }

    /// The seed, given or drawn.
    pub fn seed(&self) -> &str {
        &self.seed
    }

    /// Whether the seed is one that was given.
    pub(super) fn seed_is_given(&self) -> bool {
        !self.seed_is_drawn
    }

    /// The page that comes next, for a later run to start with.
    pub fn next_page(&self) -> u32 {
        self.next_page
    }
}

impl Source for Synthetic {
    async fn page(&mut self, count: usize) -> Result<Page> {
        let count = count.min(self.page_size);
        let users = users(&self.seed, self.next_page, count, &self.nationalities, self.gender)?;
        self.next_page = self.next_page.saturating_add(1);
        Ok(Page { users, fetched_at: Timestamp::now() })
    }
}

/// The first `count` users of a page. As with the API, page 2 of seed `abc` is page 1 of seed `abc2`.
///
/// An empty list of nationalities is all of them; codes are upper case.
///
/// # Errors
/// [`Kind::Config`] for a nationality that the API does not have.
pub fn users(
    seed: &str,
    page: u32,
    count: usize,
    nationalities: &[String],
    gender: Option<Gender>,
) -> Result<Vec<Box<RawValue>>> {
    let nations = chosen(nationalities)?;
    let mut dice = if page <= 1 { Dice::new(seed) } else { Dice::new(&format!("{seed}{page}")) };
    (0..count).map(|_| user(&mut dice, &nations, gender)).collect()
}

fn chosen(nationalities: &[String]) -> Result<Vec<&'static Nation>> {
    if nationalities.is_empty() {
        return Ok(NATIONS.iter().collect());
    }
    let find = |code: &String| {
        NATIONS.iter().find(|nation| nation.code == code).ok_or_else(|| {
            Error::new(Kind::Config, format!("no synthetic users of nationality {code}"))
                .hint(format!("one of {}", crate::config::NATIONALITIES.join(", ")))
        })
    };
    nationalities.iter().map(find).collect()
}

/// The gender is drawn even where it is given, so that a filter changes as little as it can.
fn user(dice: &mut Dice, nations: &[&'static Nation], gender: Option<Gender>) -> Result<Box<RawValue>> {
    let drawn = if dice.chance(50) { Gender::Female } else { Gender::Male };
    let nation = nations[dice.below(u32::try_from(nations.len()).unwrap_or(1)) as usize];
    let person = Person::draw(dice, nation, gender.unwrap_or(drawn));
    serde_json::value::to_raw_value(&person)
        .map_err(|e| Error::new(Kind::Failed, "cannot write a synthetic user").because(e))
}

#[cfg(test)]
mod tests;
