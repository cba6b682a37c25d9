//! Plain layer-7 proxies with one worker each, as people run them before gRPC.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lancegate::proto::v1::{SearchRequest, search_service_client::SearchServiceClient};

use crate::{Result, measure::Hop, server::free_address};

/// A running proxy; killed when it is dropped.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
}

/// More than any of them takes to listen.
const PATIENCE: Duration = Duration::from_secs(20);

impl Proxy {
    pub fn nginx(folder: &Path, node: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let home = folder.join("nginx");
        fs::create_dir_all(&home)?;
        let at = home.display();
        // Temporary paths are named so that it needs no rights on the system's.
        let config = format!(
            "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               access_log off;\n\
               client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
               fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
               keepalive_requests 10000000; http2_max_concurrent_streams 512;\n\
               upstream node {{ server {node}; keepalive 64; keepalive_requests 10000000; }}\n\
               server {{ listen {address} http2; location / {{ grpc_pass grpc://node; }} }}\n\
             }}\n"
        );
        let path = home.join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&home).arg("-c").arg(&path);
        Self::start(command, "nginx", address)
    }

    pub fn haproxy(folder: &Path, node: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let config = format!(
            "global\n  nbthread 1\n  maxconn 1000\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend f\n  bind {address} proto h2\n  default_backend b\n\
             backend b\n  server node {node} proto h2\n"
        );
        let path = folder.join("haproxy.cfg");
        fs::write(&path, config)?;
        let mut command = Command::new("haproxy");
        // In the foreground.
        command.arg("-db").arg("-f").arg(&path);
        Self::start(command, "haproxy", address)
    }

    fn start(mut command: Command, name: &str, address: SocketAddr) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{name} (Debian has a package of that name): {e}"))?;
        Ok(Self { child, address })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's worker ends with its master only where that is asked to end.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a search gets through each way.
pub async fn all_answer(hops: &[Hop], request: &SearchRequest) -> Result<()> {
    for hop in hops {
        let began = Instant::now();
        loop {
            match ask(hop.address, request).await {
                Ok(()) => break,
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(format!("{} does not answer: {error}", hop.name).into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    Ok(())
}

async fn ask(address: SocketAddr, request: &SearchRequest) -> Result<()> {
    let mut client = SearchServiceClient::connect(format!("http://{address}")).await?;
    client.search(request.clone()).await?;
    Ok(())
}
