//! Medians over the rounds, ratios, and the last line of JSON.

use crate::Size;
use std::collections::BTreeMap;

/// What one engine did: values by name, one a round (point reads: one a read).
#[derive(Default)]
pub struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// Takes the figures of one child.
    pub fn add(&mut self, prefix: &str, figures: Vec<(String, f64)>) {
        for (name, value) in figures {
            self.0
                .entry(format!("{prefix}{name}"))
                .or_default()
                .push(value);
        }
    }

    fn quantile(&self, name: &str, q: f64) -> Option<f64> {
        let mut values = self.0.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        let at = ((values.len() as f64 - 1.0) * q).round() as usize;
        values.get(at).copied()
    }
}

/// A line of the table: its title, the figure, which quantile, whether more is better.
struct Line(&'static str, &'static str, &'static str, f64, bool);

const LINES: [Line; 12] = [
    Line(
        "ingest, fsync each commit, rows/s",
        "ingest_rows_s",
        "ingest_rows_per_s",
        0.5,
        true,
    ),
    Line(
        "ingest, fsync each 50 ms, rows/s",
        "ingest_interval_rows_s",
        "interval_ingest_only_rows_per_s",
        0.5,
        true,
    ),
    Line(
        "scan as ingest left it, rows/s",
        "scan_rows_s",
        "scan_rows_per_s",
        0.5,
        true,
    ),
    Line(
        "scan after a flush, rows/s",
        "scan_flushed_rows_s",
        "scan_flushed_rows_per_s",
        0.5,
        true,
    ),
    Line("point read p50, ms", "point_p50_ms", "point_ms", 0.5, false),
    Line(
        "point read p99, ms",
        "point_p99_ms",
        "point_ms",
        0.99,
        false,
    ),
    Line(
        "reopen, all in the WAL, s",
        "reopen_s",
        "reopen_s",
        0.5,
        false,
    ),
    Line(
        "flush of what ingest left, s",
        "flush_s",
        "flush_s",
        0.5,
        false,
    ),
    Line(
        "peak RSS of ingest, MiB",
        "ingest_peak_mib",
        "ingest_peak_mib",
        0.5,
        false,
    ),
    Line(
        "peak RSS of ingest, 50 ms, MiB",
        "ingest_interval_peak_mib",
        "interval_ingest_only_peak_mib",
        0.5,
        false,
    ),
    Line(
        "peak RSS of ingest + scans + reads, MiB",
        "peak_mib",
        "peak_mib",
        0.5,
        false,
    ),
    Line(
        "peak RSS of reopen, MiB",
        "reopen_peak_mib",
        "reopen_peak_mib",
        0.5,
        false,
    ),
];

/// Prints the table and the JSON.
pub fn report(size: Size, figures: &BTreeMap<String, Figures>) {
    println!(
        "\nnative, {} rows (utf8 key in random order, int64, float64, utf8 of 32 bytes), commits of \
         1,000, median of {} rounds\n",
        size.rows, size.rounds
    );
    println!(
        "{:<42}{:>14}{:>14}{:>12}",
        "", "tonbo", "lakeshore", "x better"
    );
    let mut json: Vec<String> = Vec::new();
    for Line(title, key, name, q, more) in LINES {
        let value = |engine: &str| figures.get(engine).and_then(|f| f.quantile(name, q));
        let (rival, ours) = (value("tonbo"), value("lakeshore"));
        let ratio = rival
            .zip(ours)
            .map(|(r, o)| if more { o / r } else { r / o });
        println!(
            "{title:<42}{:>14}{:>14}{:>12}",
            text(rival),
            text(ours),
            text(ratio)
        );
        let number = |v: Option<f64>| v.map_or("null".to_owned(), |v| format!("{v:.4}"));
        json.push(format!(
            "\"{key}\":{{\"tonbo\":{},\"lakeshore\":{},\"ratio\":{}}}",
            number(rival),
            number(ours),
            number(ratio)
        ));
    }
    println!();
    println!(
        "{{\"bench\":\"native\",\"rows\":{},\"rounds\":{},{}}}",
        size.rows,
        size.rounds,
        json.join(",")
    );
}

fn text(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v >= 10_000.0 => format!("{:.0} k", v / 1000.0),
        Some(v) if v >= 100.0 => format!("{v:.0}"),
        Some(v) if v >= 1.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.4}"),
    }
}
