//! Which pictures are for training and which for validation.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The two parts of a packed set. They never share a photograph or a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the net learns from, about 95 %.
    Train,
    /// What it is judged by, about 5 %.
    Validation,
}

impl Split {
    /// Both splits, training first.
    pub const ALL: [Split; 2] = [Split::Train, Split::Validation];

    /// The name used in file names and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The split of a photo, a video file or a clip's folder, from its bare name (with the extension, without directories).
///
/// Validation when the first byte of SHA-256(name) is below 13, about 5 %. A name says it alone, so that adding pictures or packing in
/// another order never moves one from one split to the other, and all frames of a clip stay together.
pub fn split_of(name: &str) -> Split {
    if Sha256::digest(name.as_bytes())[0] < 13 { Split::Validation } else { Split::Train }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_have_their_split() {
        // First bytes computed with coreutils' `sha256sum`.
        struct Case {
            name: &'static str,
            split: Split,
        }
        let cases = [
            // 0x3a
            Case { name: "apple", split: Split::Train },
            // 0x0d is 13, the first value that is training.
            Case { name: "intel_00043.jpg", split: Split::Train },
            // 0x08
            Case { name: "intel_00072.jpg", split: Split::Validation },
            // 0x02
            Case { name: "intel_00142.jpg", split: Split::Validation },
        ];
        for case in cases {
            assert_eq!(split_of(case.name), case.split, "{}", case.name);
        }
    }

    #[test]
    fn about_one_name_in_twenty_is_for_validation() {
        let names = 20_000;
        let validation = (0..names).filter(|i| split_of(&format!("photo_{i:05}.jpg")) == Split::Validation).count();
        // 13/256 = 5.08 %; the standard deviation for 20,000 draws is 0.16 %, and five of them are allowed.
        let share = validation as f64 / names as f64;
        assert!((share - 13.0 / 256.0).abs() < 0.008, "{share}");
    }
}
