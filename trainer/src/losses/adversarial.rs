//! Losses between a network that colors (the generator) and a critic that tells its pictures from true ones (Goodfellow et al. 2014).

use burn::tensor::Tensor;
use burn::tensor::activation::softplus;

/// Binary cross-entropy of logits of any shape against one `label` from 0 to 1: softplus(x) - x label, the mean.
pub fn binary_cross_entropy(logits: Tensor<4>, label: f32) -> Tensor<1> {
    // softplus(x) = max(x, 0) + ln(1 + exp(-|x|)): no overflow on either side.
    (softplus(logits.clone(), 1.0) - logits * label).mean()
}

/// What the critic minimizes: half the cross-entropy of true pictures against 1 and of colored ones against 0.
///
/// Label smoothing s moves both labels towards the middle: 1 - s / 2 and s / 2. A critic that knows nothing has ln 2.
pub fn critic_loss(on_true: Tensor<4>, on_colored: Tensor<4>, label_smoothing: f32) -> Tensor<1> {
    let half = label_smoothing / 2.0;
    (binary_cross_entropy(on_true, 1.0 - half) + binary_cross_entropy(on_colored, half)) / 2.0
}

/// What the generator minimizes beside its other losses: that its pictures pass for true ones (the form that does not saturate).
pub fn deceiving_loss(on_colored: Tensor<4>) -> Tensor<1> {
    binary_cross_entropy(on_colored, 1.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn logits(values: &[f32]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, values.len()]), &Device::flex())
    }

    #[test]
    fn the_cross_entropy_is_that_of_the_sigmoid() {
        let values = [-2.0_f32, 0.0, 0.5, 3.0];
        for label in [0.0_f32, 0.05, 0.95, 1.0] {
            let expected = values
                .iter()
                .map(|x| {
                    let share = 1.0 / (1.0 + (-x).exp());
                    -(label * share.ln() + (1.0 - label) * (1.0 - share).ln())
                })
                .sum::<f32>()
                / 4.0;
            let found = binary_cross_entropy(logits(&values), label).into_scalar::<f32>();
            assert!((found - expected).abs() < 1e-5, "label {label}: {found}, not {expected}");
        }
        // Sure and right costs nothing, sure and wrong as much as it is sure; neither overflows.
        assert!(binary_cross_entropy(logits(&[200.0]), 1.0).into_scalar::<f32>().abs() < 1e-5);
        assert!((binary_cross_entropy(logits(&[200.0]), 0.0).into_scalar::<f32>() - 200.0).abs() < 1e-3);
        assert!((binary_cross_entropy(logits(&[-200.0]), 1.0).into_scalar::<f32>() - 200.0).abs() < 1e-3);
    }

    #[test]
    fn an_ignorant_critic_has_ln_2_and_smoothing_keeps_it_from_being_sure() {
        let ln_2 = std::f32::consts::LN_2;
        for smoothing in [0.0, 0.1] {
            assert!((critic_loss(logits(&[0.0]), logits(&[0.0]), smoothing).into_scalar::<f32>() - ln_2).abs() < 1e-6);
        }
        let sure = critic_loss(logits(&[9.0]), logits(&[-9.0]), 0.1).into_scalar::<f32>();
        // The best with labels .95 and .05 is their entropy, .1985, at logits of ln 19 = 2.944.
        let best = critic_loss(logits(&[2.944]), logits(&[-2.944]), 0.1).into_scalar::<f32>();
        assert!((best - 0.1985).abs() < 1e-3 && sure > best, "{sure} {best}");
        assert!((deceiving_loss(logits(&[0.0])).into_scalar::<f32>() - ln_2).abs() < 1e-6);
    }
}
