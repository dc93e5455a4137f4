//! The tar reader where archives are long or lie about their length.

use std::io::{Cursor, Read};

use super::tar::{Archive, Entry, Kind};

const GIB: u64 = 1 << 30;

/// So many bytes, which are no header; most of the buffer is left as it is, so that gibibytes cost nothing.
struct Many(u64);

impl Read for Many {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(first) = buffer.first_mut() {
            *first = b'x';
        }
        let count = usize::try_from(self.0).unwrap().min(buffer.len());
        self.0 -= count as u64;
        Ok(count)
    }
}

fn header(kind: u8, name: &str, size: &[u8; 12]) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(size);
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(size: u64) -> [u8; 12] {
    format!("{size:011o}\0").into_bytes().try_into().unwrap()
}

fn base_256(size: u64) -> [u8; 12] {
    let mut field = [0_u8; 12];
    field[0] = 0x80;
    field[4..].copy_from_slice(&size.to_be_bytes());
    field
}

fn pax(records: &str) -> Vec<u8> {
    let mut bytes = header(b'x', "PaxHeaders/x", &octal(records.len() as u64));
    bytes.extend(records.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn all(bytes: impl Read) -> std::io::Result<Vec<Entry>> {
    let mut archive = Archive::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = archive.next()? {
        found.push(entry);
    }
    Ok(found)
}

/// What stands behind five gibibytes is found, however their number is written; who reads 33 bits of it goes astray in the middle.
#[test]
fn more_than_four_gibibytes_are_passed_over_whichever_way_they_are_counted() {
    let size = 5 * GIB;
    let next = [header(b'0', "next", &octal(0)), vec![0; 1024]].concat();
    for (way, begin) in [
        ("base 256", header(b'0', "big", &base_256(size))),
        ("pax", [pax("19 size=5368709120\n"), header(b'0', "big", &octal(0))].concat()),
        ("octal", header(b'0', "big", &octal(size))),
    ] {
        let found = all(Cursor::new(begin).chain(Many(size)).chain(Cursor::new(next.clone()))).unwrap();
        let names: Vec<(&[u8], u64)> = found.iter().map(|entry| (entry.path.as_slice(), entry.size)).collect();
        assert_eq!(names, [(b"big".as_slice(), size), (b"next", 0)], "{way}");
    }
    // control: cut to 32 bits, the content itself would be read as headers
    let cut = header(b'0', "big", &base_256(size & 0xffff_ffff));
    all(Cursor::new(cut).chain(Many(size)).chain(Cursor::new(next))).unwrap_err();
}

/// A pax size counts, not the header's: what lies within the content is no entry.
#[test]
fn an_archive_within_a_file_stays_within() {
    let inner = [header(b'0', "hidden", &octal(0)), vec![0; 512]].concat();
    let begin = |records: &str, size| [pax(records), header(b'0', "outer", &octal(size)), inner.clone(), vec![0; 1024]].concat();
    let names = |bytes: Vec<u8>| all(Cursor::new(bytes)).unwrap().into_iter().map(|entry| entry.path).collect::<Vec<_>>();
    assert_eq!(names(begin("13 size=1024\n", 0)), [b"outer".to_vec()]);
    // control: without the record the header counts, and what lies within comes out
    assert_eq!(names(begin("12 comment=\n", 0).into_iter().chain([]).collect()), [b"outer".to_vec(), b"hidden".to_vec()]);
}

#[test]
fn what_lies_about_its_length_or_itself_is_refused() {
    let good = [header(b'0', "a", &octal(3)), b"abc".to_vec(), vec![0; 509], vec![0; 1024]].concat();
    assert_eq!(all(Cursor::new(good.clone())).unwrap()[0].kind, Kind::File);
    let mut wrong = good.clone();
    wrong[0] = b'b';
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("checksum", wrong),
        ("cut in a header", good[..300].to_vec()),
        ("cut in a file", good[..514].to_vec()),
        ("cut before the zeros", good[..600].to_vec()),
        ("negative size", [header(b'0', "a", &[0xff; 12]), vec![0; 1024]].concat()),
        ("beyond 63 bits", [header(b'0', "a", &base_256(1 << 63)), vec![0; 1024]].concat()),
        ("no number", [header(b'0', "a", b"0000000009z\0"), vec![0; 1024]].concat()),
        ("garbage behind", [good.clone(), b"more".to_vec()].concat()),
        ("sparse", [header(b'S', "a", &octal(0)), vec![0; 1024]].concat()),
        ("unknown type", [header(b'Q', "a", &octal(0)), vec![0; 1024]].concat()),
        ("sparse by pax", [pax("22 GNU.sparse.major=1\n"), good.clone()].concat()),
        ("two names", [pax("9 path=x\n"), header(b'L', "l", &octal(1)), b"y".to_vec(), vec![0; 511], good.clone()].concat()),
        ("twice in one header", [pax("9 path=x\n9 path=y\n"), good.clone()].concat()),
        ("a record too long", [pax("99 path=x\n"), good.clone()].concat()),
        ("a header before nothing", [pax("9 path=x\n"), vec![0; 1024]].concat()),
        ("a long extended header", [header(b'x', "x", &octal(2 << 20)), vec![b'x'; 2 << 20]].concat()),
        ("global names", [header(b'g', "g", &octal(9)), b"9 path=x\n".to_vec(), vec![0; 503], good.clone()].concat()),
        ("another format", {
            let mut block = header(b'0', "a", &octal(0));
            block[257..263].copy_from_slice(b"vstar\0");
            [block, vec![0; 1024]].concat()
        }),
    ];
    for (name, bytes) in cases {
        let error = all(Cursor::new(bytes)).expect_err(name);
        assert!(error.to_string().starts_with("the archive is refused"), "{name}: {error}");
    }
}
