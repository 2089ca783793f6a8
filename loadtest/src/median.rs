//! The middle and the worst of a few measurements.

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The largest.
pub(crate) fn worst(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    values.into_iter().max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles() {
        assert_eq!((median([]), median([3.0, 1.0, 2.0]), median([4.0, 1.0])), (None, Some(2.0), Some(2.5)));
        assert_eq!((worst([]), worst([1.0, 3.0, 2.0])), (None, Some(3.0)));
    }
}
