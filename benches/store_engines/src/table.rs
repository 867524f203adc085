//! Numbers of several rounds as a median and a spread, and tables of them.

use std::fmt::Write;

/// Numbers by name, a list of one number a round each, in the order in which the names came first.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<(String, Vec<f64>)>);

impl Rounds {
    /// Adds what one round said.
    pub fn add(&mut self, numbers: Vec<(String, f64)>) {
        for (name, value) in numbers {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => self.0.push((name, vec![value])),
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The summary of a number; `-` if there is none.
    fn cell(&self, name: &str) -> String {
        self.0.iter().find(|(known, _)| known == name).map_or_else(|| "-".into(), |(_, values)| summary(values))
    }
}

/// The median, with the least and the greatest in brackets; `-` if there is none.
pub fn summary(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => "-".into(),
        [only] => short(only),
        [least, .., most] => format!("{} ({}-{})", short(sorted[sorted.len() / 2]), short(least), short(most)),
    }
}

/// A number with as many digits as anybody reads.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v == v.trunc() => format!("{v}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A table with a column for each of `columns` and a row for each name that any of the columns has.
pub fn table(columns: &[(&str, Rounds)]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    for name in columns.iter().flat_map(|(_, rounds)| rounds.names()) {
        if !rows.contains(&name) {
            rows.push(name);
        }
    }
    let mut text = String::from("| |");
    for (head, _) in columns {
        let _ = write!(text, " {head} |");
    }
    text += "\n|---|";
    text += &"---|".repeat(columns.len());
    for row in rows {
        let _ = write!(text, "\n| {row} |");
        for (_, rounds) in columns {
            let _ = write!(text, " {} |", rounds.cell(row));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_median_and_the_spread() {
        let mut one = Rounds::default();
        for value in [3_000.0, 1.0, 12_345.0] {
            one.add(vec![("speed".into(), value)]);
        }
        let mut other = Rounds::default();
        other.add(vec![("size".into(), 15.04)]);
        let text = table(&[("one", one), ("other", other)]);
        let expected = "| | one | other |\n|---|---|---|\n| speed | 3.0 k (1-12 k) | - |\n| size | - | 15.0 |";
        assert_eq!(text, expected);
    }
}
