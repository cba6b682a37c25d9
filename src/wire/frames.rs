//! What must hold of an Arrow IPC stream before the decoder may see it. The
//! decoder of the arrow crate trusts lengths that a hostile sender chooses, and a
//! failed allocation ends the process; this walks the messages of the stream and
//! reads only their headers.

use arrow::{
    datatypes::{DataType, Schema},
    ipc::{self, CompressionType, Endianness, MessageHeader, convert::fb_to_schema},
};

use super::schema::MAX_FIELDS;

/// What marks a message, and with a length of 0 the end of the stream.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes that a stream of `length` bytes may become when compression, dictionaries
/// and views are undone: sixteen times its length, more than real columns of text
/// shrink to, and 256 MiB in any case.
pub(super) fn max_expanded(length: usize) -> u64 {
    (length as u64).saturating_mul(16).max(256 << 20)
}

/// Rows that a stream without any data may have, as one of null columns only.
const MIN_ROWS: u64 = 1 << 16;

/// Most dictionaries that a stream may carry: each costs a walk over the schema.
const MAX_DICTIONARIES: usize = 256;

/// One fault of a stream, in words for the client.
pub(super) type Fault = String;

/// Checks a whole stream: schema first, then batches, then the end marker, with
/// nothing after it, and nothing that would take more memory than a few times the
/// stream.
pub(super) fn check(stream: &[u8]) -> Result<(), Fault> {
    let mut rest = stream;
    schema_message(&mut rest)?;
    let mut budget = Budget::new(stream.len());
    while let Some((message, body)) = next(&mut rest)? {
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message
                    .header_as_record_batch()
                    .ok_or("a batch has no header")?;
                budget.batch(&batch, body)?;
                budget.rows(batch.length())?;
            }
            MessageHeader::DictionaryBatch => {
                let header = message.header_as_dictionary_batch();
                let batch = header
                    .and_then(|d| d.data())
                    .ok_or("a dictionary has no data")?;
                budget.dictionary()?;
                budget.batch(&batch, body)?;
            }
            _ => return Err("has a message that is neither a batch nor a dictionary".into()),
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "has {} bytes after the end of the stream",
            rest.len()
        ))
    }
}

/// The schema that a stream begins with. What follows is not looked at.
///
/// The arrow crate panics on types that it does not know: call this where panics
/// are caught.
pub(super) fn schema(stream: &[u8]) -> Result<Schema, Fault> {
    let message = schema_message(&mut { stream })?;
    let header = message.header_as_schema().ok_or("has no schema")?;
    if header.endianness() != Endianness::Little {
        return Err("is big-endian".into());
    }
    if header.fields().is_none_or(|fields| fields.is_empty()) {
        return Err("has a schema without columns".into());
    }
    let schema = fb_to_schema(header);
    let mut seen = 0;
    for field in schema.fields() {
        check_type(field.data_type(), &mut seen)?;
    }
    Ok(schema)
}

/// Arrow takes any number as a size, and then allocates by it. Run-end encoded
/// columns, unions and list views are nothing that LanceDB stores, and their few
/// bytes could stand for terabytes of rows.
fn check_type(data_type: &DataType, seen: &mut usize) -> Result<(), Fault> {
    *seen += 1;
    if *seen > MAX_FIELDS {
        return Err(format!("has more than {MAX_FIELDS} columns"));
    }
    match data_type {
        DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size) if *size < 1 => {
            Err("has a column of fixed size without a size".into())
        }
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => check_type(child.data_type(), seen),
        DataType::Struct(children) => children
            .iter()
            .try_for_each(|child| check_type(child.data_type(), seen)),
        DataType::Dictionary(_, values)
            if values.is_nested()
                || matches!(**values, DataType::Utf8View | DataType::BinaryView) =>
        {
            Err("has a dictionary of lists, structs or views, which is not taken".into())
        }
        DataType::Dictionary(_, values) => check_type(values, seen),
        DataType::RunEndEncoded(..)
        | DataType::Union(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => Err(format!(
            "has a column of type {data_type}, which is not taken"
        )),
        _ => Ok(()),
    }
}

fn schema_message<'a>(rest: &mut &'a [u8]) -> Result<ipc::Message<'a>, Fault> {
    match next(rest)? {
        Some((message, [])) if message.header_type() == MessageHeader::Schema => Ok(message),
        Some(_) => Err("does not begin with a schema".into()),
        None => Err("has no schema".into()),
    }
}

/// The next message with its body, or `None` at the end marker.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(ipc::Message<'a>, &'a [u8])>, Fault> {
    let mut length = take(rest, 4)?;
    // Streams from before Arrow 0.15 have no marker.
    if length == CONTINUATION {
        length = take(rest, 4)?;
    }
    let length = length
        .iter()
        .rev()
        .fold(0, |n, byte| n << 8 | usize::from(*byte));
    if length == 0 {
        return Ok(None);
    }
    let message = ipc::root_as_message(take(rest, length)?)
        .map_err(|_| "has a message that is not one of Arrow IPC")?;
    let body =
        usize::try_from(message.bodyLength()).map_err(|_| "has a body of negative length")?;
    Ok(Some((message, take(rest, body)?)))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Fault> {
    let (taken, left) = rest.split_at_checked(length).ok_or(
        "is not an Arrow IPC stream, or it is cut off: it ends before its end-of-stream marker",
    )?;
    *rest = left;
    Ok(taken)
}

/// What decoding the stream may cost.
struct Budget {
    /// Bytes of the stream, compressed buffers counted as what they become.
    bytes: u64,
    max_bytes: u64,
    rows: u64,
    dictionaries: usize,
}

impl Budget {
    fn new(stream: usize) -> Self {
        Budget {
            bytes: stream as u64,
            max_bytes: max_expanded(stream),
            rows: 0,
            dictionaries: 0,
        }
    }

    fn dictionary(&mut self) -> Result<(), Fault> {
        self.dictionaries += 1;
        if self.dictionaries > MAX_DICTIONARIES {
            return Err(format!("has more than {MAX_DICTIONARIES} dictionaries"));
        }
        Ok(())
    }

    /// Rows that the data seen so far can be: a row of the narrowest column is a bit.
    fn max_rows(&self) -> u64 {
        self.bytes.saturating_mul(8).max(MIN_ROWS)
    }

    fn rows(&mut self, rows: i64) -> Result<(), Fault> {
        let rows = u64::try_from(rows).map_err(|_| "has a batch with a negative number of rows")?;
        self.rows = self.rows.saturating_add(rows);
        if self.rows > self.max_rows() {
            return Err("says that it has more rows than its data could be".into());
        }
        Ok(())
    }

    fn batch(&mut self, batch: &ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), Fault> {
        let codec = batch.compression().map(|compression| compression.codec());
        if codec.is_some_and(|codec| codec != CompressionType::ZSTD) {
            // LZ4 frames may grow beyond what they say, and nothing stops them.
            return Err("is compressed, and not by zstd".into());
        }
        for buffer in batch.buffers().ok_or("has a batch without buffers")? {
            let data = usize::try_from(buffer.offset())
                .ok()
                .zip(usize::try_from(buffer.length()).ok())
                .and_then(|(offset, length)| body.get(offset..offset.checked_add(length)?))
                .ok_or("has a buffer that is not in the stream")?;
            if codec.is_some() && !data.is_empty() {
                self.decompress(data)?;
            }
        }
        for node in batch.nodes().ok_or("has a batch without columns")? {
            let length = u64::try_from(node.length()).unwrap_or(u64::MAX);
            if length > self.max_rows() || !(0..=node.length()).contains(&node.null_count()) {
                return Err("has a column of an impossible length".into());
            }
        }
        Ok(())
    }

    /// A compressed buffer begins with the length that it becomes; -1 says that it
    /// is stored as it is.
    fn decompress(&mut self, data: &[u8]) -> Result<(), Fault> {
        let length = data
            .first_chunk()
            .ok_or("has a compressed buffer without its length")?;
        let length = i64::from_le_bytes(*length).max(0).unsigned_abs();
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > self.max_bytes {
            return Err("would be too large when decompressed: send it in parts".into());
        }
        Ok(())
    }
}
