//! The network between one process and the brokers: holds requests and answers of chosen kinds, delays, loses, goes
//! half-open and cuts. Of Kafka's protocol it knows the length and the kind of a request, and that answers come in order.

use std::{
    collections::VecDeque,
    net::TcpListener as Bound,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{mpsc, watch},
    time::Instant,
};

/// What a lost packet costs: the sender notices and sends it again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// The largest frame: Kafka's own default limit.
const MAX_FRAME: usize = 100 << 20;

/// A kind of request, by its number in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Api(i16);

impl Api {
    pub(crate) const PRODUCE: Self = Self(0);
    pub(crate) const ADD_OFFSETS_TO_TXN: Self = Self(25);
    pub(crate) const END_TXN: Self = Self(26);
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// What happens to frames now.
#[derive(Clone, Default)]
struct Rules {
    held: Vec<(Api, Side)>,
    delay: Duration,
    loss: f64,
    half_open: bool,
    cut: bool,
    /// Rises with each cut: connections of an earlier one end.
    cuts: u64,
}

struct Shared {
    rules: watch::Sender<Rules>,
    /// Frames that were held since the last reset.
    caught: watch::Sender<u64>,
}

/// One process's way to the brokers. Without faults until told.
pub(crate) struct Proxy {
    addresses: String,
    shared: Arc<Shared>,
}

/// Proxies outlive the runtime of a single test.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

impl Proxy {
    /// Passes on what comes to each of these to the port beside it.
    pub(crate) fn start(ways: Vec<(Bound, u16)>) -> Self {
        let addresses = ways
            .iter()
            .map(|(bound, _)| bound.local_addr().expect("its address").to_string());
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(Rules::default()),
            caught: watch::Sender::new(0),
        });
        for (bound, to) in ways {
            bound.set_nonblocking(true).expect("a socket");
            runtime().spawn(accept(bound, to, Arc::clone(&shared)));
        }
        Self { addresses, shared }
    }

    /// `HOST:PORT`, one for each broker.
    pub(crate) fn addresses(&self) -> &str {
        &self.addresses
    }

    /// Lets no frame of this kind pass; nor what comes after it on its connection.
    pub(crate) fn hold(&self, api: Api, side: Side) {
        self.shared
            .rules
            .send_modify(|rules| rules.held.push((api, side)));
    }

    /// Waits until frames are held. A request stays held when its process is gone; [`Proxy::release`] delivers it then,
    /// as a slow network would, and [`Proxy::cut`] loses it.
    pub(crate) async fn caught(&self, within: Duration) {
        assert!(
            self.is_caught(within).await,
            "no frame was held within {within:?}"
        );
    }

    /// Whether frames are held, after waiting for so long at most.
    pub(crate) async fn is_caught(&self, within: Duration) -> bool {
        let mut caught = self.shared.caught.subscribe();
        let waited = tokio::time::timeout(within, caught.wait_for(|&count| count > 0)).await;
        waited.is_ok()
    }

    pub(crate) fn release(&self) {
        self.shared.rules.send_modify(|rules| rules.held.clear());
    }

    /// Each frame takes so much longer; some are lost at first.
    pub(crate) fn slow(&self, delay: Duration, loss: f64) {
        self.shared.rules.send_modify(|rules| {
            rules.delay = delay;
            rules.loss = loss;
        });
    }

    /// Takes everything, and passes nothing on.
    pub(crate) fn half_open(&self) {
        self.shared
            .rules
            .send_modify(|rules| rules.half_open = true);
    }

    /// Ends all connections and takes none.
    pub(crate) fn cut(&self) {
        self.shared.rules.send_modify(|rules| {
            rules.cut = true;
            rules.cuts += 1;
        });
    }

    /// Ends all connections; new ones are without faults.
    pub(crate) fn reset(&self) {
        self.shared.rules.send_modify(|rules| {
            *rules = Rules {
                cuts: rules.cuts + 1,
                ..Rules::default()
            };
        });
        self.shared.caught.send_replace(0);
    }

    /// Without faults again; what waited goes on.
    pub(crate) fn heal(&self) {
        self.shared.rules.send_modify(|rules| {
            *rules = Rules {
                cuts: rules.cuts,
                ..Rules::default()
            };
        });
        self.shared.caught.send_replace(0);
    }
}

async fn accept(bound: Bound, to: u16, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(bound).expect("a socket");
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let (cut, cuts) = {
            let rules = shared.rules.borrow();
            (rules.cut, rules.cuts)
        };
        if cut {
            continue;
        }
        tokio::spawn(async move {
            let mut rules = shared.rules.subscribe();
            tokio::select! {
                () = pass_on(client, to, &shared) => {}
                _ = rules.wait_for(|rules| rules.cuts != cuts) => {}
            }
        });
    }
}

/// One connection, until both sides have ended it.
async fn pass_on(client: TcpStream, to: u16, shared: &Shared) {
    let mut rules = shared.rules.subscribe();
    drop(rules.wait_for(|rules| !rules.half_open).await);
    let Ok(broker) = TcpStream::connect(("127.0.0.1", to)).await else {
        return;
    };
    drop((client.set_nodelay(true), broker.set_nodelay(true)));
    let (client_reads, client_writes) = client.into_split();
    let (broker_reads, broker_writes) = broker.into_split();
    let asked = Mutex::new(VecDeque::new());
    tokio::join!(
        one_way(client_reads, broker_writes, Side::Request, &asked, shared),
        one_way(broker_reads, client_writes, Side::Answer, &asked, shared),
    );
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    side: Side,
    asked: &Mutex<VecDeque<Api>>,
    shared: &Shared,
) {
    let (frames, mut waiting) = mpsc::unbounded_channel();
    let read = async move {
        while let Some(frame) = read_frame(&mut from).await {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let api = match side {
                Side::Request => {
                    let api = Api(i16::from_be_bytes([frame[4], frame[5]]));
                    asked.push_back(api);
                    api
                }
                Side::Answer => asked.pop_front().unwrap_or(Api(-1)),
            };
            drop(asked);
            if frames.send((api, shared.due(), frame)).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((api, due, frame)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            shared.may_pass(api, side).await;
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
        drop(to.shutdown().await);
    };
    tokio::join!(read, write);
}

/// A frame with its length in front.
async fn read_frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let bytes = usize::try_from(i32::from_be_bytes(length)).ok()?;
    assert!((4..MAX_FRAME).contains(&bytes), "a frame of {bytes} bytes");
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

impl Shared {
    /// When a frame that came now arrives.
    fn due(&self) -> Instant {
        let rules = self.rules.borrow();
        let mut after = rules.delay;
        // Lost again and again, each time with less luck needed.
        while rules.loss > 0.0 && rand::random_bool(rules.loss) {
            after += RETRANSMISSION;
        }
        Instant::now() + after
    }

    async fn may_pass(&self, api: Api, side: Side) {
        let mut rules = self.rules.subscribe();
        let held = rules.borrow().held.contains(&(api, side));
        if held {
            self.caught.send_modify(|count| *count += 1);
        }
        let passes = |rules: &Rules| !rules.half_open && !rules.held.contains(&(api, side));
        drop(rules.wait_for(passes).await);
    }
}
