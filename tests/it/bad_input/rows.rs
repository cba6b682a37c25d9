//! Rows that do not fit, bytes that are no rows, schemas that are none, and
//! messages that are too large.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use lancegate::proto::v1::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonic::{Code, Response, Status, codec::CompressionEncoding};
use value::Kind;

use super::{Bad, Clients, ROWS, run, sample, sample_without};
use crate::data::{floats, ipc, ipc_bytes};

fn bytes_as_rows(bytes: impl Into<Bytes>) -> Rows {
    Rows {
        format: Some(rows::Format::ArrowIpc(bytes.into())),
    }
}

fn typed(fields: Vec<(&str, Option<TypeKind>)>, rows: Vec<Vec<Option<Kind>>>) -> Rows {
    let field = |(name, kind): (&str, Option<TypeKind>)| pb_field(name, kind.map(|k| k as i32));
    let row = |values: Vec<Option<Kind>>| Row {
        values: values.into_iter().map(|kind| Value { kind }).collect(),
    };
    Rows {
        format: Some(rows::Format::Typed(TypedRows {
            schema: Some(lancegate::proto::v1::Schema {
                fields: fields.into_iter().map(field).collect(),
                ..Default::default()
            }),
            rows: rows.into_iter().map(row).collect(),
        })),
    }
}

fn pb_field(name: &str, kind: Option<i32>) -> lancegate::proto::v1::Field {
    lancegate::proto::v1::Field {
        name: name.into(),
        r#type: kind.map(|kind| lancegate::proto::v1::DataType {
            kind,
            ..Default::default()
        }),
        nullable: true,
        ..Default::default()
    }
}

/// The sample with one column replaced.
fn with(column: &str, array: ArrayRef, nullable: bool) -> RecordBatch {
    let (schema, mut arrays, _) = sample().into_parts();
    let index = schema.index_of(column).unwrap();
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields[index] = Field::new(column, array.data_type().clone(), nullable);
    arrays[index] = array;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn vectors(dimension: i32, value: f32) -> ArrayRef {
    let values = Float32Array::from(vec![value; ROWS * dimension as usize]);
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    Arc::new(FixedSizeListArray::new(
        item,
        dimension,
        Arc::new(values),
        None,
    ))
}

async fn insert(to: &mut Clients, rows: Option<Rows>) -> Result<Response<InsertResponse>, Status> {
    let request = InsertRequest {
        request_id: String::new(),
        table: "t".into(),
        rows,
        mode: 0,
    };
    to.write.insert(request).await
}

async fn import(
    to: &mut Clients,
    messages: Vec<Vec<u8>>,
) -> Result<Response<ImportResponse>, Status> {
    let messages = messages.into_iter().map(|arrow_ipc| ImportRequest {
        request_id: String::new(),
        table: "t".into(),
        arrow_ipc: arrow_ipc.into(),
        mode: 0,
    });
    let messages: Vec<ImportRequest> = messages.collect();
    to.write.import(tokio_stream::iter(messages)).await
}

#[test]
fn rows_that_do_not_fit() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["hunter2"; ROWS]));
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None; ROWS]));
        let extra = {
            let (schema, mut arrays, _) = sample().into_parts();
            let mut fields: Vec<Field> =
                schema.fields().iter().map(|f| f.as_ref().clone()).collect();
            fields.push(Field::new("extra", DataType::Utf8, true));
            arrays.push(Arc::clone(&texts));
            RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
        };
        for (what, batch) in [
            ("without id", sample_without("id", false)),
            ("with a column more", extra),
            ("with ids of text", with("id", Arc::clone(&texts), false)),
            (
                "with text for a list",
                with("tags", Arc::clone(&texts), true),
            ),
            (
                "with text for a struct",
                with("place", Arc::clone(&texts), true),
            ),
            ("with null ids", with("id", Arc::clone(&nulls), true)),
            ("with vectors of 3", with("vector", vectors(3, 0.0), true)),
            ("with vectors of 5", with("vector", vectors(5, 0.0), true)),
            (
                "with vectors of NaN",
                with("vector", vectors(4, f32::NAN), true),
            ),
            ("with text for vectors", with("vector", texts, true)),
        ] {
            bad.refused(
                &format!("insert {what}"),
                Code::InvalidArgument,
                "rows",
                async |mut to| insert(&mut to, Some(ipc(&batch))).await,
            )
            .await;
            bad.refused(
                &format!("upsert {what}"),
                Code::InvalidArgument,
                match what {
                    "without id" => "on[0]",
                    _ => "rows",
                },
                async |mut to| {
                    let request = UpsertRequest {
                        request_id: String::new(),
                        table: "t".into(),
                        on: vec!["id".into()],
                        rows: Some(ipc(&batch)),
                        ..Default::default()
                    };
                    to.write.upsert(request).await
                },
            )
            .await;
            bad.refused(
                &format!("import {what}"),
                Code::InvalidArgument,
                "arrow_ipc",
                async |mut to| import(&mut to, vec![ipc_bytes(&batch)]).await,
            )
            .await;
        }
        bad.finish().await;
    });
}

#[test]
fn typed_rows_that_do_not_fit() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let id = |kind| vec![Some(kind)];
        let fields = |names: &[&'static str]| names.iter().map(|n| (*n, None)).collect::<Vec<_>>();
        let text = || Some(Kind::StringValue("hunter2".into()));
        let vector = |values: &[f32]| Some(Kind::VectorValue(floats(values)));
        let one = || Some(Kind::IntValue(1));
        #[rustfmt::skip]
        let cases = vec![
            ("no rows at all", None, "rows"),
            ("no format", Some(Rows { format: None }), "rows"),
            ("no typed rows", Some(typed(fields(&["id"]), vec![])), "rows"),
            ("an empty stream", Some(ipc(&sample().slice(0, 0))), "rows"),
            ("no values", Some(typed(fields(&["id"]), vec![vec![]])), "rows.typed.rows[0].values"),
            ("two values", Some(typed(fields(&["id"]), vec![id(Kind::IntValue(1)), vec![one(), one()]])), "rows.typed.rows[1].values"),
            ("text", Some(typed(fields(&["id"]), vec![vec![text()]])), "rows.typed.rows[0].values[0]"),
            ("a double", Some(typed(fields(&["id"]), vec![id(Kind::DoubleValue(1.0))])), "rows.typed.rows[0].values[0]"),
            ("too large an integer", Some(typed(fields(&["id"]), vec![id(Kind::UintValue(u64::MAX))])), "rows.typed.rows[0].values[0]"),
            ("a null id", Some(typed(fields(&["id"]), vec![vec![None]])), "rows.typed.rows[0].values[0]"),
            ("an unknown column", Some(typed(fields(&["id", "nosuch"]), vec![vec![one(), one()]])), "rows.typed.schema.fields[1].name"),
            ("a column twice", Some(typed(fields(&["id", "id"]), vec![vec![one(), one()]])), "rows.typed.schema.fields[1].name"),
            ("no id", Some(typed(fields(&["text"]), vec![vec![text()]])), "rows"),
            ("an unknown typed column", Some(typed(vec![("id", Some(TypeKind::Int64)), ("nosuch", Some(TypeKind::Int64))], vec![vec![one(), one()]])), "rows"),
            ("a short vector", Some(typed(fields(&["id", "vector"]), vec![vec![one(), vector(&[0.0; 3])]])), "rows.typed.rows[0].values[1]"),
            ("an empty vector", Some(typed(fields(&["id", "vector"]), vec![vec![one(), vector(&[])]])), "rows.typed.rows[0].values[1]"),
            ("a vector of NaN", Some(typed(fields(&["id", "vector"]), vec![vec![one(), vector(&[f32::NAN; 4])]])), "rows.typed.rows[0].values[1].vector_value.floats.values[0]"),
            ("an unset vector", Some(typed(fields(&["id", "vector"]), vec![vec![one(), Some(Kind::VectorValue(Vector { data: None }))]])), "rows.typed.rows[0].values[1]"),
            ("a struct of one", Some(typed(fields(&["id", "place"]), vec![vec![one(), Some(Kind::StructValue(StructValue { values: vec![Value::default()] }))]])), "rows.typed.rows[0].values[1]"),
            ("a list for a struct", Some(typed(fields(&["id", "place"]), vec![vec![one(), Some(Kind::ListValue(ListValue::default()))]])), "rows.typed.rows[0].values[1]"),
            ("garbage", Some(bytes_as_rows(b"hunter2".to_vec())), "rows.arrow_ipc"),
            ("no bytes", Some(bytes_as_rows(vec![])), "rows.arrow_ipc"),
            ("zeros", Some(bytes_as_rows(vec![0; 1_000])), "rows.arrow_ipc"),
            ("ones", Some(bytes_as_rows(vec![0xff; 1_000])), "rows.arrow_ipc"),
            ("a length of 2 GB", Some(bytes_as_rows([[0xff; 4], 0x7fff_ffff_u32.to_le_bytes()].concat())), "rows.arrow_ipc"),
            ("a file", Some(bytes_as_rows(arrow_file())), "rows.arrow_ipc"),
        ];
        for (what, rows, field) in cases {
            bad.refused(
                &format!("insert {what}"),
                Code::InvalidArgument,
                field,
                async |mut to| insert(&mut to, rows.clone()).await,
            )
            .await;
        }
        bad.finish().await;
    });
}

/// The file format, which has the stream format in it and is another one.
fn arrow_file() -> Vec<u8> {
    let mut bytes = Vec::new();
    let batch = sample();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn streams_that_are_damaged() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let whole = ipc_bytes(&sample());
        let field = "rows.arrow_ipc";
        // Without its last bytes a stream has no end: that is the reset of a
        // client half-way, and its rows are not all there.
        for cut in (0..whole.len() - 4).step_by(whole.len() / 40) {
            bad.refused(
                &format!("the first {cut} bytes"),
                Code::InvalidArgument,
                field,
                async |mut to| {
                    let rows = bytes_as_rows(whole[..cut].to_vec());
                    insert(&mut to, Some(rows)).await
                },
            )
            .await;
        }
        let import_field = "arrow_ipc";
        for cut in [0, 10, whole.len() / 2, whole.len() - 8] {
            bad.refused(
                &format!("import of the first {cut} bytes"),
                Code::InvalidArgument,
                import_field,
                async |mut to| {
                    let messages = vec![whole.clone(), whole[..cut].to_vec()];
                    import(&mut to, messages).await
                },
            )
            .await;
        }
        // What damage leaves valid would be rows: they go to a table of their own.
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for i in 0..150 {
            let mut damaged = whole.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..damaged.len());
                damaged[at] = rng.random();
            }
            bad.survived(&format!("damage {i}"), async |mut to| {
                let request = InsertRequest {
                    request_id: String::new(),
                    table: "two".into(),
                    rows: Some(bytes_as_rows(damaged.clone())),
                    mode: InsertMode::Overwrite as i32,
                };
                to.write.insert(request).await
            })
            .await;
        }
        bad.finish().await;
    });
}

#[test]
fn schemas_that_are_none() {
    use create_table_request::Source;
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let columns = |fields: Vec<lancegate::proto::v1::Field>| {
            Some(Source::Schema(lancegate::proto::v1::Schema {
                fields,
                ..Default::default()
            }))
        };
        let int = Some(TypeKind::Int64 as i32);
        let of = |data_type: lancegate::proto::v1::DataType| {
            let mut field = pb_field("a", int);
            field.r#type = Some(data_type);
            columns(vec![field])
        };
        let kind = |kind: TypeKind| lancegate::proto::v1::DataType {
            kind: kind as i32,
            ..Default::default()
        };
        let mut nested = pb_field("a", int);
        for _ in 0..40 {
            let mut around = pb_field("a", Some(TypeKind::List as i32));
            if let Some(t) = &mut around.r#type {
                t.children = vec![nested];
            }
            nested = around;
        }
        let deep = format!("schema.fields[0].type{}", ".children[0].type".repeat(33));
        #[rustfmt::skip]
        let cases = vec![
            ("no source", None, "source"),
            ("no columns", columns(vec![]), "schema.fields"),
            ("no name", columns(vec![pb_field("", int)]), "schema.fields[0].name"),
            ("a name twice", columns(vec![pb_field("a", int), pb_field("a", int)]), "schema.fields[1].name"),
            ("no type", columns(vec![pb_field("a", None)]), "schema.fields[0].type"),
            ("no kind", columns(vec![pb_field("a", Some(0))]), "schema.fields[0].type.kind"),
            ("an unknown kind", columns(vec![pb_field("a", Some(99))]), "schema.fields[0].type.kind"),
            ("an unknown unit", of(lancegate::proto::v1::DataType { unit: 99, ..kind(TypeKind::Timestamp) }), "schema.fields[0].type.unit"),
            ("nanoseconds of time32", of(lancegate::proto::v1::DataType { unit: TimeUnit::Nanosecond as i32, ..kind(TypeKind::Time32) }), "schema.fields[0].type.unit"),
            ("a size of 0", of(kind(TypeKind::FixedSizeBinary)), "schema.fields[0].type.size"),
            ("a size beyond all", of(lancegate::proto::v1::DataType { size: u32::MAX, ..kind(TypeKind::FixedSizeBinary) }), "schema.fields[0].type.size"),
            ("no precision", of(kind(TypeKind::Decimal128)), "schema.fields[0].type.precision"),
            ("a scale beyond the precision", of(lancegate::proto::v1::DataType { precision: 5, scale: 9, ..kind(TypeKind::Decimal128) }), "schema.fields[0].type.scale"),
            ("a list of nothing", of(kind(TypeKind::List)), "schema.fields[0].type.children"),
            ("lists 40 deep", columns(vec![nested]), &deep),
            ("no rows", Some(Source::Rows(Rows { format: None })), "rows"),
            ("typed rows without a schema", Some(Source::Rows(typed(vec![], vec![]))), "rows.typed.schema"),
            ("garbage", Some(Source::ArrowIpcSchema(vec![7; 99].into())), "arrow_ipc_schema"),
            ("no bytes", Some(Source::ArrowIpcSchema(Bytes::new())), "arrow_ipc_schema"),
            ("rows of garbage", Some(Source::Rows(bytes_as_rows(vec![7; 99]))), "rows.arrow_ipc"),
        ];
        for (what, source, field) in cases {
            bad.refused(
                &format!("create of {what}"),
                Code::InvalidArgument,
                field,
                async |mut to| create(&mut to, source.clone()).await,
            )
            .await;
        }
        bad.refused(
            "null columns that may not be null",
            Code::InvalidArgument,
            "nulls.fields[0].nullable",
            async |mut to| {
                let mut field = pb_field("new", int);
                field.nullable = false;
                let request = AddColumnsRequest {
                    table: "t".into(),
                    source: Some(add_columns_request::Source::Nulls(
                        lancegate::proto::v1::Schema {
                            fields: vec![field],
                            ..Default::default()
                        },
                    )),
                };
                to.table.add_columns(request).await
            },
        )
        .await;
        strange_schemas(&mut bad).await;
        bad.finish().await;
    });
}

async fn create(
    to: &mut Clients,
    source: Option<create_table_request::Source>,
) -> Result<Response<CreateTableResponse>, Status> {
    let request = CreateTableRequest {
        table: "new".into(),
        source,
        exist_ok: true,
    };
    to.table.create_table(request).await
}

/// What Arrow knows and LanceDB may not, and names that are legal and odd.
async fn strange_schemas(bad: &mut Bad) {
    use arrow::datatypes::{IntervalUnit, UnionFields, UnionMode};
    let child = || Arc::new(Field::new("item", DataType::Int32, true));
    let union = UnionFields::try_new(vec![1], vec![Field::new("a", DataType::Int32, true)]);
    for data_type in [
        DataType::Utf8View,
        DataType::BinaryView,
        DataType::ListView(child()),
        DataType::LargeListView(child()),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Union(union.unwrap(), UnionMode::Dense),
        DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", DataType::Utf8, true)),
        ),
        DataType::Map(
            Arc::new(Field::new(
                "entries",
                DataType::Struct(
                    vec![
                        Field::new("keys", DataType::Utf8, false),
                        Field::new("values", DataType::Utf8, true),
                    ]
                    .into(),
                ),
                false,
            )),
            false,
        ),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Boolean)),
        DataType::FixedSizeList(child(), 0),
        DataType::FixedSizeBinary(0),
        DataType::Struct(arrow::datatypes::Fields::empty()),
        DataType::Decimal32(5, 2),
        DataType::Decimal64(5, 2),
        DataType::Timestamp(
            arrow::datatypes::TimeUnit::Second,
            Some("Nowhere/No".into()),
        ),
    ] {
        let batch = RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new(
            "a",
            data_type.clone(),
            true,
        )])));
        odd_table(bad, &format!("a column of {data_type}"), &batch).await;
    }
    for name in [
        "",
        " ",
        ".",
        "a.b",
        "a/b",
        "..",
        "\0",
        "_rowid",
        "_distance",
        "🦀",
        "a\"b",
        "a`b",
        "a\nb",
    ] {
        let fields = vec![Field::new(name, DataType::Int32, true)];
        let batch = RecordBatch::new_empty(Arc::new(Schema::new(fields)));
        odd_table(bad, &format!("a column named {name:?}"), &batch).await;
    }
    let long = vec![Field::new("a".repeat(100_000), DataType::Int32, true)];
    let long = RecordBatch::new_empty(Arc::new(Schema::new(long)));
    odd_table(bad, "a column of a long name", &long).await;
    let twice = vec![Field::new("a", DataType::Int32, true); 2];
    let twice = RecordBatch::new_empty(Arc::new(Schema::new(twice)));
    odd_table(bad, "two columns of a name", &twice).await;
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    odd_table(bad, "no column", &none).await;
}

/// A table of a schema that LanceDB may take or not: what it takes it can tell.
async fn odd_table(bad: &mut Bad, what: &str, batch: &RecordBatch) {
    use create_table_request::Source;
    let bytes = Bytes::from(ipc_bytes(batch));
    bad.survived(&format!("create {what}"), async |mut to| {
        create(&mut to, Some(Source::ArrowIpcSchema(bytes.clone()))).await
    })
    .await;
    bad.survived(&format!("describe {what}"), async |mut to| {
        let table = "new".into();
        to.table
            .describe_table(DescribeTableRequest { table })
            .await
    })
    .await;
    for row_format in [1, 2] {
        bad.survived(&format!("scan {what}"), async |mut to| {
            let request = ScanRequest {
                table: "new".into(),
                row_format,
                ..Default::default()
            };
            to.search.scan(request).await
        })
        .await;
    }
    bad.survived(&format!("drop {what}"), async |mut to| {
        let request = DropTableRequest {
            table: "new".into(),
            ignore_missing: true,
        };
        to.table.drop_table(request).await
    })
    .await;
}

#[test]
fn messages_that_are_too_large() {
    run(async {
        let limit = 64 << 10;
        let mut bad = Bad::start(|config| config.limits.max_request_bytes = limit).await;
        let before = bad.server.settled().await;
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(10_000); ROWS]));
        let large = with("text", text, true);
        let too_large = (Code::ResourceExhausted, "TOO_LARGE");
        bad.refused("an insert", too_large.0, too_large.1, async |mut to| {
            insert(&mut to, Some(ipc(&large))).await
        })
        .await;
        bad.refused("a search", too_large.0, too_large.1, async |mut to| {
            let query = Query {
                vectors: vec![floats(&[0.0; 20_000])],
                limit: 1,
                ..Default::default()
            };
            let request = SearchRequest {
                freshness: None,
                table: "t".into(),
                query: Some(query),
                row_format: 0,
            };
            to.search.search(request).await
        })
        .await;
        bad.refused("a name", too_large.0, too_large.1, async |mut to| {
            let table = "a".repeat(100_000);
            to.table
                .describe_table(DescribeTableRequest { table })
                .await
        })
        .await;
        for compression in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
            let what = format!("an insert that {compression:?} makes small");
            bad.refused(&what, too_large.0, too_large.1, async |to| {
                let mut write = to.write.clone().send_compressed(compression);
                let request = InsertRequest {
                    request_id: String::new(),
                    table: "t".into(),
                    rows: Some(ipc(&large)),
                    mode: 0,
                };
                write.insert(request).await
            })
            .await;
        }
        let (small, large) = (ipc_bytes(&sample()), ipc_bytes(&large));
        for (what, messages) in [
            ("a first message", vec![large.clone()]),
            ("a second message", vec![small.clone(), large.clone()]),
            ("a last message", vec![small.clone(), small, large]),
        ] {
            bad.refused(what, too_large.0, too_large.1, async |mut to| {
                import(&mut to, messages.clone()).await
            })
            .await;
        }
        let after = bad.server.settled().await;
        assert_eq!(
            before.connections[0].tables, after.connections[0].tables,
            "nothing was committed"
        );
        bad.finish().await;
    });
}

#[test]
fn imports_that_are_too_large() {
    run(async {
        let one = ipc_bytes(&sample());
        let limit = one.len() as u64 * 2;
        let mut bad = Bad::start(|config| config.limits.max_import_bytes = limit).await;
        bad.refused(
            "three messages",
            Code::ResourceExhausted,
            "TOO_LARGE",
            async |mut to| import(&mut to, vec![one.clone(); 3]).await,
        )
        .await;
        bad.refused(
            "one large message",
            Code::ResourceExhausted,
            "TOO_LARGE",
            async |mut to| {
                let batches = vec![sample(); 20];
                let schema = sample().schema();
                let all = arrow::compute::concat_batches(&schema, &batches).unwrap();
                import(&mut to, vec![ipc_bytes(&all)]).await
            },
        )
        .await;
        for (what, messages, field) in [
            ("no message", vec![], "table"),
            ("an empty message", vec![vec![]], "arrow_ipc"),
            ("a second empty message", vec![one, vec![]], "arrow_ipc"),
        ] {
            bad.refused(what, Code::InvalidArgument, field, async |mut to| {
                import(&mut to, messages.clone()).await
            })
            .await;
        }
        for mode in [99, -1] {
            bad.refused("a mode", Code::InvalidArgument, "mode", async |mut to| {
                let request = InsertRequest {
                    request_id: String::new(),
                    table: "t".into(),
                    rows: Some(ipc(&sample())),
                    mode,
                };
                to.write.insert(request).await
            })
            .await;
            bad.refused("a mode", Code::InvalidArgument, "mode", async |mut to| {
                let request = ImportRequest {
                    request_id: String::new(),
                    table: "t".into(),
                    arrow_ipc: ipc_bytes(&sample()).into(),
                    mode,
                };
                to.write.import(tokio_stream::iter([request])).await
            })
            .await;
        }
        bad.finish().await;
    });
}

/// Options of indexes and of upkeep that mean nothing.
#[test]
fn bad_options_of_table_changes() {
    use index_spec::Kind as I;
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let ivf = |distance_type| {
            Some(IvfOptions {
                distance_type,
                ..Default::default()
            })
        };
        let pq = |num_sub_vectors, num_bits| {
            I::IvfPq(IvfPqIndex {
                ivf: None,
                pq: Some(PqOptions {
                    num_sub_vectors,
                    num_bits,
                }),
            })
        };
        let fts = |base_tokenizer: &str, language: &str| {
            I::Fts(FtsIndex {
                base_tokenizer: base_tokenizer.into(),
                language: language.into(),
                ..Default::default()
            })
        };
        let bloom = |probability| {
            I::BloomFilter(BloomFilterIndex {
                number_of_items: 0,
                probability,
            })
        };
        #[rustfmt::skip]
        let cases = vec![
            ("no kind", vec!["id"], None, "index"),
            ("no column", vec![], Some(I::Btree(BTreeIndex {})), "columns"),
            ("an empty column", vec![""], Some(I::Btree(BTreeIndex {})), "columns[0]"),
            ("two columns", vec!["id", "text"], Some(I::Btree(BTreeIndex {})), "columns"),
            ("an unknown distance", vec!["vector"], Some(I::IvfFlat(IvfFlatIndex { ivf: ivf(99) })), "index.ivf_flat.ivf.distance_type"),
            ("5 bits", vec!["vector"], Some(pq(0, 5)), "index.ivf_pq.pq.num_bits"),
            ("vectors of ids", vec!["id"], Some(I::IvfFlat(IvfFlatIndex { ivf: None })), "index"),
            ("vectors of text", vec!["text"], Some(pq(0, 0)), "index"),
            ("B-tree of vectors", vec!["vector"], Some(I::Btree(BTreeIndex {})), "index"),
            ("B-tree of structs", vec!["place"], Some(I::Btree(BTreeIndex {})), "index"),
            ("bitmap of vectors", vec!["vector"], Some(I::Bitmap(BitmapIndex {})), "index"),
            ("labels of ids", vec!["id"], Some(I::LabelList(LabelListIndex {})), "index"),
            ("words of ids", vec!["id"], Some(fts("", "")), "index"),
            ("trigrams of ids", vec!["id"], Some(I::Ngram(NGramIndex {})), "index"),
            ("FM of ids", vec!["id"], Some(I::Fm(FmIndex {})), "index"),
            ("R-tree of ids", vec!["id"], Some(I::Rtree(RTreeIndex { page_size: 0 })), "index"),
            ("R-tree pages of 1", vec!["id"], Some(I::Rtree(RTreeIndex { page_size: 1 })), "index.rtree.page_size"),
            ("a bloom filter of 2", vec!["id"], Some(bloom(2.0)), "index.bloom_filter.probability"),
            ("a bloom filter of NaN", vec!["id"], Some(bloom(f64::NAN)), "index.bloom_filter.probability"),
            ("an unknown tokenizer", vec!["text"], Some(fts("nosuch", "")), "index.fts.base_tokenizer"),
            ("a tokenizer that is a path", vec!["text"], Some(fts("jieba/../../x", "")), "index.fts.base_tokenizer"),
            ("a tokenizer without its files", vec!["text"], Some(fts("lindera/ipadic", "")), "index.fts.base_tokenizer"),
            ("an unknown language", vec!["text"], Some(fts("", "Klingon")), "index.fts.language"),
        ];
        for (what, columns, kind, field) in cases {
            bad.refused(
                &format!("an index: {what}"),
                Code::InvalidArgument,
                field,
                async |mut to| {
                    let request = CreateIndexRequest {
                        table: "t".into(),
                        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
                        index: Some(IndexSpec { kind: kind.clone() }),
                        ..Default::default()
                    };
                    to.table.create_index(request).await
                },
            )
            .await;
        }
        for seconds in [-1, i64::MIN] {
            let negative = Some(prost_types::Duration { seconds, nanos: 0 });
            bad.refused(
                "a negative age",
                Code::InvalidArgument,
                "prune_older_than",
                async |mut to| {
                    let request = OptimizeTableRequest {
                        table: "t".into(),
                        prune_older_than: negative,
                        ..Default::default()
                    };
                    to.table.optimize_table(request).await
                },
            )
            .await;
            bad.refused(
                "a negative wait",
                Code::InvalidArgument,
                "timeout",
                async |mut to| {
                    let request = WaitForIndexesRequest {
                        table: "t".into(),
                        names: vec![],
                        timeout: negative,
                    };
                    to.table.wait_for_indexes(request).await
                },
            )
            .await;
        }
        bad.refused(
            "an age beyond all time",
            Code::InvalidArgument,
            "prune_older_than",
            async |mut to| {
                let request = OptimizeTableRequest {
                    table: "t".into(),
                    prune_older_than: Some(prost_types::Duration {
                        seconds: i64::MAX,
                        nanos: 0,
                    }),
                    ..Default::default()
                };
                to.table.optimize_table(request).await
            },
        )
        .await;
        bad_alterations(&mut bad).await;
        bad.finish().await;
    });
}

async fn bad_alterations(bad: &mut Bad) {
    let alter = |path: &str| ColumnAlteration {
        path: path.into(),
        ..Default::default()
    };
    let to_type = |path: &str, kind: i32| ColumnAlteration {
        r#type: pb_field("", Some(kind)).r#type,
        ..alter(path)
    };
    let rename = |path: &str, name: &str| ColumnAlteration {
        rename: Some(name.into()),
        ..alter(path)
    };
    #[rustfmt::skip]
    let cases = vec![
        ("nothing", vec![], "alterations"),
        ("no path", vec![rename("", "b")], "alterations[0].path"),
        ("no change", vec![alter("id")], "alterations[0]"),
        ("no name", vec![rename("id", "")], "alterations[0].rename"),
        ("a control character", vec![rename("id", "a\0")], "alterations[0].rename"),
        ("a column twice", vec![rename("id", "a"), rename("id", "b")], "alterations[1].path"),
        ("an unknown type", vec![to_type("id", 99)], "alterations[0].type.kind"),
        ("text to integers", vec![to_type("text", TypeKind::Int64 as i32)], "alterations"),
        ("integers to a list", vec![to_type("id", TypeKind::List as i32)], "alterations[0].type.children"),
        ("a column to another's name", vec![rename("size", "text")], "alterations"),
        ("a column to a path", vec![rename("size", "a.b")], "alterations"),
    ];
    for (what, alterations, field) in cases {
        bad.refused(
            &format!("alter: {what}"),
            Code::InvalidArgument,
            field,
            async |mut to| {
                let request = AlterColumnsRequest {
                    table: "t".into(),
                    alterations: alterations.clone(),
                };
                to.table.alter_columns(request).await
            },
        )
        .await;
    }
    for (what, columns, field) in [
        ("nothing", vec![], "columns"),
        ("an empty name", vec![""], "columns[0]"),
        ("a column twice", vec!["id", "id"], "columns[1]"),
        (
            "every column",
            vec!["id", "text", "size", "at", "tags", "place", "vector"],
            "columns",
        ),
    ] {
        bad.refused(
            &format!("drop: {what}"),
            Code::InvalidArgument,
            field,
            async |mut to| {
                let request = DropColumnsRequest {
                    table: "t".into(),
                    columns: columns.iter().map(|c| (*c).to_owned()).collect(),
                };
                to.table.drop_columns(request).await
            },
        )
        .await;
    }
}
