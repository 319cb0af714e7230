//! Connecting to servers that answer as Cassandra does, or not at all.

mod tls;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Consistency, Replication, TableConfig};
use crate::secret::Secret;

const OPCODE_ERROR: u8 = 0x00;
const OPCODE_READY: u8 = 0x02;
const OPCODE_AUTHENTICATE: u8 = 0x03;
const OPCODE_AUTH_RESPONSE: u8 = 0x0F;

fn config(contact_points: &[String]) -> CassandraConfig {
    CassandraConfig {
        contact_points: contact_points.to_vec(),
        login: Some(("alice".to_owned(), Secret::new("hunter2"))),
        tls: None,
        plaintext_login_is_allowed: false,
        keyspace: "ks".to_owned(),
        table: TableConfig { table: "t".to_owned(), columns: vec!["id"] },
        local_dc: None,
        consistency: Consistency::LocalQuorum,
        replication: Replication::Simple(1),
        request_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        statements_in_flight_max: 8,
        rewrite_at: None,
    }
}

/// The answer to one request: opcode and body.
type Reply = (u8, Vec<u8>);

fn error_body(code: u32, message: &str) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend(short_string(message));
    body
}

fn short_string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A server on a free port that answers each request's (version, opcode, body) as `answer` says, in protocol 4.
async fn server(answer: fn(u8, u8, &[u8]) -> Reply) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer));
        }
    });
    address
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: fn(u8, u8, &[u8]) -> Reply,
) -> std::io::Result<()> {
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).await?;
        let (opcode, body) = answer(header[0], header[4], &body);
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        stream.write_all(&[0x84, 0, header[2], header[3], opcode]).await?;
        stream.write_all(&length).await?;
        stream.write_all(&body).await?;
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test]
async fn a_server_of_protocol_4_without_lz4_is_talked_to_as_it_can() {
    let address = server(|version, _, body| {
        if version == 5 {
            let text = "Invalid or unsupported protocol version (5); supported versions are (3/v3, 4/v4, 5/v5-beta)";
            (OPCODE_ERROR, error_body(0x000A, text))
        } else if body.windows(3).any(|w| w == b"lz4") {
            (OPCODE_ERROR, error_body(0x000A, "This instance does not support LZ4 compression"))
        } else {
            (OPCODE_READY, Vec::new())
        }
    })
    .await;
    let answering = preflight(&config(&[address]), soon()).await.expect("it answers in the end");
    assert_eq!(answering.speech, Speech { version: Version::V4, compression: Compression::None });
}

#[test]
fn only_what_leaves_the_machine_is_compressed() {
    let first = |ip: &str| {
        let address = SocketAddr::new(ip.parse().expect("an address"), 9042);
        dialects(address).next().map(|speech| (speech.version, speech.compression))
    };
    for here in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(first(here), Some((Version::V5, Compression::None)), "{here}");
    }
    for elsewhere in ["10.0.0.1", "2001:db8::1"] {
        assert_eq!(first(elsewhere), Some((Version::V5, Compression::Lz4)), "{elsewhere}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_names_the_options() {
    let address = server(|version, opcode, _| match (version, opcode) {
        (5, _) => (OPCODE_ERROR, error_body(0x000A, "Invalid or unsupported protocol version (5)")),
        (_, OPCODE_AUTH_RESPONSE) => {
            let text = "Provided username alice and/or password are incorrect";
            (OPCODE_ERROR, error_body(0x0100, text))
        }
        _ => (OPCODE_AUTHENTICATE, short_string("org.apache.cassandra.auth.PasswordAuthenticator")),
    })
    .await;
    let refused = connect(&config(std::slice::from_ref(&address))).await.err().expect("a wrong password");
    assert_eq!(refused.kind(), Kind::Refused, "{refused}");
    assert_eq!(
        refused.to_string(),
        format!("Cassandra refuses the login at {address}: Provided username alice and/or password are incorrect")
    );
    let hint = refused.hint_text().unwrap_or_default();
    assert!(hint.contains("--cassandra-user") && hint.contains("USERPIPE_CASSANDRA_PASSWORD"), "{hint}");

    let mut anonymous = config(&[address]);
    anonymous.login = None;
    let refused = connect(&anonymous).await.err().expect("no login");
    assert_eq!(refused.kind(), Kind::Refused, "{refused}");
}

#[tokio::test]
async fn the_first_contact_point_that_answers_is_taken() {
    let dead = dead_address();
    let alive = server(|_, _, _| (OPCODE_READY, Vec::new())).await;
    let contact_points = ["no-such-host.invalid:9042".to_owned(), dead, alive.clone()];
    let answering = preflight(&config(&contact_points), soon()).await.expect("the third answers");
    assert_eq!(answering.address.to_string(), alive);
}

#[tokio::test]
async fn where_nothing_answers_it_is_unreachable_with_the_cause() {
    let dead = dead_address();
    let error = connect(&config(std::slice::from_ref(&dead))).await.err().expect("nothing listens");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().starts_with(&format!("cannot reach Cassandra at {dead}: ")), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.hint_text().is_some());

    let error = connect(&config(&["no-such-host.invalid:9042".to_owned()])).await.err().expect("no such name");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("cannot resolve"), "{error}");
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let began = Instant::now();
    let error = connect(&config(&[address])).await.err().expect("it never answers");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

fn dead_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}
