//! Numbers as people write them.

/// Four significant digits, with separators of thousands; powers of ten for what is very small or large.
pub fn number(v: f64) -> String {
    if v == 0.0 {
        return "0".to_owned();
    }
    let size = v.abs();
    if !v.is_finite() {
        return v.to_string();
    }
    if !(1e-3..1e7).contains(&size) {
        return format!("{v:.2e}");
    }
    let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{v:.digits$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let whole = thousands(whole);
    if part.is_empty() {
        whole
    } else {
        format!("{whole}.{part}")
    }
}

/// `126,768`
pub fn count(n: u64) -> String {
    thousands(&n.to_string())
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let mut out = String::from(sign);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `77.10 %`
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// `1.4 s`, `5 min 9 s`, `1 h 5 min`, `2 d 3 h`
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    let s = seconds.round() as u64;
    match s {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// `1.46 GiB`
pub fn bytes(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1024f64.powi(3) => (n / 1024f64.powi(3), "GiB"),
        n if n >= 1024f64.powi(2) => (n / 1024f64.powi(2), "MiB"),
        n => (n / 1024.0, "KiB"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_every_size() {
        let cases = [
            (0.0, "0"),
            (3.996_538, "3.997"),
            (0.0123, "0.01230"),
            (2740.669, "2,741"),
            (1_234_567.0, "1,234,567"),
            (-12.5, "-12.50"),
            (0.000_81, "8.10e-4"),
            (f64::NAN, "NaN"),
        ];
        for (v, text) in cases {
            assert_eq!(number(v), text);
        }
        assert_eq!(count(126_768), "126,768");
        assert_eq!(percent(0.771), "77.10 %");
        assert_eq!(bytes(1.57e9), "1.46 GiB");
        assert_eq!(bytes(64.0 * 1024.0 * 1024.0), "64.0 MiB");
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (1.44, "1.4 s"),
            (42.0, "42 s"),
            (309.0, "5 min 9 s"),
            (3909.0, "1 h 5 min"),
            (183_600.0, "2 d 3 h"),
            (f64::INFINITY, "unknown"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
