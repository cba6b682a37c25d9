//! A search and what its client was sent: kept as it is at hand while the client
//! waits, and looked into when it does not any more.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use prost::Message;
use tonic::metadata::MetadataMap;

use crate::{
    domain::{Position, TableName, TableScope, view::Served},
    proto::v1 as pb,
    storage::Rows,
    wire,
};

/// A search as it was answered.
pub struct Answered {
    pub answer: Answer,
    /// What of the table was there for the client, and so for the shadow.
    pub scope: Arc<TableScope>,
    pub credentials: Credentials,
    pub took: Duration,
}

/// What a client shows of who it is, as it came: a node decides by it as this process
/// does.
#[derive(Default)]
pub struct Credentials(HeaderMap);

impl Credentials {
    const SHOWN: [HeaderName; 2] = [AUTHORIZATION, HeaderName::from_static("x-api-key")];

    /// Those of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let shown = |name| headers.get(&name).cloned().map(|value| (name, value));
        Self(Self::SHOWN.into_iter().filter_map(shown).collect())
    }

    /// Shows them again.
    pub(super) fn show(&self, metadata: &mut MetadataMap) {
        let mut headers = std::mem::take(metadata).into_headers();
        headers.extend(self.0.clone());
        *metadata = MetadataMap::from_headers(headers);
    }
}

/// What was asked, and what the client was sent.
pub enum Answer {
    /// By a connection of this process.
    Rows {
        request: Box<pb::SearchRequest>,
        rows: Rows,
        served: Served,
    },
    /// By a node: the frames as they passed through, the answer's in pieces.
    Frames { request: Bytes, answer: Vec<Bytes> },
}

/// The same, looked into.
pub(super) struct Seen {
    pub table: TableName,
    pub request: pb::SearchRequest,
    pub rows: Rows,
    pub version: u64,
    /// Empty where the primary is not known yet.
    pub token: String,
    /// What the token says, where this process made it.
    pub position: Option<Position>,
    /// Which connection answered.
    pub by: String,
    pub scope: Arc<TableScope>,
    pub credentials: Credentials,
    pub took: Duration,
}

impl Answered {
    /// Looks into it.
    ///
    /// # Errors
    /// Why it cannot be compared, in words.
    pub(super) fn open(self) -> Result<Seen, &'static str> {
        let (request, rows, served, position) = match self.answer {
            Answer::Rows {
                request,
                rows,
                served,
            } => {
                let position = served.origin.as_ref().map(|origin| Position {
                    incarnation: origin.incarnation,
                    version: served.version,
                });
                let served = wire::served::served(&request.table, &served);
                (*request, rows, served, position)
            }
            Answer::Frames { request, answer } => {
                let (request, rows, served) = unframed(&request, &answer)?;
                (request, rows, served, None)
            }
        };
        // It was answered: there is such a table.
        let table = TableName::parse(&request.table).map_err(|_| "the table has no name")?;
        Ok(Seen {
            table,
            request,
            rows,
            version: served.version,
            token: served.token,
            position,
            by: served.connection,
            scope: self.scope,
            credentials: self.credentials,
            took: self.took,
        })
    }
}

fn unframed(
    request: &Bytes,
    answer: &[Bytes],
) -> Result<(pb::SearchRequest, Rows, pb::Served), &'static str> {
    let request = wire::grpc::message(request).ok_or("the request was compressed")?;
    let request = pb::SearchRequest::decode(request).map_err(|_| "the request cannot be read")?;
    let answer = Bytes::from(answer.concat());
    wire::grpc::message(&answer).ok_or("the answer was compressed")?;
    // Shared: so are the rows of an Arrow stream.
    let answer = pb::SearchResponse::decode(answer.slice(wire::grpc::HEAD..));
    let answer = answer.map_err(|_| "the answer cannot be read")?;
    let rows = rows(answer.rows).ok_or("the rows of the answer cannot be read")?;
    Ok((request, rows, answer.served.unwrap_or_default()))
}

/// The rows of an answer, in whichever format; `None` where they cannot be read.
pub(super) fn rows(rows: Option<pb::Rows>) -> Option<Rows> {
    let decoded = wire::rows::decode_rows(rows, None, "rows").ok()?;
    Some(Rows {
        schema: decoded.schema,
        batches: decoded.batches,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    fn frame(message: &impl Message) -> Bytes {
        let mut bytes = vec![0];
        bytes.extend((message.encoded_len() as u32).to_be_bytes());
        bytes.extend(message.encode_to_vec());
        bytes.into()
    }

    fn answered(request: Bytes, answer: Vec<Bytes>) -> Answered {
        Answered {
            answer: Answer::Frames { request, answer },
            scope: Arc::default(),
            credentials: Credentials::default(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn what_passed_through_is_looked_into_in_every_format_and_however_it_is_cut() {
        let ids = Arc::new(Int64Array::from(vec![3, 1, 2])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let asked = frame(&pb::SearchRequest {
            table: "t".into(),
            ..Default::default()
        });
        for format in [pb::RowFormat::ArrowIpc, pb::RowFormat::Typed] {
            let rows =
                wire::rows::encode_rows(&batch.schema(), std::slice::from_ref(&batch), format);
            let answer = frame(&pb::SearchResponse {
                rows: Some(rows.unwrap()),
                served: Some(pb::Served {
                    connection: "replica-1".into(),
                    version: 7,
                    token: "token".into(),
                    ..Default::default()
                }),
                ..Default::default()
            });
            let pieces = vec![answer.slice(..9), answer.slice(9..)];
            let seen = answered(asked.clone(), pieces).open().unwrap();
            assert_eq!(
                (seen.version, &*seen.token, &*seen.by),
                (7, "token", "replica-1")
            );
            assert_eq!(seen.rows.batches[0].columns(), batch.columns());
            // One that has no end is none.
            let cut = vec![answer.slice(..answer.len() - 1)];
            assert!(answered(asked.clone(), cut).open().is_err());
        }
    }
}
