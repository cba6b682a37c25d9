//! What is bound, and what is refused.

use super::*;

#[test]
fn timestamps_keep_their_value_in_the_finest_unit() {
    assert_eq!(finest(1, 5), Some((1_000_000_005, "ns")));
    assert_eq!(finest(-1, 999_999_999), Some((-1, "ns")));
    // Beyond the years that nanoseconds can count.
    assert_eq!(finest(1 << 34, 0), Some(((1 << 34) * 1_000_000, "us")));
    assert_eq!(finest(i64::MAX, 0), Some((i64::MAX, "s")));
    assert_eq!(finest(1 << 34, 1), None);
}

#[test]
fn values_are_bound_as_literals() {
    let filter = Filter {
        field: "f".into(),
        sql: "a = $2 AND b -$1 < 0".into(),
        params: vec![Scalar::Int(-5), Scalar::Text("it's".into())],
    };
    let bound = Bound::filter(&filter, &Rules::default()).unwrap();
    assert_eq!(bound.sql, "a = 'it''s' AND b -(-5) < 0");
}

/// Long and deep expressions under the narrowest and the widest rules that can be
/// configured, on a stack as large as the server's. Prints what each took.
#[test]
fn what_costs_too_much_is_refused_quickly_and_overflows_nothing() {
    let widest = Rules {
        max_depth: 1_000,
        max_terms: 4_000,
        max_list: 1_000_000,
        ..Rules::default()
    };
    let work = move || {
        let schema = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "a",
            arrow::datatypes::DataType::Int64,
            true,
        )]);
        let schema = std::sync::Arc::new(schema);
        let around = |open: &str, inner: &str, close: &str, n: usize| {
            format!("{}{inner}{}", open.repeat(n), close.repeat(n))
        };
        for n in [100, 1_000, 4_000, 10_000, 100_000] {
            let shapes = [
                ("or", vec!["a = 1"; n / 2].join(" OR ")),
                ("and", vec!["a = 1"; n / 2].join(" AND ")),
                ("plus", vec!["a"; n].join(" + ") + " = 1"),
                ("parentheses", around("(", "a = 1", ")", n)),
                ("not", around("NOT ", "a = 1", "", n)),
                ("not()", around("NOT(", "a = 1", ")", n)),
                ("case", around("CASE WHEN true THEN ", "true", " END", n)),
                ("calls", around("abs(", "a", ")", n) + " = 1"),
                ("in", format!("a IN ({})", vec!["1"; n].join(","))),
                ("brackets", around("[", "1", "]", n) + " = a"),
            ];
            for (shape, sql) in shapes {
                for (width, rules) in [("default", &Rules::default()), ("widest", &widest)] {
                    let filter = Filter {
                        field: "f".into(),
                        sql: sql.clone(),
                        params: vec![],
                    };
                    let began = std::time::Instant::now();
                    let bound = Bound::filter(&filter, rules);
                    let took = began.elapsed();
                    // What is let through is planned as well.
                    let planned = bound.as_ref().ok().map(|b| b.check_filter(&schema).is_ok());
                    let all = began.elapsed();
                    println!(
                        "{shape} {n} {width}: {took:?}, {:?} {planned:?} {all:?}",
                        bound.is_ok()
                    );
                    if let Err(Error::Invalid(faults)) = &bound {
                        assert_eq!(faults[0].field, "f.sql");
                    }
                    assert!(
                        took < std::time::Duration::from_secs(5),
                        "{shape} {n}: {took:?}"
                    );
                    assert!(bound.is_err() || n <= 4_000 || shape == "in", "{shape} {n}");
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(work);
    thread.unwrap().join().unwrap();
}
