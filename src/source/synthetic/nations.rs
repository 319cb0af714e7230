//! The API's 21 nationalities: what a person of each looks like. Names come from the `fake` crate's locales where
//! it has one, and from tables of our own where it lacks one; the other words are our own throughout.

mod anglo;
mod eastern;
mod northern;
mod western;

use std::sync::LazyLock;

/// A list of words as the tables have it.
pub(super) enum Words {
    /// A table of the `fake` crate.
    Table(&'static [&'static str]),
    /// Words with `|` between them.
    Piped(&'static str),
}

impl Words {
    fn list(&self) -> Vec<&'static str> {
        match self {
            Words::Table(words) => words.to_vec(),
            Words::Piped(words) => words.split('|').collect(),
        }
    }
}

/// First names.
pub(super) enum FirstNames {
    /// The `fake` crate does not tell them apart.
    Any(Words),
    /// Women's and men's, with `|` between them.
    ByGender(&'static str, &'static str),
}

/// How the API gives post codes.
pub(super) enum PostCode {
    /// An integer from the first to the second, both included.
    Number(u32, u32),
    /// A string after this pattern.
    Text(&'static str),
}

/// The tables of one nationality. Patterns are those of `Dice::fill`.
pub(super) struct Tables {
    code: &'static str,
    country: &'static str,
    first: FirstNames,
    last: Words,
    streets: &'static str,
    cities: &'static str,
    states: &'static str,
    postcode: PostCode,
    phone: &'static str,
    cell: &'static str,
    /// Name and pattern of the national id; the API has none for IR, NZ, TR and UA.
    id: Option<(&'static str, &'static str)>,
    /// How many streets of a hundred end in a stray blank.
    blank_percent: u32,
}

/// One nationality, its lists split.
pub(super) struct Nation {
    /// The code, upper case.
    pub(super) code: &'static str,
    /// The country's English name.
    pub(super) country: &'static str,
    /// Women's first names.
    pub(super) female: Vec<&'static str>,
    /// Men's first names.
    pub(super) male: Vec<&'static str>,
    /// Family names.
    pub(super) last: Vec<&'static str>,
    /// Streets.
    pub(super) streets: Vec<&'static str>,
    /// Cities.
    pub(super) cities: Vec<&'static str>,
    /// States or what comes next to them.
    pub(super) states: Vec<&'static str>,
    /// Post codes.
    pub(super) postcode: &'static PostCode,
    /// Pattern of telephone numbers.
    pub(super) phone: &'static str,
    /// Pattern of mobile numbers.
    pub(super) cell: &'static str,
    /// Name and pattern of the national id.
    pub(super) id: Option<(&'static str, &'static str)>,
    /// How many streets of a hundred end in a stray blank.
    pub(super) blank_percent: u32,
}

impl Nation {
    fn new(tables: &'static Tables) -> Self {
        let (female, male) = match &tables.first {
            FirstNames::Any(words) => (words.list(), words.list()),
            FirstNames::ByGender(female, male) => (Words::Piped(female).list(), Words::Piped(male).list()),
        };
        Self {
            code: tables.code,
            country: tables.country,
            female,
            male,
            last: tables.last.list(),
            streets: tables.streets.split('|').collect(),
            cities: tables.cities.split('|').collect(),
            states: tables.states.split('|').collect(),
            postcode: &tables.postcode,
            phone: tables.phone,
            cell: tables.cell,
            id: tables.id,
            blank_percent: tables.blank_percent,
        }
    }
}

/// All nationalities, by code.
pub(super) static NATIONS: LazyLock<Vec<Nation>> = LazyLock::new(|| {
    let groups = [anglo::TABLES, eastern::TABLES, northern::TABLES, western::TABLES];
    let mut nations: Vec<_> = groups.into_iter().flatten().map(Nation::new).collect();
    nations.sort_by_key(|nation| nation.code);
    nations
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_the_apis_nationalities_and_no_list_has_a_hole() {
        let codes: Vec<_> = NATIONS.iter().map(|n| n.code).collect();
        assert_eq!(codes, crate::config::NATIONALITIES);
        for nation in NATIONS.iter() {
            for list in [&nation.female, &nation.male, &nation.last, &nation.streets, &nation.cities, &nation.states] {
                assert!(list.len() >= 6, "{} has a list of {list:?}", nation.code);
                assert!(list.iter().all(|word| !word.trim().is_empty()), "{} has a hole in {list:?}", nation.code);
            }
            let without_id = ["IR", "NZ", "TR", "UA"].contains(&nation.code);
            assert_eq!(nation.id.is_none(), without_id, "{}", nation.code);
        }
    }
}
