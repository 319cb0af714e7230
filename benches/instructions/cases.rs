//! The cases whose instructions `make bench-check` counts (check.sh): each a step of a record's way, on 500 users, without
//! any I/O. benches/record.rs has the same steps and tells times.
//!
//! Without an argument it names the cases. With a name it runs that case twice: first to warm up, then inside of
//! `counted_region`, whose instructions valgrind counts; what a case is made of was made before. A new case is a line of [`CASES`].
//!
//! It is a binary with a feature of its own, and no bench, so that building it leaves out what only tests need.

#[path = "../fixtures/mod.rs"]
mod fixtures;

use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::process::ExitCode;

use bytes::Bytes;
use userpipe::bus::partition_of;
use userpipe::encoding::Codec;
use userpipe::record::{Timestamp, User, With, format, without_secrets};
use userpipe::source::random_user::users_of_page;
use userpipe::transform::Transform;

pub(crate) use fixtures::USERS;
use fixtures::{at, body, changes, codec_of_a_registry, dry_run, raw_users, records};

/// A step over all users, ready to be run; it gives how many it has done.
pub(crate) type Step = Box<dyn FnMut() -> usize>;

/// A case's name, and what makes its step ready, which is not counted.
type Case = (&'static str, fn() -> Step);

/// The cases, sorted by their names.
pub(crate) const CASES: [Case; 18] = [
    ("avro_decode", avro_decode),
    ("avro_encode", avro_encode),
    ("batching", || batching(&With::default())),
    ("batching_with_all", || batching(&With::all())),
    ("decode", || decode(&With::default())),
    ("decode_with_all", || decode(&With::all())),
    ("encode", || encode(&With::default())),
    ("encode_with_all", || encode(&With::all())),
    ("format", || formatted(With::default())),
    ("format_with_all", || formatted(With::all())),
    ("page_to_records", page_to_records),
    ("partition", partition),
    ("timestamp_parse", timestamp_parse),
    ("timestamp_print", timestamp_print),
    ("transform_map", || {
        transform(None, Some(r#".first_name |= ascii_upcase | .email |= sub("@.*"; "@example.com")"#))
    }),
    ("transform_where", || transform(Some(r#".gender == "female""#), None)),
    ("transform_where_regex", || transform(Some(r#".email | test("^[a-m]")"#), None)),
    ("without_secrets", secrets),
];

fn main() -> ExitCode {
    let Some(wanted) = std::env::args().nth(1) else {
        let is_told = CASES.iter().all(|(name, _)| writeln!(stdout(), "{name}").is_ok());
        return if is_told { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    let Some((_, ready)) = CASES.iter().find(|(name, _)| *name == wanted) else { return ExitCode::from(2) };
    let mut step = ready();
    // A step that does nothing, or not to every user, has no count.
    let is_whole = step() == USERS && counted_region(&mut step) == USERS;
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What valgrind counts, found by its name.
#[inline(never)]
fn counted_region(step: &mut Step) -> usize {
    black_box(step())
}

/// The inputs of the two runs, for steps that use theirs up.
fn twice<T: Clone>(input: T) -> impl FnMut() -> T {
    let mut rounds = vec![input.clone(), input];
    move || rounds.pop().expect("a case is run twice")
}

fn page_to_records() -> Step {
    let body = body();
    Box::new(move || {
        let users = users_of_page(body.clone(), USERS).expect("a good answer");
        users.iter().flat_map(|raw| format(raw, at(), &With::default())).map(black_box).count()
    })
}

fn formatted(with: With) -> Step {
    let page = raw_users();
    Box::new(move || page.iter().flat_map(|raw| format(raw, at(), &with)).map(black_box).count())
}

fn secrets() -> Step {
    let page = raw_users();
    Box::new(move || page.iter().filter(|raw| !black_box(without_secrets(raw)).get().is_empty()).count())
}

fn encode(with: &With) -> Step {
    encoded_by(Codec::new(false, with.clone()), records(with))
}

fn encoded_by(codec: Codec, records: Vec<User>) -> Step {
    Box::new(move || records.iter().map(|user| black_box(codec.encode(user))).filter(|value| !value.is_empty()).count())
}

fn decode(with: &With) -> Step {
    let codec = Codec::new(false, with.clone());
    let values: Vec<Bytes> = records(with).iter().map(|user| codec.encode(user)).collect();
    Box::new(move || values.iter().flat_map(|value| codec.decode(value, at())).map(black_box).count())
}

fn avro_encode() -> Step {
    let (_, codec) = codec();
    encoded_by(codec, records(&With::default()))
}

fn avro_decode() -> Step {
    let (runtime, codec) = codec();
    // The prepared codec borrows the codec, and a step has to live by itself.
    let codec: &'static Codec = Box::leak(Box::new(codec));
    let values: Vec<Bytes> = records(&With::default()).iter().map(|user| codec.encode(user)).collect();
    let prepared = runtime.block_on(codec.prepare(values.iter().map(|value| &**value))).expect("the registry answers");
    Box::new(move || values.iter().flat_map(|value| prepared.decode(value, at())).map(black_box).count())
}

fn codec() -> (tokio::runtime::Runtime, Codec) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let codec = runtime.block_on(codec_of_a_registry());
    (runtime, codec)
}

/// The requests of a write to Cassandra.
fn batching(with: &With) -> Step {
    let (run, changes) = (dry_run(with), changes(with));
    Box::new(move || {
        let (requests, bytes) = black_box(run.write(black_box(&changes)));
        if requests > 0 && bytes > 0 { changes.len() } else { 0 }
    })
}

fn transform(filter: Option<&str>, map: Option<&str>) -> Step {
    let transform = Transform::compile(filter, map, With::default()).ok().flatten().expect("it compiles");
    let mut input = twice(records(&With::default()));
    Box::new(move || input().into_iter().flat_map(|user| transform.apply(user)).map(black_box).count())
}

fn partition() -> Step {
    let keys: Vec<String> = records(&With::default()).iter().map(|user| user.id().to_string()).collect();
    Box::new(move || keys.iter().filter(|key| black_box(partition_of(black_box(key.as_bytes()), 3)) < 3).count())
}

fn timestamp_parse() -> Step {
    let texts: Vec<String> = times().iter().map(Timestamp::to_string).collect();
    Box::new(move || texts.iter().flat_map(|text| black_box(text.as_str()).parse::<Timestamp>()).map(black_box).count())
}

fn timestamp_print() -> Step {
    let times = times();
    // as `serde` writes them into a record
    Box::new(move || times.iter().flat_map(|at| serde_json::to_vec(black_box(at))).map(black_box).count())
}

/// A time of each user.
fn times() -> Vec<Timestamp> {
    records(&With::default()).iter().map(User::dob).collect()
}
