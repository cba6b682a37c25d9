//! `healthcheck`: a probe for images without a shell, with the exit codes of
//! grpc_health_probe so that it can take that program's place.

use std::{process::ExitCode, time::Duration};

use super::{
    client::{Link, Server, Way, why},
    error::in_words,
    print,
};
use crate::proto::health::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Exit code: the arguments are wrong.
pub(super) const BAD_ARGUMENTS: u8 = 1;
/// Exit code: no connection, or none in time.
const NO_CONNECTION: u8 = 2;
/// Exit code: the call failed, timed out, or named an unknown service.
const CALL_FAILED: u8 = 3;
/// Exit code: the service is there and does not take requests.
const UNHEALTHY: u8 = 4;

/// Ask a server for its health, once.
///
/// Exit codes, as grpc_health_probe has them: 0 serving, 1 bad arguments, 2 no
/// connection, 3 the call failed or the service is unknown, 4 not serving.
#[derive(Debug, clap::Args)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    server: Server,
    /// Full name of a service, or `liveness`; the server as a whole when empty.
    #[arg(long, default_value = "")]
    service: String,
    /// For how long connecting may take.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    connect_timeout: Duration,
    /// For how long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    rpc_timeout: Duration,
}

impl Healthcheck {
    pub(super) async fn run(self) -> ExitCode {
        let code = match self.check().await {
            // The exit code is the answer; the word is for people.
            Ok(ServingStatus::Serving) => print("serving\n").map_or(CALL_FAILED, |()| 0),
            Ok(status) => {
                eprintln!("not healthy: {}", status.as_str_name());
                UNHEALTHY
            }
            Err((code, problem)) => {
                eprintln!("error: {problem}");
                code
            }
        };
        ExitCode::from(code)
    }

    async fn check(&self) -> Result<ServingStatus, (u8, String)> {
        let channel = self.connect().await?;
        let mut client = HealthClient::new(channel);
        let request = HealthCheckRequest {
            service: self.service.clone(),
        };
        let answer = tokio::time::timeout(self.rpc_timeout, client.check(request)).await;
        let answer = answer.map_err(|_| {
            let waited = humantime::format_duration(self.rpc_timeout);
            (CALL_FAILED, format!("no answer within {waited}"))
        })?;
        let answer = answer.map_err(|status| (CALL_FAILED, in_words(&status)))?;
        Ok(answer.into_inner().status())
    }

    async fn connect(&self) -> Result<Link, (u8, String)> {
        let address = &self.server.address;
        let way = Way::to(address, &self.server.security)
            .map_err(|error| (BAD_ARGUMENTS, error.to_string()))?;
        let connected = tokio::time::timeout(self.connect_timeout, way.connect()).await;
        let problem = match connected {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => why(&error),
            Err(_) => format!(
                "none within {}",
                humantime::format_duration(self.connect_timeout)
            ),
        };
        Err((
            NO_CONNECTION,
            format!("no connection to {address}: {problem}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic_health::ServingStatus::{NotServing, Serving};

    use super::*;

    fn probe(address: &str, service: &str) -> Healthcheck {
        Healthcheck {
            server: Server {
                address: address.into(),
                security: Default::default(),
            },
            service: service.into(),
            connect_timeout: Duration::from_secs(5),
            rpc_timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn each_outcome_has_its_code() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("up", Serving).await;
        reporter.set_service_status("down", NotServing).await;
        let server = tonic::transport::Server::builder().add_service(health);
        let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

        assert_eq!(
            probe(&address, "up").check().await,
            Ok(ServingStatus::Serving)
        );
        assert_eq!(
            probe(&address, "down").check().await,
            Ok(ServingStatus::NotServing)
        );
        let unknown = probe(&address, "nobody").check().await.unwrap_err();
        assert_eq!(unknown.0, CALL_FAILED, "{}", unknown.1);
        server.abort();
        // The port is closed once the task is gone.
        assert!(server.await.unwrap_err().is_cancelled());
        let gone = probe(&address, "up").check().await.unwrap_err();
        assert_eq!(gone.0, NO_CONNECTION, "{}", gone.1);
        let wrong = probe("nowhere", "").check().await.unwrap_err();
        assert_eq!(wrong.0, BAD_ARGUMENTS, "{}", wrong.1);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let mut probe = probe(&address, "");
        probe.rpc_timeout = Duration::from_millis(50);
        let problem = probe.check().await.unwrap_err();
        assert_eq!(problem.0, CALL_FAILED, "{}", problem.1);
        assert!(problem.1.contains("50ms"), "{}", problem.1);
    }
}
