//! Certificates, keys and authorities as they are in PEM files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// Where the authorities of the system are, by distribution: Debian and others,
/// Fedora and others, SUSE, Alpine and macOS.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is wrong with certificates and keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read { path: String, source: io::Error },
    /// A file is not what it should be. Nothing of it is in the text.
    #[error("{path}: {problem}")]
    Content { path: String, problem: String },
    /// What the files hold does not fit together.
    #[error("{files}: {source}")]
    Rustls {
        files: String,
        source: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("{path}: {source}")]
    Verifier {
        path: String,
        source: rustls::server::VerifierBuilderError,
    },
    /// No authorities are given, and the system has none.
    #[error(
        "there is no file of the system's authorities: name one (ca_file or --ca-file), or set SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// A name that no certificate can have.
    #[error("'{0}' is no name of a server")]
    ServerName(String),
}

/// The files that something is made from.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub pair: Option<(PathBuf, PathBuf)>,
    pub ca: Option<PathBuf>,
}

/// What they held when they were read.
pub(super) struct Contents {
    pair: Option<(Pem, Pem)>,
    ca: Option<Pem>,
}

struct Pem {
    path: String,
    bytes: Vec<u8>,
}

/// A certificate with those that lead to its authority, and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Files {
    /// Reads them, each by its path: where a link leads elsewhere now, from there.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let pair = match &self.pair {
            Some((cert, key)) => Some((Pem::read(cert)?, Pem::read(key)?)),
            None => None,
        };
        let ca = self.ca.as_deref().map(Pem::read).transpose()?;
        Ok(Contents { pair, ca })
    }
}

impl Contents {
    /// The same for the same contents.
    pub(super) fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let pair = self.pair.iter().flat_map(|(cert, key)| [cert, key]);
        for pem in pair.chain(&self.ca) {
            hasher.update(&(pem.bytes.len() as u64).to_le_bytes());
            hasher.update(&pem.bytes);
        }
        hasher.finalize()
    }

    /// The certificate and its key, where there are some.
    pub(super) fn pair(&self) -> Result<Option<Pair>, TlsError> {
        let Some((cert, key)) = &self.pair else {
            return Ok(None);
        };
        let chain = cert.certificates()?;
        let key_der = PrivateKeyDer::from_pem_slice(&key.bytes)
            .map_err(|error| key.wrong("no private key", &error))?;
        Ok(Some((chain, key_der)))
    }

    /// The authorities, where there are some.
    pub(super) fn authorities(&self) -> Result<Option<RootCertStore>, TlsError> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        // A bundle of a system may hold some that nobody can read any more.
        let (read, _) = roots.add_parsable_certificates(ca.certificates()?);
        match read {
            0 => Err(TlsError::Content {
                path: ca.path.clone(),
                problem: "no certificate in it is one of an authority".into(),
            }),
            _ => Ok(Some(roots)),
        }
    }

    /// The files' names, for what does not fit together.
    pub(super) fn names(&self) -> String {
        let pair = self.pair.iter().flat_map(|(cert, key)| [cert, key]);
        let names = pair.chain(&self.ca).map(|pem| pem.path.as_str());
        names.collect::<Vec<_>>().join(", ")
    }

    /// The name of the file of authorities.
    pub(super) fn ca_name(&self) -> String {
        self.ca
            .as_ref()
            .map(|pem| pem.path.clone())
            .unwrap_or_default()
    }
}

impl Pem {
    fn read(path: &Path) -> Result<Self, TlsError> {
        let path_text = path.display().to_string();
        match fs::read(path) {
            Ok(bytes) => Ok(Self {
                path: path_text,
                bytes,
            }),
            Err(source) => Err(TlsError::Read {
                path: path_text,
                source,
            }),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let all = all.map_err(|error| self.wrong("no certificate", &error))?;
        match all.is_empty() {
            true => Err(self.wrong("no certificate", &pem::Error::NoItemsFound)),
            false => Ok(all),
        }
    }

    /// The error without what it quotes of the file.
    fn wrong(&self, what: &str, error: &pem::Error) -> TlsError {
        let problem = match error {
            pem::Error::NoItemsFound => format!("there is {what} in PEM in it"),
            pem::Error::MissingSectionEnd { .. } => "it ends in the middle".to_owned(),
            _ => format!("{what} can be read from it"),
        };
        TlsError::Content {
            path: self.path.clone(),
            problem,
        }
    }
}

/// The file of the system's authorities.
pub(super) fn system_authorities() -> Result<PathBuf, TlsError> {
    if let Some(named) = std::env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty()) {
        return Ok(named.into());
    }
    let found = SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or(TlsError::NoAuthorities)
}
