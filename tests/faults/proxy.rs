//! Stands between the program and a service, and misbehaves on request.
//!
//! Kafka tells its clients where its brokers are, so a proxy that only passed bytes on would be left after the first answer.
//! This one reads Kafka's frames and puts its own port in the place of the broker's. Of Cassandra's frames it knows as much as
//! is needed to answer a write with an error: it speaks protocol 4 without compression, and refuses the rest.

mod cql;
mod kafka;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

pub(crate) use cql::Refusal;

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything on.
    Pass,
    /// Holds everything back, with all connections open, until the mode changes.
    Stall,
    /// Closes every connection, and every new one.
    Cut,
    /// Passes writes on and never passes their answers back; Kafka's connection is closed instead.
    LoseAcknowledgements,
    /// Cassandra: answers every write with this error, and passes nothing of it on.
    Refuse(Refusal),
}

/// What is spoken through it.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    /// Anything.
    Bytes,
    /// Kafka; the ports of the broker and of the proxy.
    Kafka { broker: u16, proxy: u16 },
    /// Cassandra's protocol 4.
    Cql,
}

/// A listener that forwards.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where the program is to connect.
    pub(crate) address: String,
    mode: watch::Sender<Mode>,
    /// Answers that were lost or given by the proxy.
    spoilt: Arc<AtomicUsize>,
}

impl Proxy {
    /// In front of a Kafka broker.
    pub(crate) fn kafka(target: &str, runtime: &Handle) -> Self {
        let broker = port_of(target);
        Self::start(target, runtime, |proxy| Protocol::Kafka { broker, proxy })
    }

    /// In front of a Cassandra, able to refuse writes.
    pub(crate) fn cql(target: &str, runtime: &Handle) -> Self {
        Self::start(target, runtime, |_| Protocol::Cql)
    }

    /// In front of anything.
    pub(crate) fn bytes(target: &str, runtime: &Handle) -> Self {
        Self::start(target, runtime, |_| Protocol::Bytes)
    }

    fn start(target: &str, runtime: &Handle, protocol: impl Fn(u16) -> Protocol) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let spoilt = Arc::new(AtomicUsize::new(0));
        let (protocol, modes, counter) = (protocol(address.port()), mode.subscribe(), Arc::clone(&spoilt));
        runtime.spawn(accept(listener, target.to_owned(), protocol, modes, counter));
        Self { address: address.to_string(), mode, spoilt }
    }

    /// From now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many answers were lost, or were the proxy's own.
    pub(crate) fn spoilt(&self) -> usize {
        self.spoilt.load(Ordering::SeqCst)
    }
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

async fn accept(
    listener: TcpListener,
    target: String,
    protocol: Protocol,
    modes: watch::Receiver<Mode>,
    spoilt: Arc<AtomicUsize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if *modes.borrow() == Mode::Cut {
            continue;
        }
        // A service that is away closes the client's connection too.
        let Ok(server) = TcpStream::connect(&target).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let link = Link {
            protocol,
            asked: Mutex::default(),
            to_client: Mutex::new(to_client),
            to_server: Mutex::new(to_server),
            spoilt: Arc::clone(&spoilt),
        };
        let modes = modes.clone();
        tokio::spawn(async move {
            // Whichever side ends first takes the other with it.
            tokio::select! {
                _ = link.pump(from_client, modes.clone(), true) => {}
                _ = link.pump(from_server, modes, false) => {}
            }
        });
    }
}

/// What becomes of a frame.
enum Fate {
    Forward(Vec<u8>),
    Reply(Vec<u8>),
    Drop,
    Close,
}

/// The writes of a connection that are not answered yet, by what their answer will carry.
type Asked = HashSet<[u8; 4]>;

/// One connection of a client, and the one it stands for.
struct Link {
    protocol: Protocol,
    asked: Mutex<Asked>,
    to_client: Mutex<OwnedWriteHalf>,
    to_server: Mutex<OwnedWriteHalf>,
    spoilt: Arc<AtomicUsize>,
}

impl Link {
    /// Passes on what comes from one side, until it ends or is cut.
    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut modes: watch::Receiver<Mode>,
        is_request: bool,
    ) -> io::Result<()> {
        let mut cuts = modes.clone();
        let cut = async { cuts.wait_for(|mode| *mode == Mode::Cut).await.is_ok() };
        let passing = async {
            loop {
                let frame = self.read(&mut from).await?;
                let mode = *modes.wait_for(|mode| *mode != Mode::Stall).await.map_err(io::Error::other)?;
                let fate = self.fate_of(frame, mode, is_request).await;
                if !matches!(fate, Fate::Forward(_)) && !matches!(mode, Mode::Pass) {
                    self.spoilt.fetch_add(1, Ordering::SeqCst);
                }
                let (bytes, is_onwards) = match fate {
                    Fate::Forward(bytes) => (bytes, true),
                    Fate::Reply(bytes) => (bytes, false),
                    Fate::Drop => continue,
                    Fate::Close => return Ok(()),
                };
                let to = if is_request == is_onwards { &self.to_server } else { &self.to_client };
                to.lock().await.write_all(&bytes).await?;
            }
        };
        tokio::select! {
            ended = passing => ended,
            _ = cut => Ok(()),
        }
    }

    async fn fate_of(&self, frame: Vec<u8>, mode: Mode, is_request: bool) -> Fate {
        let mut asked = self.asked.lock().await;
        match self.protocol {
            Protocol::Bytes => Fate::Forward(frame),
            Protocol::Kafka { .. } if is_request => kafka::request(frame, &mut asked),
            Protocol::Kafka { broker, proxy } => kafka::answer(frame, mode, &mut asked, broker, proxy),
            Protocol::Cql if is_request => cql::request(frame, mode, &mut asked),
            Protocol::Cql => cql::answer(frame, mode, &mut asked),
        }
    }

    /// One frame, or what there is where nothing is known of frames.
    async fn read(&self, from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
        let (mut frame, length) = match self.protocol {
            Protocol::Bytes => {
                let mut some = vec![0; 64 * 1024];
                let read = from.read(&mut some).await?;
                some.truncate(read);
                return if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(some) };
            }
            Protocol::Kafka { .. } => {
                let mut size = [0; 4];
                from.read_exact(&mut size).await?;
                (size.to_vec(), u32::from_be_bytes(size))
            }
            Protocol::Cql => {
                let mut header = [0; 9];
                from.read_exact(&mut header).await?;
                (header.to_vec(), u32::from_be_bytes(header[5..].try_into().unwrap()))
            }
        };
        let start = frame.len();
        frame.resize(start + length as usize, 0);
        from.read_exact(&mut frame[start..]).await?;
        Ok(frame)
    }
}
