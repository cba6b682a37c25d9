//! Vectors: from files, from rows, and as the contract carries them.

use std::{fs, path::Path};

use arrow::{
    array::{Array, AsArray},
    compute::cast,
    datatypes::{DataType, Float32Type},
};

use super::error::CliError;
use crate::proto::v1;

/// First bytes of a NumPy file.
const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// As raw little-endian float32, the fast form of the contract.
pub(super) fn to_proto(vector: &[f32]) -> v1::Vector {
    let data: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = v1::VectorBytes {
        element: v1::VectorElement::F32.into(),
        data: data.into(),
    };
    v1::Vector {
        data: Some(v1::vector::Data::Bytes(bytes)),
    }
}

/// One vector from a file: `.json` (an array of numbers), `.npy` (float32) or
/// `.bin` (raw little-endian float32).
pub(super) fn read(path: &Path) -> Result<Vec<f32>, CliError> {
    let bytes = fs::read(path).map_err(|error| CliError::file(path, error))?;
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let vector = match ending {
        "json" => serde_json::from_slice(&bytes).map_err(|_| "is no array of numbers".to_string()),
        "npy" => from_npy(&bytes).map_err(str::to_string),
        "bin" => from_le_bytes(&bytes).ok_or_else(|| "is no whole number of float32 values".into()),
        _ => Err("is not named .json, .npy or .bin".into()),
    };
    let vector = vector.map_err(|problem| CliError::file(path, problem))?;
    if vector.is_empty() {
        return Err(CliError::file(path, "holds no vector"));
    }
    Ok(vector)
}

fn from_le_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    rest.is_empty()
        .then(|| values.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The format of numpy.lib.format, versions 1 to 3: magic, version, length of
/// the header (2 bytes in version 1, then 4), the header as a Python dict, data.
fn from_npy(bytes: &[u8]) -> Result<Vec<f32>, &'static str> {
    const BROKEN: &str = "is no NumPy file";
    let rest = bytes.strip_prefix(NPY_MAGIC).ok_or(BROKEN)?;
    let (version, rest) = rest.split_at_checked(2).ok_or(BROKEN)?;
    let (length, rest) = if version[0] == 1 {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(BROKEN)?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(BROKEN)?;
        (u32::from_le_bytes(*length) as usize, rest)
    };
    let (header, data) = rest.split_at_checked(length).ok_or(BROKEN)?;
    let header = std::str::from_utf8(header).map_err(|_| BROKEN)?;
    let header: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    if !header.contains("'descr':'<f4'") {
        return Err("holds no little-endian float32");
    }
    let shape = header
        .split_once("'shape':(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .ok_or(BROKEN)?
        .0;
    let long_axes = shape
        .split(',')
        .filter(|n| !n.is_empty() && *n != "1")
        .count();
    if long_axes > 1 {
        return Err("holds more than one vector");
    }
    from_le_bytes(data).ok_or(BROKEN)
}

/// The vector in one row of a list column; `None` for null.
pub(super) fn at(column: &dyn Array, row: usize) -> Result<Option<Vec<f32>>, CliError> {
    if column.is_null(row) {
        return Ok(None);
    }
    let items = match column.data_type() {
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        other => {
            return Err(CliError::Data(format!(
                "a column of {other} holds no vectors"
            )));
        }
    };
    let items = cast(&items, &DataType::Float32)?;
    Ok(Some(items.as_primitive::<Float32Type>().values().to_vec()))
}

/// The name of the column to search: the one named, else the only one that
/// holds vectors.
pub(super) fn column(named: Option<&str>, schema: &v1::Schema) -> Result<String, CliError> {
    if let Some(name) = named {
        return Ok(name.to_string());
    }
    let mut columns = schema
        .fields
        .iter()
        .filter(|f| is_vector(f))
        .map(|f| f.name.clone());
    match (columns.next(), columns.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(CliError::Usage("the table has no vector column".into())),
        (Some(a), Some(b)) => Err(CliError::Usage(format!(
            "--vector-column: choose one, such as {a} or {b}"
        ))),
    }
}

fn is_vector(field: &v1::Field) -> bool {
    use v1::TypeKind::{FixedSizeList, Float16, Float32, Float64, Int8, Uint8};
    let Some(list) = field.r#type.as_ref().filter(|t| t.kind() == FixedSizeList) else {
        return false;
    };
    let item = list.children.first().and_then(|item| item.r#type.as_ref());
    item.is_some_and(|t| matches!(t.kind(), Float16 | Float32 | Float64 | Int8 | Uint8))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{FixedSizeListArray, ListArray},
        datatypes::Float64Type,
    };

    use super::*;

    fn read_as(name: &str, bytes: &[u8]) -> Result<Vec<f32>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    /// As `numpy.save` of version 1 writes it.
    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn files_of_each_kind_are_read() {
        let vector = vec![1.0f32, -2.5, 0.0];
        let raw: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(read_as("v.json", b"[1, -2.5, 0]"), Ok(vector.clone()));
        assert_eq!(read_as("v.bin", &raw), Ok(vector.clone()));
        for shape in ["(3,)", "(1, 3)", "(3, 1)"] {
            let header =
                format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}   \n");
            assert_eq!(
                read_as("v.npy", &npy(&header, &raw)),
                Ok(vector.clone()),
                "{shape}"
            );
        }
    }

    #[test]
    fn wrong_files_say_why() {
        let two = npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
            &[0; 16],
        );
        let double = npy(
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",
            &[0; 16],
        );
        for (name, bytes, part) in [
            ("v.json", &b"{}"[..], "no array of numbers"),
            ("v.json", b"[]", "holds no vector"),
            ("v.bin", b"12345", "whole number"),
            ("v.npy", b"\x93NUMPY\x01\x00\xff\xff{", "is no NumPy file"),
            ("v.npy", b"hello", "is no NumPy file"),
            ("v.npy", &two, "more than one vector"),
            ("v.npy", &double, "no little-endian float32"),
            ("v.txt", b"1", "is not named"),
        ] {
            let problem = read_as(name, bytes).unwrap_err();
            assert!(problem.contains(part), "{name}: {problem}");
        }
    }

    #[test]
    fn vectors_come_out_of_rows() {
        let rows = vec![Some(vec![Some(1.5), Some(2.0)]), None];
        let fixed = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(rows.clone(), 2);
        assert_eq!(at(&fixed, 0).unwrap(), Some(vec![1.5, 2.0]));
        assert_eq!(at(&fixed, 1).unwrap(), None);
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>(rows);
        assert_eq!(at(&list, 0).unwrap(), Some(vec![1.5, 2.0]));
    }
}
