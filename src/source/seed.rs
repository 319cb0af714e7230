//! Seeds for the API.

/// A new random seed: 13 hexadecimal digits and an `x`.
///
/// The API appends the page number to the seed, so a seed ends in no digit: else page 2 of one run could be page 12
/// of another. It is not 18 characters long: of such seeds the API takes the last two for a nationality.
pub(super) fn draw() -> String {
    format!("{:013x}x", rand::random::<u64>() >> 12)
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_differ_and_end_in_no_digit() {
        let seeds: std::collections::HashSet<_> = (0..1000).map(|_| super::draw()).collect();
        assert_eq!(seeds.len(), 1000);
        assert!(seeds.iter().all(|seed| seed.len() == 14 && seed.ends_with('x')), "{seeds:?}");
    }
}
