//! The servers that are compared.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use lancegate::{
    access::keys,
    cli::{
        Security,
        load::{self, Load, Until},
    },
    proto::v1::SearchRequest,
};

use crate::{
    Result,
    measure::Hop,
    server::{BINARY, free_address, without_configuration},
};

/// More than any start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one server has.
pub struct Way {
    pub name: &'static str,
    tls: bool,
    key: bool,
    quota: bool,
}

/// Each has one thing more than the one before it.
pub const WAYS: [Way; 4] = [
    Way::new("plaintext", [false, false, false]),
    Way::new("TLS", [true, false, false]),
    Way::new("TLS, API key", [true, true, false]),
    Way::new("TLS, API key, quota", [true, true, true]),
];

impl Way {
    const fn new(name: &'static str, [tls, key, quota]: [bool; 3]) -> Self {
        Self {
            name,
            tls,
            key,
            quota,
        }
    }
}

/// A server, and how it is talked to; killed when it is dropped.
pub struct Secured {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    security: Security,
}

impl Secured {
    /// Starts a server on a copy of `data`, and waits until it answers.
    pub async fn start(
        folder: &Path,
        data: &Path,
        way: &'static Way,
        requests: &[SearchRequest],
    ) -> Result<Self> {
        let own = folder.join(way.name.replace([',', ' '], "-"));
        copy(data, &own.join("data"))?;
        let (config, security) = way.files(&own)?;
        let address = free_address()?;
        let mut command = without_configuration(Path::new(BINARY));
        command
            .arg("serve")
            .args([Path::new("--data-dir"), &own.join("data")])
            .args([Path::new("--config"), &config])
            .args(["--grpc-address", &address.to_string()])
            .args(["--http-address", &free_address()?.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(own.join("log"))?);
        let mut server = Self {
            name: way.name,
            address,
            child: command.spawn()?,
            security,
        };
        server.answers(&requests[..1], &own.join("log")).await?;
        Ok(server)
    }

    pub fn hop(&self) -> Hop {
        Hop {
            security: self.security.clone(),
            ..Hop::new(self.name, self.address, Some(self.child.id()))
        }
    }

    async fn answers(&mut self, requests: &[SearchRequest], log: &Path) -> Result<()> {
        let began = Instant::now();
        loop {
            let load = Load {
                address: self.address.to_string(),
                security: self.security.clone(),
                connections: 1,
                concurrency: 1,
                warmup: Duration::ZERO,
                until: Until::Elapsed(Duration::from_millis(20)),
                requests: requests.to_vec(),
            };
            let problem = match load::run(&load).await {
                Ok(result) if result.errors.is_empty() && result.requests > 0 => return Ok(()),
                Ok(result) => format!("{:?}", result.errors),
                Err(error) => error.to_string(),
            };
            if self.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let log = fs::read_to_string(log)?;
                return Err(format!("{}: {problem}\n{log}", self.name).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Way {
    /// Writes the configuration with its certificates and keys; answers it, and how a
    /// client comes in.
    fn files(&self, folder: &Path) -> Result<(PathBuf, Security)> {
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        let (mut config, mut security) = (String::new(), Security::default());
        if self.tls {
            let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
            let made = rcgen::generate_simple_self_signed(names)?;
            let cert = write("tls.crt", &made.cert.pem())?;
            let key = write("tls.key", &made.signing_key.serialize_pem())?;
            config += &format!("[server.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n");
            security.tls = true;
            security.ca_file = Some(cert);
        }
        if self.key {
            let key = keys::generate();
            let entries = write("keys.toml", &keys::entry("bench", &[], &key))?;
            config += &format!(
                "[access]\nenabled = true\napi_keys_file = {entries:?}\n[[access.bindings]]\n\
                 principals = [\"key:bench\"]\nrole = \"reader\"\ntables = [\"*\"]\n"
            );
            security.api_key_file = Some(write("key", &key)?);
        }
        if self.quota {
            // So much that nothing is refused: what is measured is the counting.
            config += "[quotas]\nrequests_per_second = 100000.0\nmax_concurrent_requests = 1000\n\
                       max_request_bytes = \"16MiB\"\nmax_answer_bytes = \"64MiB\"\nmax_rows = 100000\n";
        }
        Ok((write("lancegate.toml", &config)?, security))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}
