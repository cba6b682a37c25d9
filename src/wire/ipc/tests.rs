use arrow::{
    array::{DictionaryArray, Int32Array, NullArray, StringArray, StringViewArray},
    compute::concat_batches,
    datatypes::{Field, Int32Type},
    ipc::{CompressionType, writer::IpcWriteOptions},
};
use rand::{RngExt, rngs::StdRng};

use super::*;
use crate::{
    proto::v1::RowFormat,
    wire::{
        ipc_chunk::{IpcChunker, MAX_CHUNK, MIN_CHUNK},
        rows::encode_rows,
        tests::{fields, random_array, random_batch, rng},
    },
};

fn one_column(array: ArrayRef) -> RecordBatch {
    let field = Field::new("c", array.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap()
}

fn stream(batch: &RecordBatch) -> Bytes {
    encode_stream(batch.schema_ref(), std::slice::from_ref(batch)).unwrap()
}

fn zstd(batch: &RecordBatch, times: usize) -> Bytes {
    let options = IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::ZSTD))
        .unwrap();
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), batch.schema_ref(), options).unwrap();
    for _ in 0..times {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap().into()
}

fn refused(stream: impl Into<Bytes>) -> String {
    match decode_stream(stream.into(), "rows.arrow_ipc") {
        Err(Error::Invalid(violations)) => {
            assert_eq!(violations[0].field, "rows.arrow_ipc");
            violations[0].description.clone()
        }
        other => panic!("was taken: {other:?}"),
    }
}

#[test]
fn streams_that_are_not_whole_are_refused() {
    let mut rng = rng();
    let batch = random_batch(&mut rng, 20);
    let good = stream(&batch);
    // Wherever it is cut, also between two messages and before the end marker.
    for length in 0..good.len() {
        refused(good.slice(..length));
    }
    for garbage in [&b"x"[..], b"\0\0\0\0", &good[..]] {
        assert!(refused([&good[..], garbage].concat()).contains("after the end"));
    }
    for bad in [
        &b"ARROW1\0\0"[..],
        b"PAR1",
        b"{\"a\": 1}",
        &[0xff; 64],
        &[0; 8],
    ] {
        refused(bad.to_vec());
    }
}

#[test]
fn changed_streams_never_panic_and_what_is_taken_can_be_read() {
    let mut rng = rng();
    let mut taken = 0;
    for _ in 0..100 {
        let batch = random_batch(&mut rng, 10);
        let good = if rng.random() {
            stream(&batch)
        } else {
            zstd(&batch, 1)
        };
        for _ in 0..100 {
            let mut bad = good.to_vec();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut rng, &mut bad);
            }
            let Ok((schema, batches)) = decode_stream(bad.into(), "rows.arrow_ipc") else {
                continue;
            };
            taken += 1;
            // A changed type may be one that typed rows do not have.
            if let Err(error) = encode_rows(&schema, &batches, RowFormat::Typed) {
                assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
            }
        }
    }
    assert!(
        taken > 0,
        "every change was refused: the streams were never good"
    );
}

fn mutate(rng: &mut StdRng, bytes: &mut [u8]) {
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..4) {
        0 => bytes[at] = rng.random(),
        1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
        _ => {
            // A number that is too large where a length may be.
            let end = (at + 8).min(bytes.len());
            let wild = [i64::MAX, -1, i64::MIN, 1 << 40][rng.random_range(0..4)].to_le_bytes();
            bytes[at..end].copy_from_slice(&wild[..end - at]);
        }
    }
}

#[test]
fn small_streams_cannot_become_large() {
    let zeros = vec![0; 2 << 20];
    let zeros = one_column(Arc::new(arrow::array::Int64Array::from(zeros)));
    assert!(refused(zstd(&zeros, 17)).contains("too large"));
    assert_eq!(decode_stream(zstd(&zeros, 1), "r").unwrap().1, [zeros]);

    let rows = one_column(Arc::new(NullArray::new(1 << 40)));
    assert!(refused(stream(&rows)).contains("impossible length"));

    let long = StringArray::from(vec!["x".repeat(1 << 20)]);
    let keys = Int32Array::from(vec![0; 10_000]);
    let shared = DictionaryArray::<Int32Type>::new(keys, Arc::new(long));
    assert!(refused(stream(&one_column(Arc::new(shared)))).contains("dictionaries"));

    let long = StringArray::from(vec!["x".repeat(1 << 20)]);
    let view = StringViewArray::from(&long);
    let (views, buffers, _) = view.into_parts();
    let many = vec![views[0]; 10_000].into();
    let views = StringViewArray::new(many, buffers, None);
    assert!(refused(stream(&one_column(Arc::new(views)))).contains("views"));
}

#[test]
fn types_that_cannot_be_stored_or_sized_are_refused() {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let union = [(0, item.clone())].into_iter().collect();
    for data_type in [
        DataType::FixedSizeList(item.clone(), -1),
        DataType::FixedSizeList(item.clone(), 0),
        DataType::FixedSizeBinary(-8),
        DataType::List(Arc::new(Field::new(
            "item",
            DataType::FixedSizeBinary(-8),
            true,
        ))),
        DataType::Union(union, arrow::datatypes::UnionMode::Sparse),
        DataType::ListView(item.clone()),
    ] {
        let schema = Schema::new(vec![Field::new("c", data_type.clone(), true)]);
        refused(encode_stream(&schema, &[]).unwrap());
    }
    refused(encode_stream(&Schema::empty(), &[]).unwrap());
}

#[test]
fn schemas_are_read_with_and_without_a_stream() {
    let mut rng = rng();
    let batch = random_batch(&mut rng, 5);
    let whole = stream(&batch);
    assert_eq!(decode_schema(&whole, "s"), Ok(batch.schema()));
    // What pyarrow's schema.serialize() gives: no end marker.
    let mut alone = encode_stream(batch.schema_ref(), &[]).unwrap();
    alone.truncate(alone.len() - 8);
    assert_eq!(decode_schema(&alone, "s"), Ok(batch.schema()));
    for length in 0..alone.len() {
        assert_eq!(fields(decode_schema(&alone[..length], "s")), ["s"]);
    }
}

#[test]
fn a_slice_is_sent_without_the_rest() {
    let mut rng = rng();
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let fields = vec![
        Field::new("v", DataType::FixedSizeList(item.clone(), 64), true),
        Field::new("t", DataType::Utf8, true),
        Field::new("l", DataType::List(item), true),
        Field::new(
            "s",
            DataType::Struct(vec![Field::new("b", DataType::Binary, true)].into()),
            true,
        ),
        Field::new("f", DataType::Boolean, true),
    ];
    let arrays = fields
        .iter()
        .map(|field| random_array(&mut rng, field, 20_000))
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let slice = batch.slice(9_001, 10);
    let sent = stream(&slice);
    assert!(
        sent.len() < 10 * 64 * 4 + 8_192,
        "{} bytes for 10 rows",
        sent.len()
    );
    assert_eq!(decode_stream(sent, "r").unwrap().1, [slice]);
}

/// All chunks of a stream, their sizes checked.
fn chunks(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<Bytes> {
    let mut chunker = IpcChunker::new(schema.clone()).unwrap();
    let mut chunks: Vec<Bytes> = Vec::new();
    for batch in batches {
        chunks.extend(chunker.push(batch).unwrap());
    }
    for chunk in &chunks {
        assert!(
            (MIN_CHUNK..=MAX_CHUNK).contains(&chunk.len()),
            "{} bytes",
            chunk.len()
        );
    }
    let last = chunker.finish().unwrap();
    assert!(last.len() <= MAX_CHUNK);
    chunks.push(last);
    chunks
}

#[test]
fn chunks_are_one_stream_of_1_to_2_mib() {
    let mut rng = rng();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let pair = vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Int64, true),
    ];
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", DataType::FixedSizeList(item.clone(), 96), true),
        Field::new("l", DataType::LargeList(item), true),
        Field::new("d", words, true),
        Field::new("s", DataType::Struct(pair.into()), true),
    ];
    let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
    let batches: Vec<_> = [10_000, 1, 0, 3, 15_000, 500]
        .into_iter()
        .map(|rows| {
            let arrays = fields
                .iter()
                .map(|f| random_array(&mut rng, f, rows + 2))
                .collect();
            RecordBatch::try_new(schema.clone(), arrays)
                .unwrap()
                .slice(1, rows)
        })
        .collect();
    let chunks = chunks(&schema, &batches);
    assert!(chunks.len() > 4, "{} chunks", chunks.len());
    let (found, got) = decode_stream(chunks.concat().into(), "r").unwrap();
    assert_eq!(found, schema);
    for batch in &got {
        let message = stream(batch).len();
        assert!(message < MAX_CHUNK, "a message of {message} bytes");
    }
    let want = concat_batches(&schema, &batches).unwrap();
    assert_eq!(concat_batches(&schema, &got).unwrap(), want);
}

#[test]
fn rows_larger_than_a_chunk_and_no_rows_at_all() {
    let long = |n: usize| "x".repeat(n);
    let rows = StringArray::from(vec![long(10), long(5 << 20), long(1), long(3 << 20)]);
    let batch = one_column(Arc::new(rows));
    let schema = batch.schema();
    let got = decode_stream(
        chunks(&schema, std::slice::from_ref(&batch))
            .concat()
            .into(),
        "r",
    );
    assert_eq!(concat_batches(&schema, &got.unwrap().1).unwrap(), batch);

    let none = chunks(&schema, &[]);
    assert_eq!(
        decode_stream(none.concat().into(), "r"),
        Ok((schema.clone(), vec![]))
    );

    let other = one_column(Arc::new(Int32Array::from(vec![1])));
    let mut chunker = IpcChunker::new(schema).unwrap();
    assert!(matches!(chunker.push(&other), Err(Error::Internal(_))));
}
