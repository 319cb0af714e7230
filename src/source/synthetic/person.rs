//! One person in the API's shape: the same keys in the same order, the same types, values of the same kinds.

use serde::Serialize;
use uuid::Uuid;

use super::dice::Dice;
use super::nations::{Nation, PostCode};
use crate::config::Gender;
use crate::record::Timestamp;

/// 1944-01-01 to the end of 2001, where the API's dates of birth lie.
const BORN_MS: std::ops::Range<i64> = -820_540_800_000..1_009_843_200_000;
/// 2002-01-01 to the end of 2022, where the API's dates of registration lie.
const REGISTERED_MS: std::ops::Range<i64> = 1_009_843_200_000..1_672_531_200_000;
/// The day on which ages are counted, 2026-01-01. The API takes the day of the request; a fixed one keeps the same
/// seed's bytes the same for ever.
const AGES_AT_MS: i64 = 1_767_225_600_000;
/// 365.2425 days.
const YEAR_MS: i64 = 31_556_952_000;

const ADJECTIVES: &[&str] = &[
    "angry",
    "beautiful",
    "bigger",
    "brave",
    "calm",
    "crazy",
    "gentle",
    "happy",
    "lazy",
    "orange",
    "purple",
    "quiet",
    "sad",
    "silver",
    "tiny",
    "yellow",
];
const ANIMALS: &[&str] = &[
    "badger",
    "bear",
    "butterfly",
    "cat",
    "duck",
    "elephant",
    "frog",
    "gorilla",
    "koala",
    "leopard",
    "otter",
    "panda",
    "rabbit",
    "swan",
    "tiger",
    "zebra",
];
const PASSWORDS: &[&str] = &["aurora", "bluebird", "chester", "domino", "eclipse", "qwert123", "rocky1", "sunshine"];

const TIME_ZONES: &[(&str, &str)] = &[
    ("-12:00", "Eniwetok, Kwajalein"),
    ("-8:00", "Pacific Time (US & Canada)"),
    ("-5:00", "Eastern Time (US & Canada), Bogota, Lima"),
    ("-3:30", "Newfoundland"),
    ("-1:00", "Azores, Cape Verde Islands"),
    ("0:00", "Western Europe Time, London, Lisbon, Casablanca"),
    ("+1:00", "Brussels, Copenhagen, Madrid, Paris"),
    ("+3:30", "Tehran"),
    ("+5:45", "Kathmandu"),
    ("+8:00", "Beijing, Perth, Singapore, Hong Kong"),
    ("+9:30", "Adelaide, Darwin"),
    ("+12:00", "Auckland, Wellington, Fiji, Kamchatka"),
];

/// A user as the API writes it.
#[derive(Serialize)]
pub(super) struct Person {
    gender: &'static str,
    name: Name,
    location: Location,
    email: String,
    login: Login,
    dob: Dated,
    registered: Dated,
    phone: String,
    cell: String,
    id: NationalId,
    picture: Picture,
    nat: &'static str,
}

#[derive(Serialize)]
struct Name {
    title: &'static str,
    first: &'static str,
    last: &'static str,
}

#[derive(Serialize)]
struct Location {
    street: Street,
    city: &'static str,
    state: &'static str,
    country: &'static str,
    postcode: NumberOrText,
    coordinates: Coordinates,
    timezone: TimeZone,
}

#[derive(Serialize)]
struct Street {
    number: u32,
    name: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u32),
    Text(String),
}

#[derive(Serialize)]
struct Coordinates {
    latitude: String,
    longitude: String,
}

#[derive(Serialize)]
struct TimeZone {
    offset: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
struct Login {
    uuid: Uuid,
    username: String,
    password: &'static str,
    salt: String,
    md5: String,
    sha1: String,
    sha256: String,
}

#[derive(Serialize)]
struct Dated {
    date: Timestamp,
    age: i64,
}

#[derive(Serialize)]
struct NationalId {
    name: &'static str,
    value: Option<String>,
}

#[derive(Serialize)]
struct Picture {
    large: String,
    medium: String,
    thumbnail: String,
}

impl Person {
    /// Draws a person. What does not depend on the nationality is drawn first, so that, as with the API, one seed
    /// repeats its `login.uuid` under another nationality.
    pub(super) fn draw(dice: &mut Dice, nation: &'static Nation, gender: Gender) -> Self {
        let login = login(dice);
        let dob = dated(dice, &BORN_MS);
        let registered = dated(dice, &REGISTERED_MS);
        let picture = picture(dice, gender);
        let name = name(dice, nation, gender);
        Self {
            gender: gender.as_str(),
            email: format!("{}.{}@example.com", ascii(name.first), ascii(name.last)),
            name,
            location: location(dice, nation),
            login,
            dob,
            registered,
            phone: dice.fill(nation.phone),
            cell: dice.fill(nation.cell),
            id: NationalId {
                name: nation.id.map_or("", |(name, _)| name),
                value: nation.id.map(|(_, pattern)| dice.fill(pattern)),
            },
            picture,
            nat: nation.code,
        }
    }
}

fn login(dice: &mut Dice) -> Login {
    Login {
        uuid: dice.uuid(),
        username: format!("{}{}{}", dice.pick(ADJECTIVES), dice.pick(ANIMALS), dice.between(100, 999)),
        password: dice.pick(PASSWORDS),
        salt: dice.alphanumeric(8),
        md5: dice.hex(32),
        sha1: dice.hex(40),
        sha256: dice.hex(64),
    }
}

fn dated(dice: &mut Dice, range_ms: &std::ops::Range<i64>) -> Dated {
    let at_ms = dice.time(range_ms);
    // The ranges lie within the years 0 to 9999, which is all that a Timestamp asks for.
    let date = Timestamp::from_unix_ms(at_ms).unwrap_or_else(Timestamp::now);
    Dated { date, age: (AGES_AT_MS - at_ms) / YEAR_MS }
}

fn picture(dice: &mut Dice, gender: Gender) -> Picture {
    let (folder, count) = match gender {
        Gender::Female => ("women", 97),
        Gender::Male => ("men", 100),
    };
    let number = dice.below(count);
    let url = |size: &str| format!("https://randomuser.me/api/portraits/{size}{folder}/{number}.jpg");
    Picture { large: url(""), medium: url("med/"), thumbnail: url("thumb/") }
}

fn name(dice: &mut Dice, nation: &Nation, gender: Gender) -> Name {
    let (titles, first): (&[&'static str], _) = match (gender, nation.code) {
        (Gender::Female, "CH") => (&["Madame", "Mademoiselle"], &nation.female),
        (Gender::Male, "CH") => (&["Monsieur"], &nation.male),
        (Gender::Female, _) => (&["Miss", "Mrs", "Ms"], &nation.female),
        (Gender::Male, _) => (&["Mr"], &nation.male),
    };
    Name { title: dice.pick(titles), first: dice.pick(first), last: dice.pick(&nation.last) }
}

fn location(dice: &mut Dice, nation: &Nation) -> Location {
    let number = dice.between(1, 9999);
    let mut name = dice.pick(&nation.streets).to_owned();
    if dice.chance(nation.blank_percent) {
        name.push(' ');
    }
    let (offset, description) = dice.pick(TIME_ZONES);
    Location {
        street: Street { number, name },
        city: dice.pick(&nation.cities),
        state: dice.pick(&nation.states),
        country: nation.country,
        postcode: match nation.postcode {
            PostCode::Number(first, last) => NumberOrText::Number(dice.between(*first, *last)),
            PostCode::Text(pattern) => NumberOrText::Text(dice.fill(pattern)),
        },
        coordinates: Coordinates { latitude: degrees(dice, 90), longitude: degrees(dice, 180) },
        timezone: TimeZone { offset, description },
    }
}

/// Within `limit` degrees of 0, with the API's four decimals.
fn degrees(dice: &mut Dice, limit: u32) -> String {
    let sign = if dice.chance(50) { "-" } else { "" };
    format!("{sign}{}.{:04}", dice.below(limit), dice.below(10_000))
}

/// A name as the API writes it in e-mail addresses: ASCII letters and digits, lower case.
fn ascii(name: &str) -> String {
    let mut text = if name.is_ascii() { name.to_owned() } else { deunicode::deunicode(name) };
    text.retain(|c| c.is_ascii_alphanumeric());
    text.make_ascii_lowercase();
    text
}
