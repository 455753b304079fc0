//! Which pair a voter sees when, and which picture on which side: pure functions of the survey's seed, the voter and the pair's name.
//!
//! So nothing of it has to be kept, and a survey that was killed, or has more pictures now, goes on as it was.

use sha2::{Digest, Sha256};

/// A voter's word: sixteen hexadecimal digits, drawn by the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Voter(String);

impl Voter {
    /// A new one.
    pub fn draw() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// One that came from outside, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        digits.then(|| Self(text.to_owned()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a page calls a pair: says nothing of its pictures' names.
pub fn token(pair: &str) -> String {
    digest(&[b"pair", pair.as_bytes()])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The order in which a voter sees pairs, as indices.
pub fn order<'a>(seed: u64, voter: &Voter, pairs: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut keys: Vec<([u8; 32], usize)> = pairs.map(|pair| place(b"order", seed, voter, pair)).zip(0..).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, index)| index).collect()
}

/// Whether the pair's second picture is shown as the first.
pub fn swapped(seed: u64, voter: &Voter, pair: &str) -> bool {
    place(b"sides", seed, voter, pair)[0] & 1 == 1
}

fn place(what: &[u8], seed: u64, voter: &Voter, pair: &str) -> [u8; 32] {
    digest(&[what, &seed.to_le_bytes(), voter.0.as_bytes(), pair.as_bytes()])
}

/// Each part with its length, so that no two lists of parts are the same bytes.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_see_all_pairs_in_orders_and_on_sides_of_their_own() {
        let names: Vec<String> = (0..40).map(|i| format!("picture_{i}")).collect();
        let of = |voter: &Voter| {
            let order = order(1, voter, names.iter().map(String::as_str));
            let sides: Vec<bool> = names.iter().map(|name| swapped(1, voter, name)).collect();
            (order, sides)
        };
        let voters: Vec<Voter> = (0..50).map(|i| Voter(format!("{i:016x}"))).collect();
        let (mut swaps, mut first_shown) = (0, std::collections::HashSet::new());
        for voter in &voters {
            let (mut order, sides) = of(voter);
            assert_eq!((order.clone(), sides.clone()), of(voter));
            first_shown.insert(order[0]);
            swaps += sides.iter().filter(|&&swapped| swapped).count();
            order.sort_unstable();
            assert!(order.into_iter().eq(0..40));
        }
        // 2000 throws of a coin: five deviations are 112. Fifty draws of 40 pictures show 29 of them on average.
        assert!((888..=1112).contains(&swaps), "{swaps}");
        assert!(first_shown.len() > 20, "{}", first_shown.len());
        assert_ne!(of(&voters[0]).1, of(&voters[1]).1);
        let other_seed: Vec<bool> = names.iter().map(|name| swapped(2, &voters[0], name)).collect();
        assert_ne!(of(&voters[0]).1, other_seed);
    }

    #[test]
    fn only_a_voters_word_is_one() {
        let drawn = Voter::draw();
        assert_eq!(Voter::parse(drawn.as_str()), Some(drawn.clone()));
        assert_ne!(Voter::draw(), drawn);
        for wrong in ["", "0123", "0123456789ABCDEF", "0123456789abcdeg", "0123456789abcdef0", "0123456789abcde\u{e9}", "../../etc/passwd"]
        {
            assert_eq!(Voter::parse(wrong), None, "{wrong}");
        }
        assert_eq!(token("a").len(), 16);
        assert_ne!(token("a"), token("b"));
    }
}
