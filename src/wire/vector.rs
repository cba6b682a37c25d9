//! Vectors as clients send them.

use half::{bf16, f16};

use crate::{
    config::Limits,
    domain::{Error, Result},
    proto::v1::{self as pb, VectorElement, vector::Data},
};

/// A query vector as `f32`. Packed floats are moved; bytes are widened or, from
/// `f64`, rounded. `field` is the path of `v`.
pub fn query_vector(v: pb::Vector, field: &str, limits: &Limits) -> Result<Vec<f32>> {
    let (values, path) = match v.data {
        None => return Err(Error::invalid(field, "needs floats or bytes")),
        Some(Data::Floats(floats)) => {
            let path = format!("{field}.floats.values");
            check_length(floats.values.len(), &path, limits)?;
            (floats.values, path)
        }
        Some(Data::Bytes(bytes)) => {
            let path = format!("{field}.bytes.data");
            let element = element(bytes.element)
                .map_err(|fault| Error::invalid(format!("{field}.bytes.element"), fault))?;
            let count =
                count(element, &bytes.data).map_err(|fault| Error::invalid(&path, fault))?;
            check_length(count, &path, limits)?;
            (widen(element, &bytes.data, |value| value as f32), path)
        }
    };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(i) => Err(Error::invalid(
            path,
            format!("element {i} is not a finite float32"),
        )),
    }
}

fn check_length(length: usize, path: &str, limits: &Limits) -> Result<()> {
    let max = limits.max_vector_dimension;
    if length == 0 {
        Err(Error::invalid(path, "is empty"))
    } else if length > max {
        Err(Error::invalid(
            path,
            format!("has more than {max} elements"),
        ))
    } else {
        Ok(())
    }
}

/// The element type of a vector in bytes.
pub(super) fn element(number: i32) -> Result<VectorElement, &'static str> {
    match VectorElement::try_from(number) {
        Ok(VectorElement::Unspecified) => Ok(VectorElement::F32),
        Ok(element) => Ok(element),
        Err(_) => Err("is not an element type of this server"),
    }
}

/// Bytes of one element.
fn width(element: VectorElement) -> usize {
    match element {
        VectorElement::Unspecified | VectorElement::F32 => 4,
        VectorElement::F16 | VectorElement::Bf16 => 2,
        VectorElement::I8 | VectorElement::U8 => 1,
        VectorElement::F64 => 8,
    }
}

/// How many elements the bytes are.
pub(super) fn count(element: VectorElement, data: &[u8]) -> Result<usize, String> {
    let width = width(element);
    if data.len().is_multiple_of(width) {
        Ok(data.len() / width)
    } else {
        Err(format!(
            "has {} bytes, which is not a multiple of the element's {width}",
            data.len()
        ))
    }
}

/// The elements, each given to `make`: every element type fits into an `f64`
/// exactly. A rest that is not a whole element is left out: ask [`count`] first.
pub(super) fn widen<T>(element: VectorElement, data: &[u8], make: impl Fn(f64) -> T) -> Vec<T> {
    fn each<const N: usize, T>(data: &[u8], make: impl Fn([u8; N]) -> T) -> Vec<T> {
        data.as_chunks::<N>().0.iter().copied().map(make).collect()
    }
    match element {
        VectorElement::Unspecified | VectorElement::F32 => {
            each(data, |b| make(f32::from_le_bytes(b).into()))
        }
        VectorElement::F16 => each(data, |b| make(f16::from_le_bytes(b).into())),
        VectorElement::Bf16 => each(data, |b| make(bf16::from_le_bytes(b).into())),
        VectorElement::I8 => each(data, |b| make(i8::from_le_bytes(b).into())),
        VectorElement::U8 => each(data, |[b]| make(b.into())),
        VectorElement::F64 => each(data, |b| make(f64::from_le_bytes(b))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Violation, wire::tests::limits};

    fn floats(values: Vec<f32>) -> pb::Vector {
        pb::Vector {
            data: Some(Data::Floats(pb::PackedFloats { values })),
        }
    }

    fn bytes(element: VectorElement, data: Vec<u8>) -> pb::Vector {
        pb::Vector {
            data: Some(Data::Bytes(pb::VectorBytes {
                element: element.into(),
                data: data.into(),
            })),
        }
    }

    #[test]
    fn packed_floats_are_moved() {
        let values = vec![1.0, 2.0, 3.0];
        let address = values.as_ptr();
        let taken = query_vector(floats(values), "v", &limits()).unwrap();
        assert_eq!(taken, [1.0, 2.0, 3.0]);
        assert_eq!(taken.as_ptr(), address);
    }

    #[test]
    fn every_element_type_is_widened() {
        let want = [1.0f32, 2.0, 100.0];
        let forms = [
            bytes(
                VectorElement::F32,
                want.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ),
            bytes(
                VectorElement::Unspecified,
                want.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ),
            bytes(
                VectorElement::F16,
                want.iter()
                    .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                    .collect(),
            ),
            bytes(
                VectorElement::Bf16,
                want.iter()
                    .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                    .collect(),
            ),
            bytes(
                VectorElement::F64,
                want.iter()
                    .flat_map(|v| f64::from(*v).to_le_bytes())
                    .collect(),
            ),
            bytes(VectorElement::I8, vec![1, 2, 100]),
            bytes(VectorElement::U8, vec![1, 2, 100]),
        ];
        for form in forms {
            assert_eq!(
                query_vector(form.clone(), "v", &limits()).unwrap(),
                want,
                "{form:?}"
            );
        }
        assert_eq!(
            query_vector(bytes(VectorElement::I8, vec![0xff]), "v", &limits()).unwrap(),
            [-1.0]
        );
    }

    #[test]
    fn bad_vectors_name_their_field() {
        let limits = Limits {
            max_vector_dimension: 4,
            ..limits()
        };
        let mut unknown = bytes(VectorElement::F32, vec![0; 4]);
        if let Some(Data::Bytes(b)) = &mut unknown.data {
            b.element = 99;
        }
        for (bad, path) in [
            (pb::Vector { data: None }, "q.vectors[0]"),
            (floats(vec![]), "q.vectors[0].floats.values"),
            (floats(vec![1.0, f32::NAN]), "q.vectors[0].floats.values"),
            (floats(vec![f32::INFINITY]), "q.vectors[0].floats.values"),
            (floats(vec![0.0; 5]), "q.vectors[0].floats.values"),
            (bytes(VectorElement::F32, vec![]), "q.vectors[0].bytes.data"),
            (
                bytes(VectorElement::F32, vec![0; 7]),
                "q.vectors[0].bytes.data",
            ),
            (
                bytes(VectorElement::F16, vec![0; 3]),
                "q.vectors[0].bytes.data",
            ),
            (
                bytes(VectorElement::U8, vec![0; 5]),
                "q.vectors[0].bytes.data",
            ),
            (
                bytes(VectorElement::F64, 1e300f64.to_le_bytes().into()),
                "q.vectors[0].bytes.data",
            ),
            (
                bytes(VectorElement::F16, f16::NAN.to_le_bytes().into()),
                "q.vectors[0].bytes.data",
            ),
            (unknown, "q.vectors[0].bytes.element"),
        ] {
            match query_vector(bad.clone(), "q.vectors[0]", &limits) {
                Err(Error::Invalid(v)) => {
                    let fields: Vec<_> = v.iter().map(|Violation { field, .. }| field).collect();
                    assert_eq!(fields, [path], "{bad:?}");
                }
                other => panic!("{bad:?} gave {other:?}"),
            }
        }
    }
}
