//! Int8 weights out of the float constants that Tract makes of them.

/// The integers and the scale of one output channel's weights, if that is what they are: Tract folds DequantizeLinear of a constant when it loads
/// a file, so only the products are left.
///
/// The largest weight is taken for the scale itself, then for twice the scale, and so on up to 127 times, until all weights are whole multiples;
/// `None` if they never are. The products of integers and scale differ from the floats by less than a thousandth of the scale.
fn integers(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let largest = values.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    if !largest.is_finite() {
        return None;
    }
    // Subnormal scales divide badly; no real layer has them.
    if largest < 1e-30 {
        // Zeros have any scale.
        return values.iter().all(|&v| v == 0.0).then(|| (vec![0; values.len()], 1.0));
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

/// As [`integers`], with the bias as an integer, too: in units of the scale times `input_scale`.
///
/// Weights with a common divisor look as if their scale was that much larger, and a bias would lose digits in it. So of the scales that such weights
/// can have, the largest is taken that leaves the most of the bias: all of it, if the exporter has quantized it. `None` if the bias is no whole number of
/// units, or beyond 2^30 of them.
pub(super) fn with_bias(values: &[f32], bias: f32, input_scale: f32) -> Option<(Vec<i8>, f32, i32)> {
    const REACH: f64 = (1 << 30) as f64;
    let (integers, scale) = integers(values)?;
    let (bias, input_scale) = (f64::from(bias), f64::from(input_scale));
    let largest = integers.iter().map(|w| w.unsigned_abs()).max().filter(|&largest| largest > 0);
    let Some(largest) = largest else {
        // Nothing but a bias: as many units as a float has digits.
        let units = if bias == 0.0 { 0 } else { 1 << 23 };
        let scale = if bias == 0.0 { scale } else { (bias.abs() / f64::from(units) / input_scale) as f32 };
        return scale.is_normal().then(|| (integers, scale, if bias < 0.0 { -units } else { units }));
    };
    let counted = |divisor: u8| {
        let units = bias * f64::from(divisor) / (f64::from(scale) * input_scale);
        (divisor, units, (units - units.round()).abs() / f64::from(divisor))
    };
    let fitting = (1..=127 / largest).map(counted).filter(|(_, units, _)| units.abs() < REACH);
    let (divisor, units, lost) = fitting.min_by(|(.., a), (.., b)| a.total_cmp(b))?;
    // What the digits of floats lose, and no more: a bias between two units was never quantized, and is not ours to round.
    if lost * f64::from(divisor) > 1e-5 * units.abs() {
        return None;
    }
    let integers = integers.iter().map(|&w| w * divisor as i8).collect();
    Some((integers, scale / f32::from(divisor), units.round() as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_keeps_its_digits_whatever_the_weights_have_in_common() {
        for weights in [&[127_i8, -127, 0][..], &[1, -1], &[-5], &[100, 50, 25], &[9, 7, -2], &[0, 0]] {
            for (scale, input_scale) in [(0.01_f32, 0.02_f32), (1e-4, 0.3), (1.0, 1.0)] {
                for bias_in in [0, 1, -7, 12_345, -300_000] {
                    let values: Vec<f32> = weights.iter().map(|&q| f32::from(q) * scale).collect();
                    let bias_in = (f64::from(bias_in) * f64::from(scale) * f64::from(input_scale)) as f32;
                    let (found, found_scale, bias) = with_bias(&values, bias_in, input_scale).unwrap();
                    let bias = f64::from(bias) * f64::from(found_scale) * f64::from(input_scale);
                    // The exporter's largest weight is 127; for others, half of a unit of such weights may be lost.
                    let unit = f64::from(weights.iter().map(|w| w.unsigned_abs()).max().unwrap()) / 64.0 * f64::from(scale * input_scale);
                    let lost = (bias - f64::from(bias_in)).abs();
                    assert!(
                        lost <= f64::from(bias_in.abs()) * 1e-6 + if weights[0] == 127 { 0.0 } else { unit / 2.0 },
                        "{weights:?}: {lost}"
                    );
                    for (value, &q) in values.iter().zip(&found) {
                        assert!((value - f32::from(q) * found_scale).abs() <= 1e-5 * scale, "{weights:?}: {found:?} at {found_scale}");
                    }
                }
            }
        }
        assert_eq!(with_bias(&[1e-9, -1e-9], 1e9, 1e-3), None, "a bias out of reach");
        assert_eq!(with_bias(&[1.27, -0.5], 0.3, 10_485.0), None, "a bias far below a unit");
        assert_eq!(with_bias(&[1.27, -0.5], 1.2345e-3, 0.02), None, "a bias between two units");
        assert!(with_bias(&[0.0; 4], 0.5, 1e-4).is_some_and(|(.., bias)| bias != 0), "a channel that is its bias");
    }

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
