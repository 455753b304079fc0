//! Every kernel against sums in plain loops.

use super::*;

/// A generator of test numbers (Marsaglia's xorshift), the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 20) as usize % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A random row: what it reads, its weights, and what its sums are.
struct Case {
    inputs: Vec<Vec<u8>>,
    /// Input, offset, step, quads.
    readings: Vec<(usize, usize, usize, usize)>,
    rows: Vec<Vec<i8>>,
    bias: Vec<i32>,
    zero_point: u8,
    pixels: usize,
}

impl Case {
    fn new(numbers: &mut Numbers, extreme: bool) -> Self {
        let pixels = 1 + numbers.below(50);
        let inputs: Vec<Vec<u8>> = (0..1 + numbers.below(3)).map(|_| vec![0; 12_000]).collect();
        let readings: Vec<_> = (0..1 + numbers.below(5))
            .map(|_| {
                (numbers.below(inputs.len()), numbers.below(500), [1, 2, 3, 16, 48, 64, 128, 160][numbers.below(8)], 1 + numbers.below(40))
            })
            .collect();
        let length = QUAD * readings.iter().map(|r| r.3).sum::<usize>();
        let outputs = 1 + numbers.below(70);
        let weight = |numbers: &mut Numbers| if extreme { [-128, 127][numbers.below(2)] } else { numbers.next() as i8 };
        let rows = (0..outputs).map(|_| (0..length).map(|_| weight(numbers)).collect()).collect();
        let inputs = inputs.iter().map(|i| if extreme { vec![255; i.len()] } else { numbers.bytes(i.len()) }).collect();
        let bias = (0..outputs).map(|_| numbers.next() as i32 >> 12).collect();
        Self { inputs, readings, rows, bias, zero_point: numbers.next() as u8, pixels }
    }

    fn sum(&self, pixel: usize, output: usize) -> i32 {
        let mut weights = self.rows[output].iter();
        let mut sum = i64::from(self.bias[output]);
        for &(input, offset, step, quads) in &self.readings {
            for byte in 0..QUAD * quads {
                let x = i64::from(self.inputs[input][offset + pixel * step + byte]) - i64::from(self.zero_point);
                sum += x * i64::from(*weights.next().unwrap());
            }
        }
        i32::try_from(sum).unwrap()
    }

    fn readings(&self) -> Vec<Reading<'_>> {
        self.readings.iter().map(|&(input, offset, step, quads)| Reading { bytes: &self.inputs[input], offset, step, quads }).collect()
    }
}

fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.iter().copied().filter(|set| {
        let available = set.is_available();
        if !available {
            eprintln!("{set}: this processor does not have it, so its kernel is not tested here");
        }
        available
    })
}

#[test]
fn every_kernel_gives_the_bits_of_the_scalar_sums() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..60 {
        let case = Case::new(&mut numbers, round % 10 == 9);
        let outputs = case.rows.len();
        let padded = outputs.next_multiple_of(BLOCK);
        let multipliers: Vec<f32> = (0..padded).map(|o| if o < outputs { 1e-6 * (1 + numbers.below(3000)) as f32 } else { 0.0 }).collect();
        let zero_point = if round % 2 == 0 { 0 } else { numbers.next() as u8 };
        let (low, high) = (if round % 3 == 0 { zero_point } else { 0 }, if round % 5 == 0 { zero_point.saturating_add(90) } else { 255 });
        let quantizing = Quantizing { multipliers: multipliers.clone(), zero_point, low, high };
        let added = numbers.bytes(padded * case.pixels);
        let (added_zero, factor) = (numbers.next() as u8, 0.3);
        let with_residual = round % 4 == 1;
        let step = padded + 16 * numbers.below(3);
        let offset = numbers.below(20);
        for set in sets() {
            let weights = Weights::pack(set, &case.rows, &case.bias, case.zero_point).unwrap();
            assert!(weights.bytes() > 0);
            let mut bytes = vec![0xaa; offset + step * case.pixels];
            let residual = with_residual.then_some(Residual { bytes: &added, offset: 0, step: padded, zero_point: added_zero, factor });
            let mut writing = Writing::Bytes { bytes: &mut bytes, offset, step, quantizing: &quantizing, residual };
            // In two calls, as two threads would share it.
            let half = weights.blocks() / 2;
            convolve(&weights, 0..half, &case.readings(), case.pixels, &mut writing);
            convolve(&weights, half..weights.blocks(), &case.readings(), case.pixels, &mut writing);
            let mut floats = vec![f32::NAN; outputs * case.pixels];
            // Each of two calls has the planes of its own channels.
            for (blocks, floats) in [0..half, half..weights.blocks()].into_iter().zip({
                let (first, second) = floats.split_at_mut((half * BLOCK).min(outputs) * case.pixels);
                [first, second]
            }) {
                let channels = floats.len() / case.pixels;
                let mut writing = Writing::Floats { floats, offset: 0, step: 1, plane: case.pixels, channels, multipliers: &multipliers };
                convolve(&weights, blocks, &case.readings(), case.pixels, &mut writing);
            }
            for pixel in 0..case.pixels {
                for output in 0..outputs {
                    let sum = case.sum(pixel, output);
                    let value = sum as f32 * multipliers[output];
                    assert_eq!(floats[output * case.pixels + pixel].to_bits(), value.to_bits(), "{set}, float, round {round}");
                    let value = if with_residual {
                        value + (f32::from(added[pixel * padded + output]) - f32::from(added_zero)) * factor
                    } else {
                        value
                    };
                    let expected = (value.round_ties_even() + f32::from(zero_point)).clamp(f32::from(low), f32::from(high)) as u8;
                    assert_eq!(bytes[offset + pixel * step + output], expected, "{set}, round {round}, pixel {pixel}, output {output}");
                }
            }
            assert!(bytes[..offset].iter().all(|&b| b == 0xaa), "{set} writes in front of its output");
            for pixel in 0..case.pixels {
                let between = &bytes[offset + pixel * step + padded..offset + (pixel + 1) * step];
                assert!(between.iter().all(|&b| b == 0xaa), "{set} writes between its pixels");
            }
        }
    }
}

#[test]
fn every_depthwise_kernel_gives_the_bits_of_the_scalar_sums() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for round in 0..60 {
        let extreme = round % 6 == 5;
        let pixels = 1 + numbers.below(50);
        let channels = 1 + numbers.below(70);
        let padded = channels.next_multiple_of(BLOCK);
        let taps = [1, 2, 9, 9, 25][numbers.below(5)];
        let inputs: Vec<Vec<u8>> = (0..2).map(|_| numbers.bytes(10_000)).collect();
        let inputs =
            if extreme { inputs.iter().map(|i| i.iter().map(|&x| if x < 128 { 0 } else { 255 }).collect()).collect() } else { inputs };
        // Whatever lies in a window may have a step of its own.
        let readings: Vec<Reading> = (0..taps)
            .map(|_| Reading {
                bytes: &inputs[numbers.below(2)],
                offset: numbers.below(500),
                step: [1, 16, 48, 96, 160][numbers.below(5)],
                quads: padded / QUAD,
            })
            .collect();
        let weight = |numbers: &mut Numbers| if extreme { [-128, 127][numbers.below(2)] } else { numbers.next() as i8 };
        let rows: Vec<Vec<i8>> = (0..channels).map(|_| (0..taps).map(|_| weight(&mut numbers)).collect()).collect();
        let bias: Vec<i32> = (0..channels).map(|_| numbers.next() as i32 >> 14).collect();
        let multipliers: Vec<f32> = (0..padded).map(|c| if c < channels { 1e-6 * (1 + numbers.below(3000)) as f32 } else { 0.0 }).collect();
        let (input_zero, zero_point) = (numbers.next() as u8, numbers.next() as u8);
        let quantizing =
            Quantizing { multipliers: multipliers.clone(), zero_point, low: zero_point / 2, high: 255 - numbers.below(80) as u8 };
        let added = numbers.bytes(padded * pixels);
        for set in sets() {
            let weights = DepthwiseWeights::pack(set, &rows, &bias, input_zero).unwrap();
            let (offset, step, half) = (7, padded + 16, weights.blocks() / 2);
            let mut bytes = vec![0xaa; offset + step * pixels];
            let residual = (round % 3 == 1).then_some(Residual { bytes: &added, offset: 0, step: padded, zero_point: 11, factor: 0.3 });
            let mut writing = Writing::Bytes { bytes: &mut bytes, offset, step, quantizing: &quantizing, residual };
            convolve_depthwise(&weights, 0..half, &readings, pixels, &mut writing);
            convolve_depthwise(&weights, half..weights.blocks(), &readings, pixels, &mut writing);
            let mut floats = vec![f32::NAN; channels * pixels];
            let (first, second) = floats.split_at_mut((half * BLOCK).min(channels) * pixels);
            for (blocks, floats) in [(0..half, first), (half..weights.blocks(), second)] {
                let channels = floats.len() / pixels;
                let mut writing = Writing::Floats { floats, offset: 0, step: 1, plane: pixels, channels, multipliers: &multipliers };
                convolve_depthwise(&weights, blocks, &readings, pixels, &mut writing);
            }
            for pixel in 0..pixels {
                for channel in 0..channels {
                    let product = |(reading, &w): (&Reading, &i8)| {
                        let x = i32::from(reading.bytes[reading.offset + pixel * reading.step + channel]) - i32::from(input_zero);
                        x * i32::from(w)
                    };
                    let sum = bias[channel] + readings.iter().zip(&rows[channel]).map(product).sum::<i32>();
                    let value = sum as f32 * multipliers[channel];
                    assert_eq!(floats[channel * pixels + pixel].to_bits(), value.to_bits(), "{set}, float, round {round}");
                    let value = match residual {
                        Some(_) => value + (f32::from(added[pixel * padded + channel]) - 11.0) * 0.3,
                        None => value,
                    };
                    let expected = value.round_ties_even() + f32::from(zero_point);
                    let expected = expected.clamp(f32::from(quantizing.low), f32::from(quantizing.high)) as u8;
                    assert_eq!(bytes[offset + pixel * step + channel], expected, "{set}, round {round}, pixel {pixel}, channel {channel}");
                }
                let between = &bytes[offset + pixel * step + padded..offset + (pixel + 1) * step];
                assert!(between.iter().all(|&b| b == 0xaa), "{set} writes between its pixels");
            }
            assert!(bytes[..offset].iter().all(|&b| b == 0xaa), "{set} writes in front of its output");
        }
    }
}

/// Sums are linear in each input and each weight: where these fit whatever a kernel keeps on the way, all do.
#[test]
fn every_kernel_is_exact_at_the_ends_of_all_ranges() {
    let corner = |which: usize, ends: [i32; 2]| -> Vec<i32> { (0..QUAD).map(|i| ends[which >> i & 1]).collect() };
    let inputs: Vec<u8> = (0..16).flat_map(|which| corner(which, [0, 255])).map(|x| x as u8).collect();
    let rows: Vec<Vec<i8>> = (0..16).map(|which| corner(which, [-128, 127]).into_iter().map(|w| w as i8).collect()).collect();
    for (set, zero_point) in sets().flat_map(|set| [0, 255].map(|zero_point| (set, zero_point))) {
        let weights = Weights::pack(set, &rows, &[0; BLOCK], zero_point).unwrap();
        let mut floats = [0.0; 16 * BLOCK];
        let mut writing =
            Writing::Floats { floats: &mut floats, offset: 0, step: 1, plane: 16, channels: BLOCK, multipliers: &[1.0; BLOCK] };
        convolve(&weights, 0..1, &[Reading { bytes: &inputs, offset: 0, step: QUAD, quads: 1 }], 16, &mut writing);
        for (at, &sum) in floats.iter().enumerate() {
            let (w, x) = (&rows[at / 16], &inputs[at % 16 * QUAD..][..QUAD]);
            let expected: i32 = w.iter().zip(x).map(|(&w, &x)| i32::from(w) * (i32::from(x) - i32::from(zero_point))).sum();
            assert_eq!(sum, expected as f32, "{set}, weights {w:?}, inputs {x:?}, zero point {zero_point}");
        }
    }
}

/// As above, for two pixels of a window, which is what the kernels take at once.
#[test]
fn every_depthwise_kernel_is_exact_at_the_ends_of_all_ranges() {
    for set in sets() {
        for zero_point in [0, 255] {
            for (wa, wb) in [(-128, -128), (-128, 127), (127, -128), (127, 127)] {
                for (xa, xb) in [(0, 0), (0, 255), (255, 0), (255, 255)] {
                    let weights = DepthwiseWeights::pack(set, &[vec![wa, wb]], &[0], zero_point).unwrap();
                    let (a, b) = ([xa; BLOCK], [xb; BLOCK]);
                    let reading = |bytes| Reading { bytes, offset: 0, step: 0, quads: BLOCK / QUAD };
                    let mut floats = [0.0];
                    let mut writing =
                        Writing::Floats { floats: &mut floats, offset: 0, step: 1, plane: 1, channels: 1, multipliers: &[1.0; BLOCK] };
                    convolve_depthwise(&weights, 0..1, &[reading(&a), reading(&b)], 1, &mut writing);
                    let product = |w: i8, x: u8| i32::from(w) * (i32::from(x) - i32::from(zero_point));
                    assert_eq!(floats[0], (product(wa, xa) + product(wb, xb)) as f32, "{set}: {wa} * {xa} + {wb} * {xb} at {zero_point}");
                }
            }
        }
    }
}

#[test]
fn weights_that_could_overflow_are_refused() {
    let row = vec![127_i8; 4 * 8_000];
    let bias = i32::MAX - 127 * 255 * 1000;
    for set in sets() {
        assert!(Weights::pack(set, std::slice::from_ref(&row), &[0], 0).is_some());
        assert!(Weights::pack(set, std::slice::from_ref(&row), &[bias], 0).is_none());
        assert!(DepthwiseWeights::pack(set, &[vec![127; 25]], &[i32::MAX - 127 * 255 * 50], 0).is_some());
        assert!(DepthwiseWeights::pack(set, &[vec![127; 25]], &[i32::MAX - 127 * 255 * 49], 0).is_none());
    }
}

#[test]
#[should_panic(expected = "reads outside")]
fn a_row_that_would_read_outside_of_its_input_is_refused() {
    let weights = Weights::pack(InstructionSet::Portable, &[vec![1; 8]], &[0], 0).unwrap();
    let bytes = [0; 16 + 7];
    let mut floats = [0.0; 2];
    let mut writing = Writing::Floats { floats: &mut floats, offset: 0, step: 1, plane: 2, channels: 1, multipliers: &[1.0; BLOCK] };
    convolve(&weights, 0..1, &[Reading { bytes: &bytes, offset: 0, step: 16, quads: 2 }], 2, &mut writing);
}

#[test]
#[should_panic(expected = "reads outside")]
fn a_depthwise_row_that_would_read_outside_of_its_input_is_refused() {
    let weights = DepthwiseWeights::pack(InstructionSet::Portable, &[vec![1]], &[0], 0).unwrap();
    let bytes = [0; 2 * BLOCK - 1];
    let mut floats = [0.0; 2];
    let mut writing = Writing::Floats { floats: &mut floats, offset: 0, step: 1, plane: 2, channels: 1, multipliers: &[1.0; BLOCK] };
    convolve_depthwise(&weights, 0..1, &[Reading { bytes: &bytes, offset: 0, step: BLOCK, quads: BLOCK / QUAD }], 2, &mut writing);
}
