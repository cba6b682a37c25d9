//! The web app of `benches/peers`, and an HTTP/1.1 client to load it with.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, runtime::Runtime};

use crate::{
    Result,
    closed_loop::{self, Caller, Sample},
    dataset::TOP,
    machine::LANCE_CPU_THREADS,
    rounds::{Knobs, System},
    server::free_address,
    tables::TABLE,
};

/// One process for each of two cores, as such apps are run.
const WORKERS: usize = 2;

/// How the app is written.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    Tutorial,
    Tuned,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Mode::Tutorial => "tutorial",
            Mode::Tuned => "tuned",
        }
    }
}

/// A running app; killed when it is dropped.
pub struct WebApp {
    child: Child,
    name: String,
    address: SocketAddr,
    bodies: Arc<[Bytes]>,
    clients: Rc<Runtime>,
}

impl WebApp {
    /// Starts it on the replicas and waits until every worker can answer. The
    /// first start installs Python packages.
    pub fn start(
        mode: Mode,
        replicas: &[PathBuf],
        queries: &[Vec<f32>],
        knobs: Knobs,
        clients: &Rc<Runtime>,
    ) -> Result<Self> {
        let address = free_address()?;
        let replicas: Vec<_> = replicas.iter().map(|r| r.display().to_string()).collect();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/run.sh");
        let mut child = Command::new("bash")
            .arg(script)
            .args([&address.port().to_string(), &replicas.join(",")])
            .args([TABLE, mode.word(), &WORKERS.to_string()])
            .env("NPROBES", knobs.nprobes.to_string())
            .env("REFINE_FACTOR", knobs.refine_factor.to_string())
            // Ours; the app has what it would have anywhere.
            .env_remove(LANCE_CPU_THREADS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let body = |vector: &Vec<f32>| json!({"vector": vector, "limit": TOP}).to_string().into();
        let app = Self {
            child,
            name: format!("web app, {}", mode.word()),
            address,
            bodies: queries.iter().map(body).collect(),
            clients: Rc::clone(clients),
        };
        match said.trim() {
            "ready" => Ok(app),
            _ => Err(format!(
                "{} did not start (see above); --without-peers goes on without it",
                app.name
            )
            .into()),
        }
    }

    async fn connect(&self) -> Result<HttpCaller> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; what fails shows in the sender's calls.
        tokio::spawn(connection);
        Ok(HttpCaller {
            sender,
            host: self.address.to_string(),
            bodies: Arc::clone(&self.bodies),
        })
    }
}

impl Drop for WebApp {
    fn drop(&mut self) {
        // Its workers see that their supervisor is gone, and go too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl System for WebApp {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self, concurrency: usize, duration: Duration) -> Result<Sample> {
        self.clients.block_on(async {
            let mut callers = Vec::new();
            for _ in 0..concurrency {
                callers.push(self.connect().await?);
            }
            closed_loop::run(callers, self.bodies.len(), duration).await
        })
    }

    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn answers(&self) -> Result<Vec<Vec<i64>>> {
        self.clients.block_on(async {
            let mut caller = self.connect().await?;
            let mut answers = Vec::new();
            for query in 0..self.bodies.len() {
                let answer: Value = serde_json::from_slice(&caller.post(query).await?)?;
                let hits = answer["results"].as_array().ok_or("no results")?;
                answers.push(hits.iter().filter_map(|hit| hit["id"].as_i64()).collect());
            }
            Ok(answers)
        })
    }
}

/// One kept-alive connection.
struct HttpCaller {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    bodies: Arc<[Bytes]>,
}

impl HttpCaller {
    async fn post(&mut self, query: usize) -> Result<Bytes> {
        let request = Request::post("/search")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(self.bodies[query].clone()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        match status.is_success() {
            true => Ok(body),
            false => Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }
}

impl Caller for HttpCaller {
    async fn call(&mut self, query: usize) -> Result<()> {
        self.post(query).await.map(drop)
    }
}
