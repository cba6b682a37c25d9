//! Whom a certificate names, and until when it is good.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{FromDer, ParsedExtension},
};

use crate::domain::PeerCertificate;

/// Longest name that is taken: it is written to logs.
const MAX_SUBJECT: usize = 1024;

/// Whom the client's certificate names, if it has shown one. It was verified in the
/// handshake.
pub(super) fn shown(stream: &TlsStream<TcpStream>) -> Option<PeerCertificate> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(peer)
}

/// Whom a verified certificate names: its first URI, else its first DNS name, else
/// its common name. The order is that of what is least ambiguous.
pub(super) fn peer(certificate: &CertificateDer<'_>) -> PeerCertificate {
    let parsed = X509Certificate::from_der(certificate);
    let parsed = parsed.ok().map(|(_, parsed)| parsed);
    let is_name = |name: &String| name.len() <= MAX_SUBJECT && !name.chars().any(char::is_control);
    let name = parsed.as_ref().and_then(subject).filter(is_name);
    // What cannot be read has ended.
    let ends = parsed.map_or(0, |parsed| parsed.validity().not_after.timestamp());
    let ends = Duration::from_secs(u64::try_from(ends).unwrap_or(0));
    PeerCertificate {
        subject: name.unwrap_or_default().into(),
        expires: SystemTime::UNIX_EPOCH + ends,
    }
}

fn subject(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten();
    let mut dns = None;
    for name in names {
        match name {
            GeneralName::URI(uri) => return Some((*uri).to_owned()),
            GeneralName::DNSName(name) if dns.is_none() => dns = Some((*name).to_owned()),
            _ => {}
        }
    }
    dns.or_else(|| {
        let mut names = certificate.subject().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        Some(name.to_owned())
    })
}

/// Seconds since 1970.
pub(super) fn not_after(certificate: &CertificateDer<'static>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn named(common: &str, dns: &[&str], uris: &[&str]) -> PeerCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        let dns = dns
            .iter()
            .map(|n| SanType::DnsName((*n).try_into().unwrap()));
        let uris = uris.iter().map(|n| SanType::URI((*n).try_into().unwrap()));
        params.subject_alt_names = dns.chain(uris).collect();
        let key = KeyPair::generate().unwrap();
        peer(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn a_uri_goes_before_a_dns_name_and_that_before_the_common_name() {
        let uris = ["spiffe://example/ns/a/sa/b", "https://other"];
        let all = named("common", &["a.example", "b.example"], &uris);
        assert_eq!(&*all.subject, "spiffe://example/ns/a/sa/b");
        let dns = named("common", &["a.example", "b.example"], &[]);
        assert_eq!(&*dns.subject, "a.example");
        assert_eq!(&*named("common", &[], &[]).subject, "common");
    }

    #[test]
    fn what_would_break_a_line_of_a_log_is_no_name() {
        assert_eq!(&*named("two\nlines", &[], &[]).subject, "");
        let broken = peer(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(&*broken.subject, "");
        assert_eq!(broken.expires, SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn it_is_good_until_it_ends() {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().unwrap();
        let found = peer(params.self_signed(&key).unwrap().der());
        let ends = found.expires.duration_since(SystemTime::UNIX_EPOCH);
        // 2031-02-03T00:00:00Z.
        assert_eq!(ends.unwrap(), Duration::from_secs(1_927_843_200));
    }
}
