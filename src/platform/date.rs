//! The spellings of a moment: `20130524T000000Z` in S3's signatures, `Fri, 24 May 2013 00:00:00 GMT` in
//! `Date`, `2013-05-24T00:00:00Z` in XML, `2013-05-24T00:00:00.000000Z` in our messages. All in
//! microseconds since the Unix epoch. Invariant: no input panics or overflows; what is not a moment is
//! `None`.

const SECOND: i64 = 1_000_000;
/// The end of the year 9999.
const LATEST: i64 = 253_402_300_799 * SECOND + 999_999;
const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// `20130524T000000Z`. A moment before 1970 or after 9999 is written as the nearest that can be.
pub(crate) fn amz_date(micros: i64) -> String {
    let ((year, month, day), (hour, minute, second), _) = parts(micros);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2013-05-24T00:00:00.000000Z`: for people. Bounded as [`amz_date`] is.
pub(crate) fn iso_micros(micros: i64) -> String {
    let ((year, month, day), (hour, minute, second), fraction) = parts(micros);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

/// Date, time and microseconds.
fn parts(micros: i64) -> ((i64, i64, i64), (i64, i64, i64), i64) {
    let micros = micros.clamp(0, LATEST);
    let seconds = micros / SECOND;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let time = (rest / 3600, rest / 60 % 60, rest % 60);
    (civil(days), time, micros % SECOND)
}

/// Of the header `Date` (RFC 9110's preferred form, the only one that is sent today).
pub(crate) fn http_date(text: &str) -> Option<i64> {
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let day = number(words.next()?, 2)?;
    let name = words.next()?;
    let month = (name.len() == 3).then(|| MONTHS.find(name)).flatten()?;
    let year = number(words.next()?, 4)?;
    let time = words.next()?;
    (month % 3 == 0 && words.next() == Some("GMT")).then_some(())?;
    moment(year, month as i64 / 3 + 1, day, time)
}

/// `2013-05-24T00:00:00Z`, with or without a fraction, as in the body of an error.
pub(crate) fn iso_date(text: &str) -> Option<i64> {
    let (date, time) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-');
    let mut part = |length| number(parts.next()?, length);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    (1..=12).contains(&month).then_some(())?;
    moment(year, month, day, time.split('.').next()?)
}

fn number(text: &str, most: usize) -> Option<i64> {
    let plain = text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn moment(year: i64, month: i64, day: i64, time: &str) -> Option<i64> {
    let mut parts = time.split(':').map(|part| number(part, 2));
    let mut part = || parts.next().flatten();
    let (hour, minute, second) = (part()?, part()?, part()?);
    ((1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61).then_some(())?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * SECOND)
}

/// Days since 1970 of a date of the proleptic Gregorian calendar (Howard Hinnant's algorithms).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, shifted) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = (shifted + 2) % 12 + 1;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_spellings_agree() {
        for (micros, amz, http, iso) in [
            (
                1_369_353_600_000_000,
                "20130524T000000Z",
                "Fri, 24 May 2013 00:00:00 GMT",
                "2013-05-24T00:00:00Z",
            ),
            (
                1_709_210_096_000_000,
                "20240229T123456Z",
                "Thu, 29 Feb 2024 12:34:56 GMT",
                "2024-02-29T12:34:56.789Z",
            ),
            (
                0,
                "19700101T000000Z",
                "Thu, 01 Jan 1970 00:00:00 GMT",
                "1970-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(amz_date(micros), amz);
            assert_eq!(http_date(http), Some(micros), "{http}");
            assert_eq!(iso_date(iso), Some(micros), "{iso}");
        }
    }

    #[test]
    fn every_day_goes_there_and_back() {
        for day in (0..200_000).step_by(13) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "Fri, 24 May 2013",
            "Fri, 24 anM 2013 00:00:00 GMT",
            "Fri, 24 May 2013 00:00:00 CET",
            "Fri, -4 May 2013 00:00:00 GMT",
            "Fri, 99 May 2013 00:00:00 GMT",
            "Fri, 24 May 99999999999999999999 00:00:00 GMT",
            "now",
        ] {
            assert_eq!(http_date(text), None, "{text}");
            assert_eq!(iso_date(text), None, "{text}");
        }
        assert_eq!(amz_date(i64::MIN), "19700101T000000Z");
        assert_eq!(amz_date(i64::MAX), "99991231T235959Z");
        assert_eq!(iso_micros(i64::MIN), "1970-01-01T00:00:00.000000Z");
        assert_eq!(iso_micros(i64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn a_moment_for_people_has_its_microseconds() {
        let text = "2024-02-29T12:34:56.000789Z";
        assert_eq!(iso_micros(1_709_210_096_000_789), text);
        assert_eq!(iso_date(text), Some(1_709_210_096_000_000));
    }
}
