//! Critics (discriminators): networks that tell true pictures from colored ones. They look at lightness and color together, so that the question is
//! whether these colors belong to this picture. Each gives a map of logits, one for each patch that it sees.
//!
//! Where the published ones have batch normalization, these have instance normalization: what a picture is judged by does not depend on which other
//! pictures share its batch or its worker, and pix2pix was trained on batches of one, where the two are the same. Random dropout is left out, for
//! a resumed run must see what it would have seen.

use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{InstanceNorm, InstanceNormConfig, PaddingConfig2d};
use burn::tensor::activation::{leaky_relu, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Which critic, and its width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CriticConfig {
    /// pix2pix's (Isola et al. 2017): each logit sees 70 x 70 pixels, there is one for every 8 x 8.
    Patch70 {
        /// Channels of the first convolution; the last has eight times as many.
        #[serde(default = "sixty_four")]
        width: usize,
    },
    /// A smaller one: each logit sees 30 x 30 pixels, 8 x 8 logits for 64 x 64 pixels.
    Patch30 {
        /// Channels of the first convolution; the last has four times as many.
        #[serde(default = "sixty_four")]
        width: usize,
    },
    /// DeOldify's: spectral normalization, and attention over the whole picture behind the first block.
    Nogan {
        /// Channels of the first convolution; the last has eight times as many. DeOldify has 256.
        #[serde(default = "sixty_four")]
        width: usize,
    },
}

fn sixty_four() -> usize {
    64
}

impl CriticConfig {
    fn width(&self) -> usize {
        let (Self::Patch70 { width } | Self::Patch30 { width } | Self::Nogan { width }) = self;
        *width
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        let width = self.width();
        anyhow::ensure!(
            (4..=1024).contains(&width) && width.is_multiple_of(4),
            "adversarial.critic.width is {width}; a multiple of 4 from 4 to 1024"
        );
        Ok(())
    }

    /// The smaller side that a picture must have, in pixels of the network's output: a logit that saw more than there is would judge no patch.
    pub fn side_min(&self) -> usize {
        match self {
            Self::Patch70 { .. } | Self::Patch30 { .. } => self.field(),
            Self::Nogan { .. } => 32,
        }
    }

    /// Kernel, stride and padding (before, behind) of each convolution.
    fn layers(&self) -> Vec<Layer> {
        let w = self.width();
        let layer = |to, kernel, stride, padding, normed| Layer { to, kernel, stride, padding, normed };
        match self {
            Self::Patch70 { .. } => vec![
                layer(w, 4, 2, (1, 1), false),
                layer(2 * w, 4, 2, (1, 1), true),
                layer(4 * w, 4, 2, (1, 1), true),
                layer(8 * w, 4, 1, (1, 1), true),
                layer(1, 4, 1, (1, 1), false),
            ],
            Self::Patch30 { .. } => vec![
                layer(w, 4, 2, (1, 1), true),
                layer(2 * w, 4, 2, (1, 1), true),
                layer(4 * w, 4, 2, (1, 1), true),
                layer(1, 2, 1, (0, 1), false),
            ],
            Self::Nogan { .. } => vec![
                layer(w, 4, 2, (1, 1), false),
                layer(2 * w, 4, 2, (1, 1), false),
                layer(4 * w, 4, 2, (1, 1), false),
                layer(8 * w, 4, 2, (1, 1), false),
                layer(1, 3, 1, (1, 1), false),
            ],
        }
    }

    /// The side of the square of pixels that one logit sees through the convolutions (attention and normalization see the whole picture).
    pub fn field(&self) -> usize {
        self.layers().iter().rev().fold(1, |field, layer| (field - 1) * layer.stride + layer.kernel)
    }
}

struct Layer {
    to: usize,
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
    normed: bool,
}

/// A critic of any kind.
#[derive(Module, Debug)]
pub struct Critic {
    convs: Vec<Conv2d>,
    norms: Vec<Option<InstanceNorm>>,
    attention: Option<Attention>,
    spectral: bool,
}

impl Critic {
    /// A critic with random weights for pictures of `channels` channels: lightness and the colors.
    pub fn new(config: &CriticConfig, channels: usize, device: &Device) -> Self {
        let mut from = channels;
        let (mut convs, mut norms) = (Vec::new(), Vec::new());
        for layer in config.layers() {
            let (before, behind) = layer.padding;
            let mut conv = Conv2dConfig::new([from, layer.to], [layer.kernel, layer.kernel])
                .with_stride([layer.stride, layer.stride])
                .with_padding(PaddingConfig2d::Explicit(before, before, behind, behind))
                // A normalization would take a bias out again.
                .with_bias(!layer.normed)
                .with_initializer(Initializer::Normal { mean: 0.0, std: 0.02 })
                .init(device);
            conv.bias = (!layer.normed).then(|| Initializer::Zeros.init([layer.to], device));
            convs.push(conv);
            norms.push(layer.normed.then(|| InstanceNormConfig::new(layer.to).init(device)));
            from = layer.to;
        }
        let spectral = matches!(config, CriticConfig::Nogan { .. });
        Self { convs, norms, attention: spectral.then(|| Attention::new(2 * config.width(), device)), spectral }
    }

    /// Pictures \[N, channels, h, w\], values about -1 to 1, to logits \[N, 1, .., ..\]: above 0 where it takes a patch for true.
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<4> {
        let mut x = pictures;
        let last = self.convs.len() - 1;
        for (index, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            x = if self.spectral { convolve_normed(conv, x) } else { conv.forward(x) };
            if index == last {
                break;
            }
            if let Some(norm) = norm {
                x = norm.forward(x);
            }
            x = leaky_relu(x, 0.2);
            if let (1, Some(attention)) = (index, &self.attention) {
                x = attention.forward(x);
            }
        }
        x
    }
}

/// The convolution with its weights divided by their largest singular value (Miyato et al. 2018).
fn convolve_normed(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let weight = conv.weight.val();
    let [to, from, height, width] = weight.dims();
    let weight = weight.clone() / largest_singular_value(weight.reshape([to, from * height * width])).reshape([1, 1, 1, 1]);
    let padding = match conv.padding {
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        // Those with a kernel of 1.
        PaddingConfig2d::Valid | PaddingConfig2d::Same => [(0, 0); 2],
    };
    let options = ConvOptions::new_with_padding(conv.stride, padding, conv.dilation, conv.groups);
    conv2d(x, weight, conv.bias.as_ref().map(|bias| bias.val()), options)
}

/// By power iteration from a fixed vector, so that a critic has no state beside its weights. The vectors count as constants.
fn largest_singular_value(matrix: Tensor<2>) -> Tensor<2> {
    // From a fixed start this many come within 1 % for random matrices of any size in use.
    const ITERATIONS: usize = 24;
    let [rows, _] = matrix.dims();
    let fixed = matrix.clone().detach();
    let unit = |v: Tensor<2>| v.clone() / (v.square().sum().sqrt() + 1e-12).reshape([1, 1]);
    let begin: Vec<f32> = (0..rows).map(|i| 1.0 + 0.5 * (i as f32 * 2.4).sin()).collect();
    let mut left = Tensor::<2>::from_data(TensorData::new(begin, [1, rows]), &matrix.device());
    let mut right = unit(left.clone().matmul(fixed.clone()));
    for _ in 0..ITERATIONS {
        left = unit(right.clone().matmul(fixed.clone().transpose()));
        right = unit(left.clone().matmul(fixed.clone()));
    }
    left.matmul(matrix).matmul(right.transpose())
}

/// Attention over all positions of a picture (Zhang et al. 2019), added by a share that begins at 0.
#[derive(Module, Debug)]
pub struct Attention {
    query: Conv2d,
    key: Conv2d,
    value: Conv2d,
    share: Param<Tensor<1>>,
}

impl Attention {
    fn new(channels: usize, device: &Device) -> Self {
        let pointwise = |to| {
            Conv2dConfig::new([channels, to], [1, 1])
                .with_bias(false)
                .with_initializer(Initializer::KaimingNormal { gain: 1.0, fan_out_only: false })
                .init(device)
        };
        Self {
            query: pointwise(channels / 8),
            key: pointwise(channels / 8),
            value: pointwise(channels),
            share: Initializer::Zeros.init([1], device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [pictures, channels, height, width] = x.dims();
        let flat = |conv: &Conv2d| {
            let y = convolve_normed(conv, x.clone());
            let channels = y.dims()[1];
            y.reshape([pictures, channels, height * width])
        };
        let (query, key, value) = (flat(&self.query), flat(&self.key), flat(&self.value));
        // [N, from everywhere, to here]: each position is a mixture of all.
        let mixture = softmax(key.transpose().matmul(query), 1);
        let seen = value.matmul(mixture).reshape([pictures, channels, height, width]);
        x + seen * self.share.val().reshape([1, 1, 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH_70: CriticConfig = CriticConfig::Patch70 { width: 4 };
    const PATCH_30: CriticConfig = CriticConfig::Patch30 { width: 4 };
    const NOGAN: CriticConfig = CriticConfig::Nogan { width: 4 };

    fn noise(shape: [usize; 4], device: &Device) -> Tensor<4> {
        let values = crate::normals::normals(&mut crate::normals::generator(1, 2), shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    #[test]
    fn the_fields_are_the_published_ones() {
        assert_eq!((PATCH_70.field(), PATCH_30.field()), (70, 30));
    }

    #[test]
    fn a_logit_sees_its_field_and_nothing_else() {
        let device = Device::flex().autodiff();
        for (config, side) in [(PATCH_70, 128), (PATCH_30, 64)] {
            let mut critic = Critic::new(&config, 3, &device);
            // Normalization sees the whole picture; what is asked here is what the convolutions see.
            critic.norms = vec![None; critic.norms.len()];
            let picture = noise([1, 3, side, side], &device).require_grad();
            let logits = critic.forward(picture.clone());
            let [_, _, height, width] = logits.dims();
            let gradients = logits.narrow(2, height / 2, 1).narrow(3, width / 2, 1).sum().backward();
            let slopes = picture.grad(&gradients).expect("a gradient").abs().sum_dim(1).into_data().try_into_vec::<f32>().expect("floats");
            let seen = |column: bool| {
                let along = |i: usize| (0..side).any(|j| slopes[if column { j * side + i } else { i * side + j }] != 0.0);
                let at: Vec<usize> = (0..side).filter(|&i| along(i)).collect();
                at.last().zip(at.first()).map_or(0, |(last, first)| last - first + 1)
            };
            assert_eq!((seen(false), seen(true)), (config.field(), config.field()), "{config:?}");
        }
    }

    #[test]
    fn the_maps_of_logits_have_the_published_sizes() {
        let device = Device::flex();
        // As in the older projects: 30 x 30 at 256, 8 x 8 at 64.
        for (config, side, logits) in [(PATCH_70, 256, 30), (PATCH_30, 64, 8), (NOGAN, 64, 4)] {
            let found = Critic::new(&config, 3, &device).forward(noise([1, 3, side, side], &device)).dims();
            assert_eq!(found, [1, 1, logits, logits], "{config:?}");
        }
        // Isola et al. 2017: 2.77 M weights with a condition of one channel and colors of two, at width 64.
        let weights = Critic::new(&CriticConfig::Patch70 { width: 64 }, 3, &device).num_params();
        assert!((2_760_000..2_780_000).contains(&weights), "{weights}");
        for config in [PATCH_70, PATCH_30, NOGAN] {
            let side = config.side_min();
            let found = Critic::new(&config, 3, &device).forward(noise([1, 3, side, side], &device)).dims();
            assert!(found[2] > 0 && found[3] > 0, "{config:?} at {side}: {found:?}");
        }
    }

    #[test]
    fn a_spectrally_normed_matrix_stretches_nothing() {
        let device = Device::flex();
        let matrix = |values: [f32; 6]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, 3]), &device);
        // Singular values 5 and 2; then 3 and 1, rotated: [[2, 1, 0], [1, 2, 0]].
        for (values, expected) in [([0.0, 5.0, 0.0, 2.0, 0.0, 0.0], 5.0), ([2.0, 1.0, 0.0, 1.0, 2.0, 0.0], 3.0)] {
            let found = largest_singular_value(matrix(values)).into_scalar::<f32>();
            assert!((found - expected).abs() < 0.01, "{found}, not {expected}");
        }
    }

    #[test]
    fn weights_of_the_sizes_in_use_are_stretched_by_their_norm_within_two_percent() {
        let device = Device::flex();
        for (rows, columns) in [(64, 512), (128, 1024), (256, 144)] {
            let matrix = noise([1, 1, rows, columns], &device).reshape([rows, columns]);
            // An independent estimate: many steps of the same iteration on the square matrix, from another start.
            let square = matrix.clone().matmul(matrix.clone().transpose());
            let mut v = Tensor::<2>::ones([rows, 1], &device);
            for _ in 0..500 {
                v = square.clone().matmul(v);
                v = v.clone() / v.square().sum().sqrt().reshape([1, 1]);
            }
            let expected = square.matmul(v.clone()).square().sum().sqrt().sqrt().into_scalar::<f32>();
            let found = largest_singular_value(matrix).into_scalar::<f32>();
            assert!((0.98..1.001).contains(&(found / expected)), "{rows} x {columns}: {found}, not {expected}");
        }
    }

    #[test]
    fn attention_begins_as_nothing_and_learns() {
        let device = Device::flex().autodiff();
        let attention = Attention::new(8, &device);
        let x = noise([1, 8, 4, 4], &device);
        let found = attention.forward(x.clone());
        assert_eq!((found.clone() - x).abs().max().into_scalar::<f32>(), 0.0);
        let gradients = found.square().sum().backward();
        assert!(attention.share.val().grad(&gradients).expect("a gradient").abs().sum().into_scalar::<f32>() > 0.0);
    }
}
