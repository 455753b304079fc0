//! What the votes say: percentages with their intervals.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use anyhow::bail;

use super::votes::Vote;

/// The normal distribution's quantile that leaves 2.5 % above: for intervals of 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// How often one of two was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Times it was chosen.
    pub chosen: u64,
    /// Votes.
    pub of: u64,
}

impl Share {
    /// The share itself, 0 to 1; a half without votes.
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.5 } else { self.chosen as f64 / self.of as f64 }
    }

    /// Wilson's score interval of 95 % (1927): where the true share lies, if the votes are independent.
    pub fn interval(self) -> [f64; 2] {
        if self.of == 0 {
            return [0.0, 1.0];
        }
        let (n, p, z2) = (self.of as f64, self.value(), Z_95 * Z_95);
        let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let reach = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        [(middle - reach).max(0.0), (middle + reach).min(1.0)]
    }

    fn count(&mut self, chosen: bool) {
        self.chosen += u64::from(chosen);
        self.of += 1;
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.interval().map(|bound| 100.0 * bound);
        write!(f, "{:5.1} % ({low:.1} to {high:.1}), {} of {}", 100.0 * self.value(), self.chosen, self.of)
    }
}

/// A survey's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// What was compared, in alphabetical order; the shares are the first one's.
    pub names: [String; 2],
    /// Over all pairs.
    pub all: Share,
    /// Of each pair.
    pub pairs: BTreeMap<String, Share>,
    /// How often the picture on the first side was chosen: far from a half, people chose by side.
    pub first_side: Share,
    /// How many people voted.
    pub voters: usize,
    /// Votes that were not counted, because their voter had already chosen from that pair.
    pub repeated: usize,
}

impl Results {
    /// Counts votes, the first one of each voter on each pair.
    ///
    /// # Errors
    /// If they are not all between the same two.
    pub fn of(votes: &[Vote]) -> anyhow::Result<Self> {
        let names = |vote: &Vote| {
            let mut names = [vote.chosen.clone(), vote.over.clone()];
            names.sort();
            names
        };
        let compared = votes.first().map(names).unwrap_or_default();
        let mut results =
            Self { names: compared, all: Share::default(), pairs: BTreeMap::new(), first_side: Share::default(), voters: 0, repeated: 0 };
        let mut given = HashSet::new();
        for vote in votes {
            if names(vote) != results.names {
                let [first, second] = &results.names;
                bail!(
                    "the votes are between {first} and {second}, and also between {} and {}: two surveys in one file",
                    vote.chosen,
                    vote.over
                );
            }
            if !given.insert((&vote.voter, &vote.pair)) {
                results.repeated += 1;
                continue;
            }
            let chosen = vote.chosen == results.names[0];
            results.all.count(chosen);
            results.pairs.entry(vote.pair.clone()).or_default().count(chosen);
            results.first_side.count(vote.side == 1);
        }
        results.voters = given.iter().map(|(voter, _)| voter).collect::<HashSet<_>>().len();
        Ok(results)
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names: [first, second], all, pairs, first_side, voters, repeated } = self;
        let people = if *voters == 1 { "voter" } else { "voters" };
        writeln!(f, "{first} preferred over {second} (95 % Wilson intervals, as if all votes were independent)")?;
        writeln!(f, "  all pairs  {all}, {voters} {people}")?;
        writeln!(f, "  side 1     {first_side}")?;
        if *repeated > 0 {
            writeln!(f, "  {repeated} repeated votes are not counted")?;
        }
        let widest = pairs.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut order: Vec<_> = pairs.iter().collect();
        order.sort_by(|a, b| b.1.value().total_cmp(&a.1.value()).then(a.0.cmp(b.0)));
        for (index, (name, share)) in order.iter().enumerate() {
            write!(f, "  {name:<widest$}  {share}{}", if index + 1 < order.len() { "\n" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_literature() {
        // Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3: the score interval, to four decimals.
        let published = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)];
        for (chosen, of, low, high) in published {
            let found = Share { chosen, of }.interval();
            assert!((found[0] - low).abs() < 5.1e-5 && (found[1] - high).abs() < 5.1e-5, "{chosen} of {of}: {found:?}");
            // The other side's interval is the mirror image.
            let other = Share { chosen: of - chosen, of }.interval();
            assert!((found[0] + other[1] - 1.0).abs() < 1e-12 && (found[1] + other[0] - 1.0).abs() < 1e-12);
        }
        assert_eq!(Share::default().interval(), [0.0, 1.0]);
        // Its definition: the ends are where the share lies 1.96 of the true share's own deviations away.
        let share = Share { chosen: 37, of: 92 };
        for bound in share.interval() {
            let distance = (share.value() - bound).abs() / (bound * (1.0 - bound) / 92.0).sqrt();
            assert!((distance - Z_95).abs() < 1e-9, "{distance}");
        }
    }

    #[test]
    fn votes_are_counted_once_a_voter_and_pair() {
        let vote = |voter: &str, pair: &str, ours: bool, side| Vote {
            at: 0,
            voter: voter.into(),
            pair: pair.into(),
            chosen: if ours { "ours" } else { "theirs" }.into(),
            over: if ours { "theirs" } else { "ours" }.into(),
            side,
        };
        let votes =
            [vote("x", "a", true, 1), vote("x", "b", false, 2), vote("y", "a", true, 1), vote("x", "a", false, 2), vote("z", "b", true, 1)];
        let results = Results::of(&votes).unwrap();
        assert_eq!(results.names, ["ours", "theirs"]);
        assert_eq!(results.all, Share { chosen: 3, of: 4 });
        assert_eq!(results.pairs["a"], Share { chosen: 2, of: 2 });
        assert_eq!(results.pairs["b"], Share { chosen: 1, of: 2 });
        assert_eq!((results.first_side, results.voters, results.repeated), (Share { chosen: 3, of: 4 }, 3, 1));
        let text = results.to_string();
        // 3 of 4: Wilson by hand, (3 + 1.9207) / (4 + 3.8415) -+ 1.96 / 7.8415 sqrt(.75 + .9604).
        assert!(text.contains("75.0 % (30.1 to 95.4), 3 of 4, 3 voters") && text.contains("1 repeated"), "{text}");
        let mixed = [vote("x", "a", true, 1), Vote { over: "grey".into(), ..vote("y", "a", true, 1) }];
        assert!(Results::of(&mixed).unwrap_err().to_string().contains("grey"));
    }
}
