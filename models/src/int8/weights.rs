//! Int8 weights out of the float constants that Tract makes of them.

/// The integers and the scale of one output channel's weights, if that is what they are: Tract folds DequantizeLinear of a constant when it loads
/// a file, so only the products are left.
///
/// The largest weight is taken for the scale itself, then for twice the scale, and so on up to 127 times, until all weights are whole multiples;
/// `None` if they never are. The first, and so the largest, scale that fits keeps the bias, which is counted in it, small. The products of integers
/// and scale differ from the floats by less than a thousandth of the scale.
pub(super) fn integers(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let largest = values.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    if !largest.is_finite() {
        return None;
    }
    // Subnormal scales divide badly; no real layer has them.
    if largest < 1e-30 {
        // Zeros have any scale; a small one leaves a bias its digits.
        return values.iter().all(|&v| v == 0.0).then(|| (vec![0; values.len()], 1e-6));
    }
    (1..=127).find_map(|top| {
        let scale = largest / top as f32;
        let whole = |&v: &f32| {
            let steps = v / scale;
            let rounded = steps.round();
            ((steps - rounded).abs() < 1e-3).then_some(rounded as i8)
        };
        values.iter().map(whole).collect::<Option<Vec<i8>>>().map(|integers| (integers, scale))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_from_their_products() {
        let cases: [&[i8]; 6] = [&[127, -127, 3, 0], &[64, 1, -2], &[-5], &[0, 0], &[100, 50, 25], &[9, 7, -2]];
        for integers_in in cases {
            for scale in [1e-4_f32, 0.0123, 7.7] {
                let values: Vec<f32> = integers_in.iter().map(|&q| f32::from(q) * scale).collect();
                let (found, found_scale) = integers(&values).unwrap();
                assert!(found.iter().zip(integers_in).all(|(found, given)| found.abs() <= given.abs()), "{integers_in:?}: {found:?}");
                for (value, &q) in values.iter().zip(&found) {
                    assert!(
                        (value - f32::from(q) * found_scale).abs() <= 1e-5 * scale,
                        "{integers_in:?} at {scale}: {found:?} at {found_scale}"
                    );
                }
            }
        }
    }

    #[test]
    fn weights_that_are_no_integers_are_not_taken_for_some() {
        let floats: Vec<f32> = (1..60).map(|i| (i as f32).sqrt() * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(integers(&floats), None);
        assert_eq!(integers(&[1.0, f32::NAN, f32::INFINITY]), None);
        assert_eq!(integers(&[1e-40, 2e-40]), None);
    }
}
