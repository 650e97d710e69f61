//! Samples, and what is said of them: the median, and as its spread the middle half of the samples.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use lambda_rds_testbed::Function;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The samples of one measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) engine: String,
    pub(crate) peer: String,
    /// What was varied: `0 ms`, `10000 rows`.
    pub(crate) setting: String,
    /// What was measured, with its unit: `wall_ms`.
    pub(crate) measure: String,
    pub(crate) values: Vec<f64>,
}

/// One call whose outcome is the measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) engine: String,
    pub(crate) peer: String,
    pub(crate) setting: String,
    /// `ok`, or how it failed.
    pub(crate) result: String,
    pub(crate) ms: f64,
}

/// Median and spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    /// Of at least one sample.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: usize| sorted[(sorted.len() - 1) * part / 4];
        Some(Self { low: at(1), median: at(2), high: at(3) })
    }
}

impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}–{})", short(self.median), short(self.low), short(self.high))
    }
}

/// A number with three significant digits.
pub(crate) fn short(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    // Thousands apart, for people.
    match text.parse::<i64>() {
        Ok(whole) if whole.abs() >= 10_000 => grouped(whole),
        _ => text,
    }
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// User and system time that a process has used so far, in milliseconds: all of its threads, those that have ended
/// included. The kernel counts in nanoseconds here, and in ticks of 10 ms in `/proc/PID/stat`.
pub(crate) fn cpu_ms(function: &Function) -> Result<f64> {
    let pid = Pid::from_raw(i32::try_from(function.pid())?);
    let time = clock_gettime(clock_getcpuclockid(pid)?)?;
    Ok(millis(Duration::from(time)))
}

/// A duration in milliseconds.
pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// The sample below which this part of the samples lies.
pub(crate) fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or(f64::NAN)
}
