//! The pages of `docs/errors`, one for each diagnostic code.

/// Every page by its code, in order.
pub const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page of a code such as `E0101`; case does not matter.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(code))
        .map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslc_grammar::codes;

    #[test]
    fn every_code_has_its_page_and_every_page_its_code() {
        let codes: Vec<&str> = codes::ALL.iter().map(|c| c.name()).collect();
        let pages: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
        let missing: Vec<_> = codes.iter().filter(|c| !pages.contains(c)).collect();
        let stray: Vec<_> = pages.iter().filter(|p| !codes.contains(p)).collect();
        assert!(missing.is_empty(), "codes without a page: {missing:?}");
        assert!(stray.is_empty(), "pages without a code: {stray:?}");
    }

    #[test]
    fn a_page_has_a_wrong_and_a_right_example() {
        for (code, text) in PAGES {
            assert!(text.starts_with(&format!("# {code}: ")), "{code}: title");
            for part in ["## Wrong", "## Right"] {
                assert!(text.contains(part), "{code} has no part '{part}'");
            }
        }
    }

    #[test]
    fn codes_are_in_order_and_unique() {
        let names: Vec<&str> = codes::ALL.iter().map(|c| c.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}
