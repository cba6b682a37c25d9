//! A proxy for HTTP/1.1 that does to a seeded share of the requests what networks
//! and stores do. One request a connection.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Which share of the requests, in thousandths, meets which fault.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    seed: u64,
    /// 503, without asking the store.
    unavailable: u64,
    /// 429, without asking the store.
    too_many: u64,
    /// 3 s before the store is asked.
    delayed: u64,
    /// The connection is reset before the store is asked.
    reset_before: u64,
    /// ... and after, instead of the answer.
    reset_after: u64,
    /// Of the conditional writes that landed: their answer is lost.
    lost: u64,
    /// Of the conditional writes that landed: they are answered with 503.
    doubted: u64,
    /// Before each request gets to the store.
    latency: Duration,
    /// Headers of these names do not get to the store.
    stripped: &'static [&'static str],
    /// What these credentials may not do: `list`, `read`, `write` or `delete`.
    denied: &'static str,
}

impl Faults {
    pub fn none() -> Self {
        Self {
            seed: 0,
            unavailable: 0,
            too_many: 0,
            delayed: 0,
            reset_before: 0,
            reset_after: 0,
            lost: 0,
            doubted: 0,
            latency: Duration::ZERO,
            stripped: &[],
            denied: "",
        }
    }

    pub fn all(seed: u64) -> Self {
        Self {
            seed,
            unavailable: 100,
            too_many: 50,
            delayed: 5,
            reset_before: 10,
            reset_after: 10,
            lost: 50,
            doubted: 50,
            ..Self::none()
        }
    }

    /// Every third landed conditional write is never answered.
    pub fn lost_answers(seed: u64) -> Self {
        Self {
            seed,
            lost: 333,
            ..Self::none()
        }
    }

    /// Every third landed conditional write is answered with 503, so that the
    /// client repeats it and finds the object there.
    pub fn unavailable_after(seed: u64) -> Self {
        Self {
            seed,
            doubted: 333,
            ..Self::none()
        }
    }

    /// A store that is so far away, and well.
    pub fn far(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::none()
        }
    }

    /// Nothing is ever done.
    pub fn down() -> Self {
        Self {
            unavailable: 1_000,
            ..Self::none()
        }
    }

    /// The store never hears of a condition, and so does every write.
    pub fn without_conditions() -> Self {
        Self {
            stripped: &["if-none-match", "x-goog-if-generation-match"],
            ..Self::none()
        }
    }

    /// Credentials that may do all but this.
    pub fn denying(action: &'static str) -> Self {
        Self {
            denied: action,
            ..Self::none()
        }
    }

    /// What becomes of a request.
    fn fault(&self, number: u64, is_conditional: bool) -> Fault {
        let mut at = draw(self.seed, number);
        let mut within = |share: u64| {
            let hit = at < share;
            at = at.wrapping_sub(share);
            hit
        };
        if within(self.unavailable) {
            Fault::Answer(503, "SlowDown")
        } else if within(self.too_many) {
            Fault::Answer(429, "TooManyRequests")
        } else if within(self.delayed) {
            Fault::Delay
        } else if within(self.reset_before) {
            Fault::ResetBefore
        } else if within(self.reset_after) {
            Fault::ResetAfter
        } else if is_conditional && within(self.lost) {
            Fault::Lost
        } else if is_conditional && within(self.doubted) {
            Fault::Doubted
        } else {
            Fault::None
        }
    }
}

/// A number below 1,000 for each request (splitmix64).
fn draw(seed: u64, number: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(number.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 1_000
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Answer(u16, &'static str),
    Delay,
    ResetBefore,
    ResetAfter,
    Lost,
    Doubted,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Answer(503, _) => "503",
            Fault::Answer(..) => "429",
            Fault::Delay => "3 s",
            Fault::ResetBefore => "reset before",
            Fault::ResetAfter => "reset after",
            Fault::Lost => "landed, answer lost",
            Fault::Doubted => "landed, answered 503",
        }
    }
}

struct Shared {
    upstream: String,
    faults: Faults,
    requests: AtomicU64,
    met: Mutex<BTreeMap<&'static str, u64>>,
}

/// The proxy, which ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts one in front of an address such as `http://127.0.0.1:9000`.
    pub async fn start(upstream: &str, faults: Faults) -> Self {
        let upstream = upstream.strip_prefix("http://").expect("a plain address");
        let shared = Arc::new(Shared {
            upstream: upstream.split('/').next().unwrap().to_owned(),
            faults,
            requests: AtomicU64::new(0),
            met: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&accepted);
                // A client that goes away is no fault of ours.
                tokio::spawn(async move { serve(client, &shared).await.ok() });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// What they met.
    pub fn summary(&self) -> String {
        let met = self.shared.met.lock().unwrap();
        format!("{} requests met {met:?}", self.requests())
    }
}

async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some((head, body)) = read_request(&mut client).await? else {
        return Ok(());
    };
    let lower = head.to_ascii_lowercase();
    let conditions = ["if-none-match: *", "x-goog-if-generation-match: 0"];
    let is_conditional = lower.starts_with("put ") && conditions.iter().any(|c| lower.contains(c));
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    if action(&lower) == shared.faults.denied {
        return client.write_all(&refusal(403, "AccessDenied")).await;
    }
    let mut fault = shared.faults.fault(number, is_conditional);
    if let Fault::Answer(status, code) = fault {
        shared.count(fault);
        return client.write_all(&refusal(status, code)).await;
    }
    tokio::time::sleep(shared.faults.latency).await;
    match fault {
        Fault::ResetBefore => {
            shared.count(fault);
            return reset(&client);
        }
        Fault::Delay => tokio::time::sleep(Duration::from_secs(3)).await,
        _ => {}
    }
    let answer = forward(shared, &head, &body).await?;
    let landed = answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.0 2");
    if !landed && matches!(fault, Fault::Lost | Fault::Doubted) {
        fault = Fault::None;
    }
    shared.count(fault);
    match fault {
        Fault::ResetAfter | Fault::Lost => reset(&client),
        Fault::Doubted => client.write_all(&refusal(503, "SlowDown")).await,
        _ => client.write_all(&answer).await,
    }
}

impl Shared {
    fn count(&self, fault: Fault) {
        *self.met.lock().unwrap().entry(fault.name()).or_default() += 1;
    }
}

/// What a request asks for, in S3's XML and in Azure's.
fn action(head: &str) -> &'static str {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap_or_default());
    match method {
        "get" if target.contains("list-type=") || target.contains("comp=list") => "list",
        "get" | "head" => "read",
        "delete" => "delete",
        "post" if target.contains("delete") || target.contains("comp=batch") => "delete",
        _ => "write",
    }
}

fn refusal(status: u16, code: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    (head + &body).into_bytes()
}

/// Closed with what is unsent thrown away: the other side sees a reset.
fn reset(client: &TcpStream) -> io::Result<()> {
    client.set_zero_linger()
}

/// The head with its empty line, and the body; nothing if the client has closed.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    };
    let body = read.split_off(end);
    let head = String::from_utf8(read).expect("a head of ASCII");
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("transfer-encoding:"), "{head}");
    if lower.contains("expect: 100-continue") {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |text| text.trim().parse().expect("a length"));
    let mut body = body;
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

/// The whole answer of the store, which is asked to close the connection after it.
async fn forward(shared: &Shared, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let dropped = |line: &&str| {
        let name = line
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let own = ["connection", "expect"];
        !own.contains(&name.as_str()) && !shared.faults.stripped.contains(&name.as_str())
    };
    let lines: Vec<&str> = head.trim_end().lines().filter(dropped).collect();
    let head = format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
    let mut store = TcpStream::connect(&shared.upstream).await?;
    store.write_all(head.as_bytes()).await?;
    store.write_all(body).await?;
    let mut answer = Vec::new();
    store.read_to_end(&mut answer).await?;
    Ok(answer)
}
