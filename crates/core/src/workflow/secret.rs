//! Literal secrets: values in the files that look like credentials.
//!
//! in: the tree of a file; out: faults, and what must be masked in every message.
//! **Invariant:** the fault says where and which kind, never the value. A reference (`secret://provider/path#field`) is no secret.
//!
//! Three tests, each on one scalar: forms that only credentials have (prefixes of providers, key blocks, tokens of three
//! parts, passwords in URLs), keys and options that name a credential, and opaque strings of high entropy
//! (at least 24 characters of mixed case and digits with at least 4 bits a character).

use super::diagnostics::{Fault, Masked};
use super::yaml::{Node, Plain, Value, resolve};

/// Prefix of a credential, the fewest characters that must follow, and whose it is.
const PREFIXES: &[(&str, usize, &str)] = &[
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("ghp_", 20, "a GitHub token"),
    ("gho_", 20, "a GitHub token"),
    ("ghu_", 20, "a GitHub token"),
    ("ghs_", 20, "a GitHub token"),
    ("ghr_", 20, "a GitHub token"),
    ("github_pat_", 20, "a GitHub token"),
    ("glpat-", 16, "a GitLab token"),
    ("xoxb-", 10, "a Slack token"),
    ("xoxp-", 10, "a Slack token"),
    ("xoxa-", 10, "a Slack token"),
    ("xapp-", 10, "a Slack token"),
    ("sk-", 20, "an API key"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("AIza", 30, "a Google API key"),
    ("ya29.", 20, "a Google token"),
    ("hf_", 20, "a Hugging Face token"),
    ("npm_", 30, "an npm token"),
    ("pypi-", 40, "a PyPI token"),
    ("hvs.", 20, "a Vault token"),
    ("SG.", 30, "a SendGrid key"),
    ("AGE-SECRET-KEY-1", 20, "an age key"),
    ("dop_v1_", 32, "a DigitalOcean token"),
];

const ENTROPY_LENGTH_MIN: usize = 24;
const ENTROPY_BITS_MIN: f64 = 4.0;

/// Looks at every scalar below `node`.
pub(super) fn scan(node: &Node, key: &str, faults: &mut Vec<Fault>, masked: &mut Vec<Masked>) {
    match &node.value {
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| scan(value, &key.text, faults, masked)),
        Value::Sequence(items) => {
            let mut option = "";
            for item in items {
                // `--password`, `value`: the option names the value after it
                scan(item, if option.is_empty() { key } else { option }, faults, masked);
                option = match &item.value {
                    Value::Scalar { text, .. } if text.starts_with("--") && !text.contains('=') => text,
                    _ => "",
                };
            }
        }
        Value::Scalar { text, plain } => {
            let opaque = !matches!(resolve(text, *plain), Plain::Null | Plain::Flag(_));
            if let Some(what) = opaque.then(|| suspicion(key, text)).flatten() {
                let message = format!("the value of `{key}` looks like {what}");
                let hint = "remove it and revoke it: whoever reads this file has it; name it as secret://provider/path#field instead";
                faults.push(Fault::error("workflow/literal-secret", node.place, message, hint));
                masked.push(Masked { place: node.place, text: text.clone() });
            }
        }
    }
}

/// What `text` looks like, if it looks like a credential.
fn suspicion(key: &str, text: &str) -> Option<&'static str> {
    if text.starts_with("secret://") || text.trim().is_empty() {
        return None;
    }
    if let Some(what) = text.split(|c: char| !is_opaque(c)).find_map(known_form) {
        return Some(what);
    }
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    if password_in_url(text) {
        return Some("a URL with a password");
    }
    let (name, value) = text.strip_prefix("--").and_then(|option| option.split_once('=')).unwrap_or((key, text));
    if names_credential(name, value) {
        return Some("a credential");
    }
    text.split(|c: char| !is_opaque(c)).any(high_entropy).then_some("a random key")
}

/// Characters of which tokens consist.
fn is_opaque(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=_-.".contains(c)
}

fn known_form(word: &str) -> Option<&'static str> {
    let word = word.trim_start_matches(['=', '/']);
    let prefix = PREFIXES.iter().find(|(prefix, least, _)| {
        word.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() >= *least && rest.chars().any(|c| c.is_ascii_digit() || c.is_ascii_uppercase()))
    });
    let web_token = word.starts_with("eyJ") && word.split('.').filter(|part| part.len() >= 10).count() == 3;
    prefix.map(|(_, _, what)| *what).or(web_token.then_some("a signed web token"))
}

fn password_in_url(text: &str) -> bool {
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
}

/// True if `name` is that of a credential and `value` could be one.
fn names_credential(name: &str, value: &str) -> bool {
    let words: Vec<String> = name.split(['_', '-', '.']).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [.., "password" | "passwd" | "passphrase" | "pwd" | "apikey"] => !value.is_empty(),
        [.., "api" | "access" | "secret" | "private" | "signing" | "encryption", "key"] | [.., "secret"] => !value.is_empty(),
        // `pad_token: "<pad>"` and `max_tokens: 512` are language models' words
        [.., "token" | "credential" | "credentials"] => {
            value.len() >= 12 && value.chars().all(is_opaque) && value.chars().any(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

/// Mixed case and digits in quick change (words in camel case and paths change seldom), and Shannon's entropy of the
/// characters at least [`ENTROPY_BITS_MIN`].
fn high_entropy(word: &str) -> bool {
    let has = |test: fn(&u8) -> bool| word.bytes().any(|byte| test(&byte));
    let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    let class = |byte: u8| (byte.is_ascii_lowercase(), byte.is_ascii_uppercase(), byte.is_ascii_digit());
    let letters = |byte: &u8| byte.is_ascii_alphanumeric();
    let pairs = word.bytes().zip(word.bytes().skip(1)).filter(|(a, b)| letters(a) && letters(b));
    let changes = pairs.filter(|(a, b)| class(*a) != class(*b)).count();
    if word.len() < ENTROPY_LENGTH_MIN || !mixed || changes * 10 < word.len() * 3 {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in word.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = f64::from(counts.iter().sum::<u32>());
    let bits: f64 = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length).map(|p| -p * p.log2()).sum();
    bits >= ENTROPY_BITS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_seen_and_ordinary_values_are_not() {
        let split = |a: &str, b: &str| format!("{a}{b}");
        let secrets = [
            ("region", split("AKIA", "IOSFODNN7EXAMPLE")),
            ("note", split("ghp_", "16C7e42F292c6912E7710c838347Ae178B4a")),
            ("x", "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----".to_owned()),
            ("x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N".to_owned()),
            ("db", "postgres://app:hunter2@db/prod".to_owned()),
            ("password", "hunter2".to_owned()),
            ("db_password", "1234".to_owned()),
            ("aws_secret_key", "x".to_owned()),
            ("token", "a8f5f167f44f4964e6c998dee827110c".to_owned()),
            ("run", "--api-key=abc".to_owned()),
            ("salt", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY".to_owned()),
            ("seed", "zT3xQ/8mVp+L0aYd7KcWr5uHn2Bf9SgE".to_owned()),
        ];
        for (key, text) in &secrets {
            assert!(suspicion(key, text).is_some(), "{key}: {text}");
        }
        let ordinary = [
            ("source", "s3://data-lake/raw/"),
            ("container", "ml_training:2026.06"),
            ("pad_token", "<|endoftext|>"),
            ("max_tokens", "512"),
            ("tokenizer", "bert-base-uncased"),
            ("password", "secret://vault/db#password"),
            ("digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
            ("path", "experiments/2026/RandomForestClassifier/Run17"),
            ("purpose", "Predict employment from census answers, for planning of services in 2026"),
            ("estimator", "sklearn.ensemble.HistGradientBoostingClassifier"),
            ("key", "id"),
            ("url", "https://example.org/a:b@c"),
        ];
        for (key, text) in ordinary {
            assert_eq!(suspicion(key, text), None, "{key}: {text}");
        }
    }
}
