//! Numbers the distinct names of a list.

/// Returns the distinct names in alphabetical order, and the index of each name among them.
pub fn numbered<'a>(names: impl Iterator<Item = &'a str> + Clone) -> (Vec<&'a str>, Vec<usize>) {
    let mut distinct: Vec<&str> = names.clone().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let index = names.map(|name| distinct.binary_search(&name).unwrap_or_default()).collect();
    (distinct, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_in_alphabetical_order() {
        assert_eq!(numbered(["b", "a", "b"].into_iter()), (vec!["a", "b"], vec![1, 0, 1]));
    }
}
