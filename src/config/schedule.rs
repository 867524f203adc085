//! Times of day and days of week: `"Mon-Fri 22:00-06:00"`, `"Sat,Sun"`, `"02:30-04:00"`.

use serde::de::{self, Deserialize, Deserializer};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;

/// Windows in the week; open in any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    /// On which it begins, Monday first.
    days: [bool; 7],
    /// Minutes since midnight; an end that is not after the start is on the next day.
    from: u16,
    to: u16,
}

impl Schedule {
    /// Reads windows.
    ///
    /// # Errors
    /// In the operator's words: which one is wrong, and what it may look like.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Schedule, String> {
        let window = |text: &'a str| {
            window(text).ok_or_else(|| {
                format!(
                    "{text:?} is no window of time, such as \"Mon-Fri 22:00-06:00\", \"Sat,Sun\" or \"02:00-04:00\""
                )
            })
        };
        let windows = texts.into_iter().map(window).collect::<Result<Vec<_>, _>>()?;
        if windows.is_empty() {
            return Err("an empty schedule would never let anything through".to_owned());
        }
        Ok(Schedule { windows })
    }

    /// Whether it is open on `weekday` (Monday is 0) at `minute` of the day.
    pub fn is_open(&self, weekday: u8, minute: u16) -> bool {
        let today = usize::from(weekday % 7);
        let yesterday = (today + 6) % 7;
        self.windows.iter().any(|window| match window.from < window.to {
            true => window.days[today] && (window.from..window.to).contains(&minute),
            false => (window.days[today] && minute >= window.from) || (window.days[yesterday] && minute < window.to),
        })
    }
}

fn window(text: &str) -> Option<Window> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let begins_with_digit = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let (days, times) = match words[..] {
        [times] if begins_with_digit(times) => (None, Some(times)),
        [days] => (Some(days), None),
        [days, times] => (Some(days), Some(times)),
        _ => return None,
    };
    let (from, to) = match times {
        None => (0, DAY),
        Some(times) => {
            let (from, to) = times.split_once('-')?;
            (time(from)?, time(to)?)
        }
    };
    Some(Window { days: days.map_or(Some([true; 7]), weekdays)?, from, to }).filter(|window| window.from < DAY)
}

fn time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    Some(hours * 60 + minutes).filter(|total| minutes < 60 && *total <= DAY)
}

fn weekdays(text: &str) -> Option<[bool; 7]> {
    let index = |name: &str| DAYS.iter().position(|day| name.eq_ignore_ascii_case(day));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (index(first)?, index(last)?);
        days[day] = true;
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Some(days)
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Schedule::parse(texts.iter().map(String::as_str)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(windows: &[&str], weekday: u8, clock: &str) -> bool {
        let schedule = Schedule::parse(windows.iter().copied()).expect("a schedule");
        schedule.is_open(weekday, time(clock).expect("a time"))
    }

    #[test]
    fn windows_may_cross_midnight_and_the_week() {
        let nights = ["Mon-Fri 22:00-06:00", "Sat,Sun"];
        for (weekday, clock, want) in [
            (0, "05:59", false),
            (0, "21:59", false),
            (0, "22:00", true),
            (1, "05:59", true),
            (1, "06:00", false),
            (5, "05:00", true),
            (5, "12:00", true),
            (6, "23:59", true),
        ] {
            assert_eq!(open(&nights, weekday, clock), want, "{weekday} {clock}");
        }
        assert!(open(&["Sun 23:00-01:00"], 0, "00:30"), "Sunday night ends on Monday");
        assert!(open(&["sat-mon"], 6, "10:00") && !open(&["sat-mon"], 1, "10:00"));
        assert!(open(&["02:00-04:00"], 3, "03:00") && !open(&["02:00-04:00"], 3, "04:00"));
        assert!(open(&["18:00-24:00"], 3, "23:59") && !open(&["18:00-24:00"], 4, "00:00"));
    }

    #[test]
    fn what_is_no_window_is_named() {
        for wrong in
            ["", "Monday", "25:00-26:00", "Mon 10:00", "10:60-11:00", "Mon-Fri 1:00-2:00", "24:00-01:00", "a b c"]
        {
            let error = Schedule::parse([wrong]).expect_err(wrong);
            assert!(error.contains("22:00-06:00"), "{error}");
        }
        assert!(Schedule::parse([]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[MonSatFri0-9:, -]{0,20}", weekday in 0u8..7, minute in 0u16..1440) {
            if let Ok(schedule) = Schedule::parse([&*text]) {
                schedule.is_open(weekday, minute);
            }
        }
    }
}
