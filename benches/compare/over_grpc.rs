//! The same searches through lancegate, with its own load generator.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use arrow::ipc::reader::StreamReader;
use lancegate::{
    cli::load::{self, Load, Until},
    proto::v1::{Query, SearchRequest, rows::Format, search_service_client::SearchServiceClient},
};
use tokio::runtime::Runtime;

use crate::{
    Result,
    closed_loop::Sample,
    dataset::TOP,
    in_process::ids,
    rounds::{Knobs, System},
    server::Server,
    tables,
};

/// A server to send searches to.
pub struct OverGrpc {
    name: String,
    address: SocketAddr,
    process: u32,
    requests: Vec<SearchRequest>,
    connections: usize,
    clients: Rc<Runtime>,
}

impl OverGrpc {
    pub fn new(
        name: impl Into<String>,
        server: &Server,
        queries: &[Vec<f32>],
        knobs: Knobs,
        connections: usize,
        clients: &Rc<Runtime>,
    ) -> Self {
        Self {
            name: name.into(),
            address: server.address,
            process: server.process(),
            requests: queries.iter().map(|query| request(query, knobs)).collect(),
            connections,
            clients: Rc::clone(clients),
        }
    }
}

impl System for OverGrpc {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self, concurrency: usize, duration: Duration) -> Result<Sample> {
        let load = Load {
            address: self.address.to_string(),
            security: Default::default(),
            connections: self.connections.min(concurrency),
            concurrency,
            warmup: Duration::ZERO,
            until: Until::Elapsed(duration),
            requests: self.requests.clone(),
        };
        self.clients.block_on(load::run(&load))?.try_into()
    }

    fn process(&self) -> Option<u32> {
        Some(self.process)
    }

    fn answers(&self) -> Result<Vec<Vec<i64>>> {
        self.clients.block_on(async {
            let url = format!("http://{}", self.address);
            let mut client = SearchServiceClient::connect(url).await?;
            let mut answers = Vec::new();
            for request in &self.requests {
                let answer = client.search(request.clone()).await?.into_inner();
                let Some(Format::ArrowIpc(rows)) = answer.rows.and_then(|rows| rows.format) else {
                    return Err("the answer is not Arrow IPC".into());
                };
                let batches = StreamReader::try_new(&rows[..], None)?
                    .collect::<std::result::Result<Vec<_>, _>>()?;
                answers.push(ids(&batches)?);
            }
            Ok(answers)
        })
    }
}

fn request(query: &[f32], knobs: Knobs) -> SearchRequest {
    let how = Query {
        limit: TOP as u32,
        nprobes: knobs.nprobes,
        refine_factor: Some(knobs.refine_factor),
        ..Default::default()
    };
    tables::search(query, how)
}
