//! Retries: how often a step's body may be tried again, after how long, and for which causes.
//!
//! in: the words of `retries:`; out: [`Retries`].
//! **Invariant:** nothing is tried again but for a cause that the step names: a program that fails is not assumed to be harmless to repeat.

use serde::{Deserialize, Serialize};

use crate::limits::{RETRIES_MAX, RETRY_WAIT_S_DEFAULT, RETRY_WAIT_S_MAX};

/// What a step says of trying again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retries {
    /// Further attempts at most, after the first.
    pub max: u32,
    /// Seconds before the first of them; twice as long before each one after it.
    pub backoff_s: u64,
    /// What may be tried again.
    pub on: Vec<RetryCause>,
}

/// How a body may end and be tried again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RetryCause {
    /// It ran out of time.
    TimedOut,
    /// It used all its memory.
    OutOfMemory,
    /// A signal ended it.
    Killed,
    /// Its program returned this code.
    Exit(u8),
}

impl Retries {
    /// The default wait.
    pub const BACKOFF_S: u64 = RETRY_WAIT_S_DEFAULT;
    /// The most that `max` may be.
    pub const MAX: u32 = RETRIES_MAX;

    /// Seconds to wait before the next attempt, if there may be one after `failed` attempts, the last of which ended by `cause`.
    #[must_use]
    pub fn wait_s(&self, cause: RetryCause, failed: u32) -> Option<u64> {
        if failed == 0 || failed > self.max || !self.on.contains(&cause) {
            return None;
        }
        let doubled = 1_u64.checked_shl(failed - 1).unwrap_or(u64::MAX);
        Some(self.backoff_s.saturating_mul(doubled).min(RETRY_WAIT_S_MAX.max(self.backoff_s)))
    }
}

impl RetryCause {
    /// The words for it; `exit-N` stands for every code from 1 to 255.
    pub const WORDS: [&str; 4] = ["timed-out", "out-of-memory", "killed", "exit-N"];

    /// Reads one word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "timed-out" => Some(Self::TimedOut),
            "out-of-memory" => Some(Self::OutOfMemory),
            "killed" => Some(Self::Killed),
            _ => {
                let digits = text.strip_prefix("exit-").filter(|digits| !digits.starts_with(['0', '+']))?;
                digits.parse().ok().map(Self::Exit)
            }
        }
    }
}

impl std::fmt::Display for RetryCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed-out"),
            Self::OutOfMemory => f.write_str("out-of-memory"),
            Self::Killed => f.write_str("killed"),
            Self::Exit(code) => write!(f, "exit-{code}"),
        }
    }
}

impl From<RetryCause> for String {
    fn from(cause: RetryCause) -> Self {
        cause.to_string()
    }
}

impl TryFrom<String> for RetryCause {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no cause of a retry"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_and_nothing_else_is() {
        for cause in [RetryCause::TimedOut, RetryCause::OutOfMemory, RetryCause::Killed, RetryCause::Exit(1), RetryCause::Exit(255)] {
            assert_eq!(RetryCause::parse(&cause.to_string()), Some(cause));
        }
        for word in ["", "failed", "exit", "exit-", "exit-0", "exit-007", "exit-+1", "exit-256", "exit--1", "Timed-Out", "exit-N"] {
            assert_eq!(RetryCause::parse(word), None, "{word}");
        }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_end_with_the_last_retry() {
        let retries = Retries { max: 3, backoff_s: 10, on: vec![RetryCause::Killed] };
        let waits: Vec<_> = (0..6).map(|failed| retries.wait_s(RetryCause::Killed, failed)).collect();
        assert_eq!(waits, [None, Some(10), Some(20), Some(40), None, None]);
        assert_eq!(retries.wait_s(RetryCause::TimedOut, 1), None, "not declared");
        let long = Retries { max: 100, backoff_s: 600, ..retries.clone() };
        assert_eq!([5, 64, 65, 100].map(|failed| long.wait_s(RetryCause::Killed, failed)), [Some(3_600); 4]);
        let longer = Retries { backoff_s: 86_400, ..retries };
        assert_eq!(
            [1, 2].map(|failed| longer.wait_s(RetryCause::Killed, failed)),
            [Some(86_400); 2],
            "what is asked for is never shortened"
        );
    }
}
