//! Fake quantization: a pass in float that rounds weights and activations where the exported int8 file will, so that training can make up for it.
//!
//! The backward pass goes through the rounding as if it were not there (the straight-through estimator, Bengio et al. 2013) and is zero where an
//! activation was cut off. Networks do not know about it: their layers call [`relu`], [`relu6`], [`linear`], [`concatenation`] and [`state`], which
//! round only inside of [`with`], on this thread. So no network is written twice, and what is exported holds no trace of it.

use std::cell::RefCell;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, activation};

use super::Network;

/// The 8-bit values of an activation: (byte - `zero_point`) `scale`, with bytes from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Between two values.
    pub scale: f32,
    /// The byte that means 0.
    pub zero_point: u8,
}

/// The grids of a network's activations, in the order in which a pass comes by them.
#[derive(Clone, Debug, PartialEq)]
pub struct Grids {
    /// Of the input.
    pub lightness: Grid,
    /// Behind each ReLU and ReLU6.
    pub relus: Vec<Grid>,
    /// Of each convolution's output, or sum of such, that goes into a convolution as it is.
    pub linear: Vec<Grid>,
    /// Behind each concatenation of channels; `None` where its parts are on one grid already.
    pub concatenations: Vec<Option<Grid>>,
    /// Of the states, in front of a convolution.
    pub state: Grid,
}

/// A pass that is going on.
struct Pass {
    /// `None`: only counts.
    grids: Option<Arc<Grids>>,
    count: Count,
}

thread_local! {
    static PASS: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

/// How many activations of each kind a pass came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// ReLUs and ReLU6s.
    pub relus: usize,
    /// Outputs of convolutions, or sums of such, that go into a convolution as they are.
    pub linear: usize,
    /// Concatenations of channels.
    pub concatenations: usize,
}

/// Runs `pass`, and everything it calls on this thread, with activations rounded to `grids`, if there are any.
pub fn with<R>(grids: Option<&Arc<Grids>>, pass: impl FnOnce() -> R) -> R {
    match grids {
        Some(grids) => run(Some(grids.clone()), pass).0,
        None => pass(),
    }
}

/// Counts the activations that `pass` comes by.
pub fn count<R>(pass: impl FnOnce() -> R) -> Count {
    run(None, pass).1
}

fn run<R>(grids: Option<Arc<Grids>>, pass: impl FnOnce() -> R) -> (R, Count) {
    /// Takes the pass away again even if it panics.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            PASS.with_borrow_mut(Option::take);
        }
    }
    PASS.with_borrow_mut(|current| *current = Some(Pass { grids, count: Count::default() }));
    let ends = Ends;
    let result = pass();
    let count = PASS.with_borrow(|pass| pass.as_ref().map(|pass| pass.count));
    drop(ends);
    (result, count.unwrap_or_default())
}

/// The grid that `choose` picks for the pass that is going on, if one is.
fn grid(choose: impl FnOnce(&mut Pass, Option<&Grids>) -> Option<Grid>) -> Option<Grid> {
    PASS.with_borrow_mut(|pass| {
        let pass = pass.as_mut()?;
        let grids = pass.grids.clone();
        choose(pass, grids.as_deref())
    })
}

fn on_grid(x: Tensor<4>, grid: Option<Grid>) -> Tensor<4> {
    match grid {
        Some(grid) => rounded(x, grid),
        None => x,
    }
}

/// The input of a network.
pub fn lightness(x: Tensor<4>) -> Tensor<4> {
    on_grid(x, grid(|_, grids| Some(grids?.lightness)))
}

/// The grid of the next ReLU.
fn next_relu() -> Option<Grid> {
    grid(|pass, grids| {
        pass.count.relus += 1;
        grids?.relus.get(pass.count.relus - 1).copied()
    })
}

/// max(x, 0).
pub fn relu(x: Tensor<4>) -> Tensor<4> {
    on_grid(activation::relu(x), next_relu())
}

/// min(max(x, 0), 6), of operators that `burn-onnx` lowers.
pub fn relu6(x: Tensor<4>) -> Tensor<4> {
    on_grid(activation::relu(x.clone()) - activation::relu(x - 6.0), next_relu())
}

/// What goes into a convolution, or into several, without an activation.
pub fn linear(x: Tensor<4>) -> Tensor<4> {
    let next = grid(|pass, grids| {
        pass.count.linear += 1;
        grids?.linear.get(pass.count.linear - 1).copied()
    });
    on_grid(x, next)
}

/// Channels of `parts` one behind the other.
pub fn concatenation(parts: Vec<Tensor<4>>) -> Tensor<4> {
    let next = grid(|pass, grids| {
        pass.count.concatenations += 1;
        grids?.concatenations.get(pass.count.concatenations - 1).copied()?
    });
    on_grid(Tensor::cat(parts, 1), next)
}

/// A state, or a part of one, on its way into a convolution.
pub fn state(x: Tensor<4>) -> Tensor<4> {
    on_grid(x, grid(|_, grids| Some(grids?.state)))
}

/// `x` on the grid's values.
fn rounded(x: Tensor<4>, Grid { scale, zero_point }: Grid) -> Tensor<4> {
    let zero_point = f32::from(zero_point);
    let held = x.clamp(-zero_point * scale, (255.0 - zero_point) * scale);
    let values = held.clone().detach();
    held + ((values.clone() / scale).round() * scale - values)
}

/// `net` with the weights of its convolutions on the 8-bit values of their output channels: symmetric, the greatest at 127 (the exporter goes
/// lower where a bias would be out of reach of its integers: there the weights hardly count). What a
/// normalization behind them multiplies them by changes the values but not the rounding. They are leaves: a gradient with respect to them is,
/// straight through, one with respect to the weights they were made of.
pub fn with_rounded_weights(net: Network) -> Network {
    struct Round;
    impl ModuleMapper for Round {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D != 4 {
                return param;
            }
            param.map(|weight| {
                let learns = weight.is_require_grad();
                let dims = weight.dims();
                let plain = weight.clone().inner().reshape([dims[0] as i64, -1]);
                let scale = plain.clone().abs().max_dim(1).div_scalar(127.0).clamp_min(1e-8);
                let rounded: Tensor<2> = (plain / scale.clone()).round() * scale;
                let rounded = rounded.reshape(dims);
                let rounded = if weight.device().is_autodiff() { Tensor::from_inner(rounded) } else { rounded };
                if learns { rounded.require_grad() } else { rounded }
            })
        }
    }
    net.map(&mut Round)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_into_vec::<f32>().unwrap()
    }

    fn grids() -> Arc<Grids> {
        let grid = Grid { scale: 0.5, zero_point: 0 };
        Arc::new(Grids {
            lightness: grid,
            relus: vec![grid, Grid { scale: 0.01, zero_point: 0 }, grid],
            linear: vec![Grid { scale: 0.1, zero_point: 10 }],
            concatenations: vec![Some(Grid { scale: 0.25, zero_point: 4 }), None],
            state: Grid { scale: 2.0 / 255.0, zero_point: 128 },
        })
    }

    #[test]
    fn a_pass_rounds_each_activation_to_its_own_grid_and_nothing_is_rounded_outside() {
        let x = || Tensor::<4>::from_data(TensorData::new(vec![-3.0_f32, 0.2, 0.3, 1.1], [1, 1, 1, 4]), &Device::flex());
        let all = with(Some(&grids()), || {
            // The second grid ends at 2.55; the third begins at -1.
            [relu(x()), relu(x() * 10.0), concatenation(vec![x()]), concatenation(vec![x()]), state(x())].map(values)
        });
        assert_eq!(all[0], [0.0, 0.0, 0.5, 1.0]);
        assert_eq!(all[1], [0.0, 2.0, 2.55, 2.55]);
        assert_eq!(all[2], [-1.0, 0.25, 0.25, 1.0]);
        assert_eq!(all[3], [-3.0, 0.2, 0.3, 1.1]);
        // -128 and 127 of 127.5 steps to 1.
        assert!((all[4][0] + 128.0 / 127.5).abs() < 1e-6 && (all[4][3] - 127.0 / 127.5).abs() < 1e-6, "{:?}", all[4]);
        assert_eq!(values(relu(x())), [0.0, 0.2, 0.3, 1.1]);
        // The third relu's grid, and one that begins at -1.
        let [six, plain] = with(Some(&grids()), || {
            relu(x());
            relu(x());
            [relu6(x() * 10.0), linear(x())].map(values)
        });
        assert_eq!(six, [0.0, 2.0, 3.0, 6.0]);
        assert!(plain.iter().zip([-1.0, 0.2, 0.3, 1.1]).all(|(found, expected)| (found - expected).abs() < 1e-6), "{plain:?}");
        assert_eq!(values(linear(x())), [-3.0, 0.2, 0.3, 1.1]);
        assert_eq!(
            count(|| (relu(x()), concatenation(vec![x()]), relu6(x()), linear(x()))),
            Count { relus: 2, linear: 1, concatenations: 1 }
        );
    }

    #[test]
    fn the_gradient_goes_straight_through_and_stops_where_values_are_cut_off() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::from_data(TensorData::new(vec![-0.4_f32, 0.2, 130.0], [1, 1, 1, 3]), &device).require_grad();
        let weight = Tensor::<4>::from_data(TensorData::new(vec![1.0_f32, 2.0, 3.0], [1, 1, 1, 3]), &device);
        // To 127.5, in halves.
        let y = with(Some(&grids()), || lightness(x.clone()));
        assert_eq!(values(y.clone()), [0.0, 0.0, 127.5]);
        let gradients = (y * weight).sum().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), [0.0, 2.0, 0.0]);
    }
}
