//! The cases whose instructions `make bench-check` counts (check.sh): each a step of a record's way, on 500 users, without
//! any I/O. benches/record.rs has the same steps and tells times.
//!
//! Without an argument it names the cases. With a name it runs that case twice: first to warm up, then inside of
//! `counted_region`, whose instructions valgrind counts; what a case is made of was made before. A new case is a line of [`CASES`].
//!
//! It is a binary with a feature of its own, and no bench, so that building it leaves out what only tests need.

use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use userpipe::bus::partition_of;
use userpipe::config::{Encoding, RegistryConfig};
use userpipe::encoding::Codec;
use userpipe::encoding::registry::Registry;
use userpipe::encoding::subject::{Subject, schema};
use userpipe::record::{Timestamp, User, With, format, without_secrets};
use userpipe::source::random_user::users_of_page;
use userpipe::source::synthetic::users;
use userpipe::transform::Transform;

/// Users a case: one default page.
pub(crate) const USERS: usize = 500;

/// A step over all users, ready to be run; it gives how many it has done.
pub(crate) type Step = Box<dyn FnMut() -> usize>;

/// A case's name, and what makes its step ready, which is not counted.
type Case = (&'static str, fn() -> Step);

/// The cases, sorted by their names.
pub(crate) const CASES: [Case; 16] = [
    ("avro_decode", avro_decode),
    ("avro_encode", avro_encode),
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

/// The present of all cases: the real one would be another each time.
fn at() -> Timestamp {
    Timestamp::saturating_from_unix_ms(1_795_269_600_123)
}

fn raw_users() -> Vec<Box<RawValue>> {
    users("bench", 1, USERS, &[], None).expect("synthetic users")
}

fn records(with: &With) -> Vec<User> {
    raw_users().iter().map(|raw| format(raw, at(), with).expect("a whole user")).collect()
}

/// The inputs of the two runs, for steps that use theirs up.
fn twice<T: Clone>(input: T) -> impl FnMut() -> T {
    let mut rounds = vec![input.clone(), input];
    move || rounds.pop().expect("a case is run twice")
}

fn page_to_records() -> Step {
    let info = serde_json::json!({ "seed": "bench", "results": USERS, "page": 1, "version": "1.4" });
    let body = serde_json::to_vec(&serde_json::json!({ "results": raw_users(), "info": info })).expect("an answer");
    let body = Bytes::from(body);
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
    let values: Vec<Vec<u8>> = records(with).iter().map(|user| codec.encode(user)).collect();
    Box::new(move || values.iter().flat_map(|value| codec.decode(value, at())).map(black_box).count())
}

fn avro_encode() -> Step {
    let (_, codec) = codec_of_a_registry();
    encoded_by(codec, records(&With::default()))
}

fn avro_decode() -> Step {
    let (runtime, codec) = codec_of_a_registry();
    // The prepared codec borrows the codec, and a step has to live by itself.
    let codec: &'static Codec = Box::leak(Box::new(codec));
    let values: Vec<Vec<u8>> = records(&With::default()).iter().map(|user| codec.encode(user)).collect();
    let prepared = runtime.block_on(codec.prepare(values.iter().map(Vec::as_slice))).expect("the registry answers");
    Box::new(move || values.iter().flat_map(|value| prepared.decode(value, at())).map(black_box).count())
}

/// A codec that writes and reads Avro under the schema of a registry that has nothing else.
fn codec_of_a_registry() -> (tokio::runtime::Runtime, Codec) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let codec = runtime.block_on(async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let schema = schema(Encoding::Avro, &With::default()).expect("Avro has a schema").to_string();
        let answer = serde_json::json!({ "id": 1, "version": 1, "schema": schema }).to_string();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let app = axum::Router::new().fallback(async move || answer.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config = RegistryConfig {
            url,
            may_register: false,
            login: None,
            tls: None,
            request_timeout: Duration::from_mins(1),
        };
        let registry = Arc::new(Registry::new(&config).expect("a client"));
        let subject = Subject::of(Arc::clone(&registry), "bench", Encoding::Avro, &With::default()).expect("a subject");
        Codec::default().reading(registry).writing(subject.format(false).await.expect("it is registered"))
    });
    (runtime, codec)
}

fn transform(filter: Option<&str>, map: Option<&str>) -> Step {
    let transform = Transform::compile(filter, map, With::default()).ok().flatten().expect("it compiles");
    let mut input = twice(records(&With::default()));
    Box::new(move || input().into_iter().flat_map(|user| transform.apply(user)).map(black_box).count())
}

fn partition() -> Step {
    let keys: Vec<String> = records(&With::default()).iter().map(|user| user.id.to_string()).collect();
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
    records(&With::default()).iter().map(|user| user.dob).collect()
}
