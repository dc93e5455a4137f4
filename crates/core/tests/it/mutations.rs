//! Bad input: mutated workflow and settings files give a plan, or diagnostics with places inside the files; never a panic.

use seaworthy_core::plan;
use seaworthy_core::workflow::{CODES, Diagnostics, Severity, SourceText, SourceTexts, decode, parse};

use crate::sample::{SAMPLE, SETTINGS};

/// A small generator, so that every run mutates alike (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }
}

const WORDS: &[&str] = &[
    "é",
    "\u{202e}",
    "𝒳",
    "\0",
    "\t",
    "&a ",
    "*a ",
    "!!str ",
    "<<: ",
    "? ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "|",
    ">",
    "'",
    "\"",
    "#",
    "%",
    "@",
    "`",
    ",",
    ": ",
    "---\n",
    "...\n",
    "null",
    "~",
    "1e400",
    "-0",
    ".nan",
    "0x1F",
    "9007199254740993",
    "true",
    "\r",
    "\r\n",
    "\u{feff}",
    "\\",
    "../",
    "x: ",
];

fn mutate(text: &str, random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (a, b) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(8) {
        0 => {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            return bytes;
        }
        1 => return text.as_bytes()[..random.below(text.len())].to_vec(),
        2 => {
            let swap = |line: &str, key: &str| line.split_once(':').map_or(line.to_owned(), |(_, value)| format!("{key}:{value}"));
            let key = lines[b].split_once(':').map_or("key", |(key, _)| key).to_owned();
            lines[a] = swap(&lines[a], &key);
        }
        3 => {
            let line = lines[a].clone();
            lines.insert(b, line);
        }
        4 => lines.swap(a, b),
        5 => {
            let mut characters: Vec<char> = text.chars().collect();
            let at = random.below(characters.len());
            characters.splice(at..at, WORDS[random.below(WORDS.len())].chars());
            return characters.into_iter().collect::<String>().into_bytes();
        }
        6 => {
            lines.remove(a);
        }
        _ => {
            let indent = " ".repeat(random.below(6));
            lines[a] = if random.below(2) == 0 { format!("{indent}{}", lines[a]) } else { lines[a].trim_start().to_owned() };
        }
    }
    lines.join("\n").into_bytes()
}

/// Every place lies in the text that was given, and the quoted line is that line (or masked).
fn check(diagnostics: &Diagnostics, workflow: &[u8], settings: &[u8], case: usize) {
    assert!(!diagnostics.is_empty(), "case {case}: refused without a word");
    let unify = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    let (workflow, settings) = (unify(workflow), unify(settings));
    let (workflow, settings): (Vec<&str>, Vec<&str>) = (workflow.split('\n').collect(), settings.split('\n').collect());
    for d in diagnostics {
        assert!(CODES.iter().any(|(code, _)| *code == d.code), "case {case}: {d}");
        let lines = if d.file == "workflow.yaml" { &workflow } else { &settings };
        assert!((1..=lines.len()).contains(&d.line), "case {case}: {d}");
        let line = lines[d.line - 1];
        assert!((1..=line.chars().count() + 1).contains(&d.column), "case {case}: {d}");
        assert!(d.end.line > d.line || d.end.column >= d.column, "case {case}: {d}");
        assert!(d.source_line == line || d.source_line.contains('*'), "case {case}: {d}\n{line}");
        assert!(!d.message.is_empty() && !d.message.chars().any(char::is_control), "case {case}: {d}");
    }
}

/// A plan, or diagnostics with errors.
fn outcome(workflow: &[u8], settings: &[u8]) -> Result<(), Diagnostics> {
    let file = |path: &str, bytes: &[u8]| -> Result<SourceText, Diagnostics> { decode(path, bytes) };
    let sources = SourceTexts { workflow: file("workflow.yaml", workflow)?, settings: Some(file("seaworthy.yaml", settings)?) };
    let (workspace, diagnostics) = parse(&sources);
    let Some(workspace) = workspace else { return Err(diagnostics) };
    assert!(!diagnostics.has_errors());
    for workflow in &workspace.workflows {
        plan::build(&workspace, workflow.name.as_str()).map(|plan| assert!(!plan.steps.is_empty()))?;
    }
    Ok(())
}

#[test]
fn a_thousand_mutated_files_give_a_plan_or_a_diagnostic_in_its_place() {
    let mut random = Random(0x5EA_0012_2026);
    let (mut planned, mut refused, mut codes) = (0, 0, std::collections::BTreeSet::new());
    for case in 0..1000 {
        let (mut workflow, mut settings) = (SAMPLE.as_bytes().to_vec(), SETTINGS.as_bytes().to_vec());
        for _ in 0..=random.below(3) {
            let target = if random.below(2) == 0 { &mut workflow } else { &mut settings };
            if let Ok(text) = String::from_utf8(target.clone())
                && !text.trim().is_empty()
            {
                *target = mutate(&text, &mut random);
            }
        }
        match outcome(&workflow, &settings) {
            Ok(()) => planned += 1,
            Err(diagnostics) => {
                refused += 1;
                assert!(diagnostics.iter().any(|d| d.severity == Severity::Error), "case {case}");
                codes.extend(diagnostics.iter().map(|d| d.code));
                check(&diagnostics, &workflow, &settings, case);
            }
        }
    }
    assert!(planned >= 20 && refused >= 500, "mutations are neither harmless nor all fatal: {planned} planned, {refused} refused");
    assert!(codes.len() >= 12, "{codes:?}");
}

#[test]
fn pathological_texts_are_refused_quickly() {
    let texts = [
        String::new(),
        "\n\n\n".to_owned(),
        "- ".repeat(100_000),
        "[".repeat(100_000),
        "{".repeat(100_000),
        "? ".repeat(100_000),
        "a: ".repeat(60_000),
        "\"".repeat(50_001),
        "'".repeat(50_001),
        format!("a: {}", "x".repeat(1_000_000)),
        (0..40_000).map(|i| format!("k{i}: v\n")).collect(),
        "&a ".repeat(100_000),
        format!("{}a", " ".repeat(1_000_000)),
        "%YAML 9.9\n---\na".to_owned(),
        "workflows: [{name: w, steps: [{a: {params: {x: [[[[[[[[]]]]]]]]}}}]}]".to_owned(),
    ];
    for (case, text) in texts.iter().enumerate() {
        let start = std::time::Instant::now();
        if let Err(diagnostics) = outcome(text.as_bytes(), SETTINGS.as_bytes()) {
            check(&diagnostics, text.as_bytes(), SETTINGS.as_bytes(), case);
        }
        if let Err(diagnostics) = outcome(SAMPLE.as_bytes(), text.as_bytes()) {
            check(&diagnostics, SAMPLE.as_bytes(), text.as_bytes(), case);
        }
        assert!(start.elapsed().as_secs() < 30, "case {case} took {:?}", start.elapsed());
    }
}
