//! What one record costs on its way, without any I/O: format, encode, decode, and the hash that chooses its partition.
//!
//! The users are synthetic, of all nationalities, in the shape and size of the API's own. `plain_value` is the yardstick: the
//! same bytes parsed to a `serde_json::Value` by somebody who does nothing with them.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use serde_json::value::RawValue;
use userpipe::config::{Encoding, RegistryConfig};
use userpipe::encoding::Codec;
use userpipe::encoding::registry::Registry;
use userpipe::encoding::subject::{Subject, schema};
use userpipe::record::{Timestamp, User, With, format, without_secrets};
use userpipe::source::synthetic::users;

/// Users a round: one default page.
const USERS: usize = 500;

fn page() -> Vec<Box<RawValue>> {
    users("bench", 1, USERS, &[], None).expect("synthetic users")
}

fn records() -> Vec<User> {
    let at = Timestamp::now();
    page().iter().map(|raw| format(raw, at).expect("a whole user")).collect()
}

fn api_to_record(criterion: &mut Criterion) {
    let (page, at) = (page(), Timestamp::now());
    let mut group = criterion.benchmark_group("api_to_record");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("format", |b| {
        b.iter(|| page.iter().flat_map(|raw| format(raw, at)).count());
    });
    group.bench_function("without_secrets", |b| {
        b.iter(|| page.iter().map(|raw| without_secrets(raw).get().len()).sum::<usize>());
    });
    group.bench_function("plain_value", |b| {
        b.iter(|| page.iter().filter(|raw| serde_json::from_str::<Value>(raw.get()).is_ok()).count());
    });
    group.finish();
}

fn wire(criterion: &mut Criterion) {
    let (records, codec, at) = (records(), Codec::default(), Timestamp::now());
    let values: Vec<Vec<u8>> = records.iter().map(|user| codec.encode(user)).collect();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("encode", |b| {
        b.iter(|| records.iter().map(|user| codec.encode(user).len()).sum::<usize>());
    });
    group.bench_function("decode", |b| {
        b.iter(|| values.iter().filter(|value| codec.decode(value, at).is_ok()).count());
    });
    group.finish();
}

/// The same with Avro under a registered schema.
fn avro(criterion: &mut Criterion) {
    let (records, at) = (records(), Timestamp::now());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let codec = runtime.block_on(codec_of_a_registry());
    let values: Vec<Vec<u8>> = records.iter().map(|user| codec.encode(user)).collect();
    let codec = &codec;
    let prepared = runtime.block_on(codec.prepare(values.iter().map(Vec::as_slice))).expect("the registry answers");
    assert!(values.iter().all(|value| prepared.decode(value, at).is_ok()), "it is read");
    let mut group = criterion.benchmark_group("avro");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("encode", |b| {
        b.iter(|| records.iter().map(|user| codec.encode(user).len()).sum::<usize>());
    });
    group.bench_function("decode", |b| {
        b.iter(|| values.iter().filter(|value| prepared.decode(value, at).is_ok()).count());
    });
    group.finish();
}

/// A codec that writes and reads the schema of a registry that has nothing else.
async fn codec_of_a_registry() -> Codec {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let schema = schema(Encoding::Avro, &With::default()).expect("Avro has a schema").to_string();
    let answer = serde_json::json!({ "id": 1, "version": 1, "schema": schema }).to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let app = axum::Router::new().fallback(async move || answer.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config =
        RegistryConfig { url, may_register: false, login: None, tls: None, request_timeout: Duration::from_secs(5) };
    let registry = Arc::new(Registry::new(&config).expect("a client"));
    let subject = Subject::of(Arc::clone(&registry), "bench", Encoding::Avro, &With::default()).expect("a subject");
    Codec::default().reading(registry).writing(subject.format(false).await.expect("it is registered"))
}

fn keys(criterion: &mut Criterion) {
    let keys: Vec<String> = records().iter().map(|user| user.id.to_string()).collect();
    let mut group = criterion.benchmark_group("keys");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("murmur2", |b| {
        b.iter_batched(
            || &keys,
            |keys| {
                keys.iter()
                    .fold(0, |sum: u32, key| sum.wrapping_add(krafka::producer::murmur2(black_box(key.as_bytes()))))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, api_to_record, wire, avro, keys);
criterion_main!(benches);
