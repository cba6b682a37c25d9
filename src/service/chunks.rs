//! A streamed answer: Arrow IPC in chunks of one to two MiB, made as fast as the
//! client takes them.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use tonic::Status;

use crate::{
    domain::Result,
    proto::v1 as pb,
    service::stack::Room,
    storage::Batches,
    wire::{
        ipc_chunk::{IpcChunker, MAX_CHUNK},
        status::status,
    },
};

struct State {
    batches: Batches,
    /// `None` once the end of the stream has been written.
    chunker: Option<IpcChunker>,
    ready: VecDeque<Bytes>,
    served: Option<pb::Served>,
    room: Room,
    /// So far.
    rows: u64,
}

/// The messages of a SearchStream. The first one says who answered.
pub(super) fn chunks(
    batches: Batches,
    served: pb::Served,
    room: Room,
) -> impl Stream<Item = std::result::Result<pb::SearchStreamResponse, Status>> {
    let state = Starting {
        batches,
        served,
        room,
    };
    stream::once(async move { state.start().map_err(|e| status(&e)) })
        .map_ok(|state| {
            stream::try_unfold(state, |mut state| async move {
                match state.next().await {
                    Ok(Some(message)) => Ok(Some((message, state))),
                    Ok(None) => Ok(None),
                    Err(error) => Err(status(&error)),
                }
            })
        })
        .try_flatten()
}

struct Starting {
    batches: Batches,
    served: pb::Served,
    room: Room,
}

impl Starting {
    fn start(self) -> Result<State> {
        Ok(State {
            chunker: Some(IpcChunker::new(self.batches.schema.clone())?),
            batches: self.batches,
            ready: VecDeque::new(),
            served: Some(self.served),
            room: self.room,
            rows: 0,
        })
    }
}

impl State {
    async fn next(&mut self) -> Result<Option<pb::SearchStreamResponse>> {
        // Asked for because the client has taken the last one.
        self.room.next_part(MAX_CHUNK).await;
        while self.ready.is_empty() {
            let Some(chunker) = &mut self.chunker else {
                return Ok(None);
            };
            match self.batches.stream.try_next().await? {
                Some(batch) => {
                    self.rows += batch.num_rows() as u64;
                    self.room.rows(self.rows)?;
                    self.ready.extend(chunker.push(&batch)?);
                }
                None => {
                    if let Some(chunker) = self.chunker.take() {
                        self.ready.push_back(chunker.finish()?);
                    }
                }
            }
        }
        Ok(self
            .ready
            .pop_front()
            .map(|arrow_ipc| pb::SearchStreamResponse {
                arrow_ipc,
                served: self.served.take(),
            }))
    }
}
