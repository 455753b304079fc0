//! Whether color stops where things end.

use autochrome_model::{Chroma, Plane};

/// Below this |grad L*| a pixel lies in a flat place, Lab units a pixel.
const FLAT: f32 = 2.0;
/// Above this it lies on an edge.
const EDGE: f32 = 8.0;

/// The bleed ratio: the mean ab gradient in flat places over that on edges of the lightness. Chroma that changes where nothing else does, as
/// it does where it runs over an edge, raises it; the truth's own ratio is what to compare with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bleeding {
    flat: [f64; 2],
    edge: [f64; 2],
}

impl Bleeding {
    /// Adds a picture: its ab, and the true L* at the same size.
    pub fn add(&mut self, chroma: &Chroma, lightness: &Plane<f32>) {
        let width = lightness.width;
        for y in 0..lightness.height.saturating_sub(1) {
            for x in 0..width.saturating_sub(1) {
                let at = y * width + x;
                let steps = |plane: &[f32]| [plane[at + 1] - plane[at], plane[at + width] - plane[at]];
                let [across, down] = steps(&lightness.data);
                let of = match across.hypot(down) {
                    gradient if gradient < FLAT => &mut self.flat,
                    gradient if gradient > EDGE => &mut self.edge,
                    _ => continue,
                };
                let squares: f32 = [&chroma.a.data, &chroma.b.data].map(|p| steps(p).map(|v| v * v).iter().sum::<f32>()).iter().sum();
                of[0] += f64::from(squares.sqrt());
                of[1] += 1.0;
            }
        }
    }

    /// The ratio; `None` where there is no color on any edge.
    pub fn ratio(&self) -> Option<f64> {
        let [flat, edge] = [self.flat, self.edge].map(|[sum, count]| sum / count.max(1.0));
        (edge > 1e-3).then(|| flat / edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lightness step in the middle, and a chroma step `late` pixels after it, spread over `wide` pixels.
    fn ratio(late: usize, wide: usize) -> Option<f64> {
        let row = |edge: usize, spread: usize, height: f32| -> Vec<f32> {
            (0..32).map(|x| height * ((x as f32 - edge as f32 + 1.0) / spread as f32).clamp(0.0, 1.0)).collect()
        };
        let plane = |row: Vec<f32>| Plane::from_vec(32, 8, row.repeat(8));
        let mut bleeding = Bleeding::default();
        bleeding.add(&Chroma { a: plane(row(16 + late, wide, 40.0)), b: Plane::filled(32, 8, 0.0) }, &plane(row(16, 1, 50.0)));
        bleeding.ratio()
    }

    #[test]
    fn color_that_stops_at_the_edge_does_not_bleed() {
        assert_eq!(ratio(0, 1), Some(0.0));
        // Of a ramp over 8 pixels, one step of 5 lies on the edge and seven in 30 flat columns.
        let spread = ratio(0, 8).unwrap();
        assert!((spread - (7.0 * 5.0 / 30.0) / 5.0).abs() < 1e-6, "{spread}");
        // All of it beside the edge: no color on the edge at all.
        assert_eq!(ratio(4, 1), None);
    }

    #[test]
    fn grey_has_no_ratio() {
        let flat = Plane::filled(8, 8, 0.0);
        let mut bleeding = Bleeding::default();
        bleeding.add(&Chroma { a: flat.clone(), b: flat.clone() }, &flat);
        assert_eq!(bleeding.ratio(), None);
    }
}
