//! What the reads do, between their requests and their answers.

use std::sync::Arc;

use prost::Message;

use crate::{
    domain::{Error, Resource, Result, TableName, TableScope, search::Scan, view::Served},
    proto::v1 as pb,
    router::ReadOptions,
    service::{api::Api, stack::Room},
    storage::{Batches, Rows, Rules, Snapshot},
    wire::{
        self,
        page::{PageToken, fingerprint},
        query::page_size,
    },
};

impl Api {
    pub(super) async fn run_search(
        &self,
        table: &str,
        query: Option<pb::Query>,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
        room: Room,
    ) -> Result<(Rows, Served)> {
        let table = TableName::parse(table)?;
        let limits = self.limits();
        let search = wire::query::search(query, &limits)?;
        let (rules, most) = (&*self.rules(), limits.max_response_bytes);
        let (search, room) = (&search, &room);
        self.read(&table, options, scope, |snapshot| async move {
            let fits = snapshot.search_fits(search, room.most(most)).await;
            room.told(most, fits)?;
            let found = snapshot.search(search, rules).await?;
            room.collect(found, most).await
        })
        .await
    }

    pub(super) async fn open_stream(
        &self,
        table: &str,
        query: Option<pb::Query>,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
    ) -> Result<(Batches, Served)> {
        let table = TableName::parse(table)?;
        let limits = self.limits();
        let search = wire::query::search(query, &limits)?;
        let (search, rules) = (&search, &*self.rules());
        self.read(&table, options, scope, |snapshot| async move {
            snapshot.search(search, rules).await
        })
        .await
    }

    pub(super) async fn run_scan(
        &self,
        request: pb::ScanRequest,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
        room: Room,
    ) -> Result<((Rows, String), Served)> {
        let table = TableName::parse(&request.table)?;
        let limits = self.limits();
        let size = room.page(page_size(request.page_size, &limits)?);
        let asked = request.query.as_ref().map(Message::encode_to_vec);
        let asked = asked.unwrap_or_default();
        let print = fingerprint([table.as_str().as_bytes(), asked.as_slice()]);
        let token = PageToken::decode(&request.page_token, print)?;
        let scan = wire::query::scan(request.query, "query", &limits)?;
        let (rules, most) = (&*self.rules(), limits.max_response_bytes);
        let (scan, room) = (&scan, &room);
        let page = |snapshot: Arc<Snapshot>, offset| async move {
            let page = Page {
                offset,
                size,
                print,
                rules,
                most,
            };
            scan_page(&snapshot, scan, page, room).await
        };
        let page = &page;
        let Some(token) = token else {
            return self
                .read(&table, options, scope, |snapshot| page(snapshot, 0))
                .await;
        };
        let outcome = self
            .read_at(
                &table,
                token.version,
                options,
                scope,
                |snapshot| async move {
                    if commit_nanos(&snapshot) != token.commit_nanos {
                        // An earlier table of this name: its versions are gone.
                        return Err(Error::not_found(Resource::Version, "of the page token"));
                    }
                    page(snapshot, token.offset).await
                },
            )
            .await;
        match outcome {
            Err(
                Error::NotFound {
                    kind: Resource::Version,
                    ..
                }
                | Error::Precondition {
                    reason: Error::PRUNED,
                    ..
                },
            ) => Err(Error::Precondition {
                reason: "PAGE_TOKEN_EXPIRED",
                message: "the version that page_token belongs to was removed; scan again".into(),
            }),
            other => other,
        }
    }

    pub(super) async fn run_get(
        &self,
        request: pb::GetRequest,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
        room: Room,
    ) -> Result<(Rows, Served)> {
        let table = TableName::parse(&request.table)?;
        let limits = self.limits();
        wire::query::check_get(&request, &limits)?;
        let columns = wire::query::columns(request.columns);
        let (keys, key_columns) = (request.keys, request.key_columns);
        // Several columns make one chain of OR per key, which is planned
        // recursively.
        if key_columns.len() > 1 && keys.len() > MAX_COMPOSITE_KEYS {
            let text = format!("may have {MAX_COMPOSITE_KEYS} keys of several columns");
            return Err(Error::invalid("keys", text));
        }
        let row_id = request.with_row_id;
        let most = limits.max_response_bytes;
        let (keys, key_columns, columns) = (&keys, &key_columns, columns.as_deref());
        let (room, rules) = (&room, &*self.rules());
        self.read(&table, options, scope, |snapshot| async move {
            let fields = snapshot.key_fields(key_columns)?;
            let keys = wire::rows::decode_key_batch(keys, fields)?;
            let found = snapshot.get(&keys, columns, row_id, most, rules, room.counting());
            let rows = found.await?;
            room.rows(rows.num_rows() as u64)?;
            Ok(rows)
        })
        .await
    }

    pub(super) async fn run_explain(
        &self,
        request: pb::ExplainRequest,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
    ) -> Result<(String, Served)> {
        use pb::explain_request::Target;
        let table = TableName::parse(&request.table)?;
        let limits = self.limits();
        let rules = &*self.rules();
        let (analyze, verbose) = (request.analyze, request.verbose);
        match request.target {
            Some(Target::Query(query)) => {
                let search = &wire::query::search(Some(query), &limits)?;
                self.read(&table, options, scope, |snapshot| async move {
                    snapshot
                        .explain_search(search, analyze, verbose, rules)
                        .await
                })
                .await
            }
            Some(Target::Scan(scan)) => {
                let scan = &wire::query::scan(Some(scan), "scan", &limits)?;
                self.read(&table, options, scope, |snapshot| async move {
                    snapshot.explain_scan(scan, analyze, verbose, rules).await
                })
                .await
            }
            None => Err(Error::invalid("target", "is required: query or scan")),
        }
    }
}

/// Most keys of several columns in one Get.
const MAX_COMPOSITE_KEYS: usize = 500;

/// Which rows of a scan are a page, and what bounds it.
struct Page<'a> {
    offset: u64,
    size: usize,
    print: u64,
    rules: &'a Rules,
    most: usize,
}

/// One page of a scan, and the token of the next one.
async fn scan_page(
    snapshot: &Snapshot,
    scan: &Scan,
    page: Page<'_>,
    room: &Room,
) -> Result<(Rows, String)> {
    let Page {
        offset,
        size,
        print,
        rules,
        most,
    } = page;
    // One row more than the page tells whether there is another page.
    room.told(
        most,
        snapshot.page_fits(scan, offset, size, room.most(most)),
    )?;
    let found = snapshot.scan(scan, offset, size + 1, rules).await?;
    let mut rows = room.collect_page(found, most).await?;
    if rows.num_rows() <= size {
        return Ok((rows, String::new()));
    }
    rows.truncate(size);
    let next = PageToken {
        version: snapshot.version(),
        offset: offset.saturating_add(size as u64),
        commit_nanos: commit_nanos(snapshot),
        fingerprint: print,
    };
    Ok((rows, next.encode()))
}

/// When a snapshot was committed; the low 64 bits reach to the year 2554.
fn commit_nanos(snapshot: &Snapshot) -> u64 {
    snapshot.commit().timestamp_nanos as u64
}
