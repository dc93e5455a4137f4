//! Tables: formats, kinds, and bad input.

use seaworthy_inspect::table::{ColumnKind, TableError};

use crate::support::{bytes_file, data, fixture, matrix, open, text_data};

fn kinds(data: &seaworthy_inspect::table::Dataset) -> Vec<(String, ColumnKind)> {
    data.columns().iter().map(|column| (column.name.clone(), column.kind)).collect()
}

#[test]
fn csv_kinds_and_rows() {
    let data = text_data("t.csv", "a,b,c,d,e,f\n1,1.5,x,true,2026-01-01,\n2,,007,false,2026-01-02T10:00:00Z,\n").unwrap();
    assert_eq!(data.rows(), 2);
    let found: Vec<ColumnKind> = data.columns().iter().map(|column| column.kind).collect();
    assert_eq!(
        found,
        [ColumnKind::Integer, ColumnKind::Number, ColumnKind::String, ColumnKind::Boolean, ColumnKind::Timestamp, ColumnKind::Empty]
    );
}

#[test]
fn json_lines_keep_types_apart() {
    let text = "{\"a\":1,\"b\":\"12\",\"c\":true,\"e\":[1]}\n\n{\"b\":12,\"a\":2.5,\"d\":18446744073709551615}\n";
    let data = text_data("t.jsonl", text).unwrap();
    assert_eq!(
        kinds(&data),
        [
            ("a", ColumnKind::Number),
            ("b", ColumnKind::String),
            ("c", ColumnKind::Boolean),
            ("e", ColumnKind::Nested),
            ("d", ColumnKind::String)
        ]
        .map(|(n, k)| (n.to_owned(), k))
    );
    let batch = data.batches().next().unwrap().unwrap();
    assert_eq!(batch.texts(1).iter().map(|cell| cell.as_deref()).collect::<Vec<_>>(), [Some("\"12\""), Some("12")]);
    assert_eq!(batch.texts(4)[1].as_deref(), Some("18446744073709551615"));
    assert_eq!(batch.numbers(0), [Some(1.0), Some(2.5)]);
}

#[test]
fn parquet_and_csv_of_one_table_read_alike() {
    let parquet = data("cancer_background.parquet");
    assert_eq!(parquet.rows(), 100);
    assert_eq!(parquet.columns()[0].kind, ColumnKind::Number);
    assert_eq!(parquet.columns()[10].kind, ColumnKind::Integer);
    let rows = matrix(&parquet, "target");
    assert_eq!((rows.columns, rows.rows()), (10, 100));
    // a second pass and a projection in another order see the same cells
    let batch = parquet.batches_of(vec![10, 0]).next().unwrap().unwrap();
    assert_eq!(batch.numbers(1)[0], Some(rows.values[0]));
    assert!(batch.numbers(0).iter().flatten().all(|label| *label == 0.0 || *label == 1.0));
}

#[test]
fn files_of_one_dataset_are_joined() {
    let files = vec![("1.csv", bytes_file(b"a,b\n1,x\n2,y\n")), ("2.jsonl", bytes_file(b"{\"a\":1.5,\"c\":true}\n"))];
    let data = open(files).unwrap();
    assert_eq!((data.rows(), data.columns().len()), (3, 3));
    assert_eq!(data.columns()[0].kind, ColumnKind::Number);
    assert!(data.file_has(0, 1) && !data.file_has(1, 1));
    let seen: Vec<(usize, u64, Vec<Option<f64>>)> =
        data.batches().map(|batch| batch.unwrap()).map(|batch| (batch.file(), batch.first_row(), batch.numbers(0))).collect();
    assert_eq!(seen, [(0, 0, vec![Some(1.0), Some(2.0)]), (1, 0, vec![Some(1.5)])]);
}

#[test]
fn bad_files_are_refused_by_name() {
    let parquet = std::fs::read(fixture("cancer_background.parquet")).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("e.csv", b"".to_vec(), "table/malformed", "empty"),
        ("e.parquet", b"".to_vec(), "table/malformed", "empty"),
        ("r.csv", b"a,b\n1,2\n3\n".to_vec(), "table/malformed", "line 3"),
        ("r.csv", b"a,b\n1,2\n3,4,5\n".to_vec(), "table/malformed", "line 3"),
        ("d.csv", b"a,a\n1,2\n".to_vec(), "table/duplicate-column", "`a`"),
        ("u.csv", b"a\n\xff\xfe\n".to_vec(), "table/malformed", "UTF-8"),
        ("t.parquet", parquet[..parquet.len() / 2].to_vec(), "table/malformed", "t.parquet"),
        ("t.pq", b"PAR1PAR1".to_vec(), "table/malformed", "t.pq"),
        ("x.csv.gz", vec![0x1f, 0x8b], "table/unsupported", "not supported yet"),
        ("x.xlsx", vec![1], "table/unsupported", ".xlsx"),
        ("x", vec![1], "table/unsupported", "extension"),
        ("j.jsonl", b"{\"a\":1}\n{\"a\":1,\"a\":2}\n".to_vec(), "table/malformed", "line 2"),
        ("j.jsonl", b"[1]\n".to_vec(), "table/malformed", "line 1"),
        ("j.jsonl", b"{\"a\":NaN}\n".to_vec(), "table/malformed", "line 1"),
        ("j.jsonl", b"{\"a\":1e400}\n".to_vec(), "table/malformed", "out of range"),
        ("j.jsonl", b"{\"a\":1} {\"a\":2}\n".to_vec(), "table/malformed", "trailing"),
    ];
    for (name, bytes, code, part) in cases {
        let error = open(vec![(name, bytes_file(&bytes))]).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(error.to_string().contains(part), "{name}: `{error}` lacks `{part}`");
        assert!(!error.hint().is_empty());
    }
    assert_eq!(open(Vec::new()).unwrap_err(), TableError::NoFiles);
}

#[test]
fn a_line_without_end_does_not_fill_memory() {
    let mut long = b"a\n".to_vec();
    long.resize(40 << 20, b'x');
    for name in ["l.csv", "l.jsonl"] {
        let error = open(vec![(name, bytes_file(&long))]).unwrap_err();
        assert_eq!(error.code(), "table/malformed", "{error}");
    }
    // a quote that never closes makes one record of all lines; control: with the quotes closed the same lines are read
    let open_quote = format!("a\n\"{}", "x\n".repeat(10 << 20));
    assert_eq!(text_data("q.csv", &open_quote).unwrap_err().code(), "table/malformed");
    let closed = format!("a\n\"say \"\"hi\"\"\nthere\"\n{}", "5\" pipe\n".repeat(3 << 20));
    assert_eq!(text_data("q.csv", &closed).unwrap().rows(), (3 << 20) + 1);
}

/// A byte flipped anywhere in a Parquet file is read or refused, never a panic.
#[test]
fn mutated_parquet_never_panics() {
    let original = std::fs::read(fixture("diabetes_background.parquet")).unwrap();
    let mut refused = 0;
    for at in (0..original.len()).step_by(23) {
        let mut bytes = original.clone();
        bytes[at] ^= 0x55;
        let result = open(vec![("m.parquet", bytes_file(&bytes))]).and_then(|data| data.batches().try_for_each(|batch| batch.map(|_| ())));
        refused += u32::from(result.is_err());
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_name() {
    assert_eq!(text_data("b.csv", "\u{feff}a,b\n1,2\n").unwrap().columns()[0].name, "a");
    assert_eq!(text_data("b.jsonl", "\u{feff}{\"a\":1}\n").unwrap().columns()[0].name, "a");
}

#[test]
fn an_unknown_column_gets_a_suggestion() {
    let data = text_data("t.csv", "employed,age\n1,2\n").unwrap();
    assert_eq!(data.column_place("emploied").unwrap_err().to_string(), "there is no column `emploied`; did you mean `employed`?");
}
