//! Rows as a table that a person can read.

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    datatypes::{DataType, Schema},
    ipc::reader::StreamReader,
    util::display::{ArrayFormatter, FormatOptions},
};
use bytes::Bytes;
use comfy_table::{ContentArrangement, Row, Table, presets};

use super::{error::CliError, vector};

/// Letters of a cell that are shown.
const CELL_LETTERS: usize = 60;

/// Numbers of a vector that are shown.
const VECTOR_NUMBERS: usize = 3;

/// The columns that a search adds. They come first, in this order, with four
/// decimals.
const SCORES: [&str; 3] = ["_relevance_score", "_distance", "_score"];

/// The batches of an Arrow IPC stream.
pub(super) fn decode(ipc: Bytes) -> Result<Vec<RecordBatch>, CliError> {
    let reader = StreamReader::try_new(std::io::Cursor::new(ipc), None)?;
    Ok(reader.collect::<Result<_, _>>()?)
}

/// One line a row, cut to the width of the terminal, if there is one.
pub(super) fn render(batches: &[RecordBatch]) -> Result<Table, CliError> {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let Some(first) = batches.first() else {
        return Ok(table);
    };
    let schema = first.schema();
    let order = order(&schema);
    table.set_header(order.iter().map(|i| printable(schema.field(*i).name())));
    for batch in batches {
        let columns = order
            .iter()
            .map(|i| cells(schema.field(*i).name(), batch.column(*i)));
        let columns: Vec<Vec<String>> = columns.collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let mut line = Row::from(columns.iter().map(|column| column[row].as_str()));
            line.max_height(1);
            table.add_row(line);
        }
    }
    Ok(table)
}

/// Which columns are shown, in which order. A fused list has the one score that
/// it is sorted by: LanceDB leaves distances and scores of the two searches mixed
/// in its `_score`, which tells a person nothing.
fn order(schema: &Schema) -> Vec<usize> {
    let [fused, ..] = SCORES;
    let scores = SCORES
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .take(match schema.column_with_name(fused) {
            Some(_) => 1,
            None => SCORES.len(),
        });
    let others =
        (0..schema.fields().len()).filter(|i| !SCORES.contains(&schema.field(*i).name().as_str()));
    scores.chain(others).collect()
}

fn cells(name: &str, column: &ArrayRef) -> Result<Vec<String>, CliError> {
    let rows = 0..column.len();
    if SCORES.contains(&name) {
        let scores = arrow::compute::cast(column, &DataType::Float64)?;
        let scores = arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(&scores);
        let score = |row| match scores.is_null(row) {
            true => String::new(),
            false => format!("{:.4}", scores.value(row)),
        };
        return Ok(rows.map(score).collect());
    }
    if is_vector(column.data_type()) {
        return rows
            .map(|row| Ok(short(vector::at(column, row)?.as_deref())))
            .collect();
    }
    let options = FormatOptions::default().with_display_error(true);
    let format = ArrayFormatter::try_new(column, &options)?;
    Ok(rows
        .map(|row| cut(&format.value(row).to_string()))
        .collect())
}

fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
            item.data_type().is_floating()
        }
        _ => false,
    }
}

/// The first numbers of a vector, and how many there are.
fn short(vector: Option<&[f32]>) -> String {
    let Some(vector) = vector else {
        return String::new();
    };
    let shown: Vec<String> = vector
        .iter()
        .take(VECTOR_NUMBERS)
        .map(|x| format!("{x:.3}"))
        .collect();
    match vector.len() {
        n if n > VECTOR_NUMBERS => format!("[{}, ...] {n}", shown.join(", ")),
        _ => format!("[{}]", shown.join(", ")),
    }
}

fn cut(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(CELL_LETTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Stored text may hold anything, terminal commands included.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{FixedSizeListArray, Float32Array, Int64Array, StringArray},
        datatypes::Float32Type,
    };

    use super::*;

    fn batch() -> RecordBatch {
        let vector = |x: f32| Some((0..384).map(|_| Some(x)).collect::<Vec<_>>());
        let vectors = [vector(0.12345), None];
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(vec![Some(7), None]))),
            (
                "text",
                Arc::new(StringArray::from(vec![
                    "long ".repeat(50),
                    "\x1b[31mred\n".into(),
                ])),
            ),
            (
                "vector",
                Arc::new(
                    FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 384),
                ),
            ),
            (
                "_distance",
                Arc::new(Float32Array::from(vec![0.123456, 1.0])),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    #[test]
    fn rows_are_cut_and_scores_come_first() {
        let mut table = render(&[batch()]).unwrap();
        table.set_width(200);
        let lines: Vec<Vec<String>> = table
            .to_string()
            .lines()
            .filter(|line| line.starts_with('│'))
            .map(|line| {
                line.split(['│', '┆'])
                    .map(|cell| cell.trim().to_string())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0][1..5], ["_distance", "id", "text", "vector"]);
        let long = format!("{}...", "long ".repeat(12));
        assert_eq!(
            lines[1][1..5],
            ["0.1235", "7", &long, "[0.123, 0.123, 0.123, ...] 384"]
        );
        assert_eq!(lines[2][1..5], ["1.0000", "", "[31mred", ""]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_fused_list_shows_the_score_that_it_is_sorted_by() {
        let column = |x: f32| -> ArrayRef { Arc::new(Float32Array::from(vec![x])) };
        let names = ["_score", "id", "_distance", "_relevance_score"];
        let batch = RecordBatch::try_from_iter(names.map(|n| (n, column(1.0)))).unwrap();
        assert_eq!(order(&batch.schema()), [3, 1]);
        assert_eq!(
            order(&batch.project(&[0, 1, 2]).unwrap().schema()),
            [2, 0, 1]
        );
    }

    #[test]
    fn a_narrow_terminal_gets_one_line_a_row() {
        let mut table = render(&[batch()]).unwrap();
        table.set_width(60);
        let text = table.to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let mut ipc = Vec::new();
        let mut writer =
            arrow::ipc::writer::StreamWriter::try_new(&mut ipc, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
        drop(writer);
        let half = Bytes::copy_from_slice(&ipc[..ipc.len() / 2]);
        assert!(decode(half).is_err());
        assert_eq!(decode(ipc.into()).unwrap(), [batch()]);
    }
}
