//! Evaluation: who colors how well.
//!
//! [`Colorist`] is whoever gives grey frames color: a model file through the engine that ships, a classical method, no one (grey).
//! [`evaluate`] measures any number of them on the same pictures; [`table`](table::text) and [`page`](page::html) show what was found.
//! [`stills`] is the quick look at one model that training takes.

pub mod page;
pub mod table;

mod colorist;
mod comparison;
mod exhibits;
mod figures;
mod moving;
mod perceptual;
mod pictures;
mod quick;
mod references;
mod samples;
mod trade_off;

pub use colorist::{ByReference, Colorist, Contestant, Grey, Kind, names_of};
pub use comparison::{Comparison, Conditions, Plan, Row, evaluate};
pub use exhibits::{Exhibits, Share};
pub use figures::{AgainstTruth, StillFigures};
pub use moving::{ClipFigures, FilmFigures, MovingFigures, SceneFigures};
pub use perceptual::{FeatureNetwork, PerceptualDistance};
pub use pictures::{TruePicture, grey_luma};
pub use quick::{StillQuality, sample_grid, stills};
pub use references::{Reference, References};
pub use samples::{FilmStrip, Jpeg, SamplePicture, Samples};
