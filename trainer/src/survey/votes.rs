//! The file of votes: one JSON line a vote, on the disk before it is thanked for.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::ballot::Voter;

/// The largest file of votes that is read: a million votes and more.
const FILE_BYTES_MAX: u64 = 1 << 28;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One choice of one voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Seconds since 1970.
    pub at: u64,
    /// Who, as a word that was drawn.
    pub voter: String,
    /// The pair's name.
    pub pair: String,
    /// The kind of picture that was chosen.
    pub chosen: String,
    /// The kind that was not.
    pub over: String,
    /// Where the chosen one stood, 1 or 2.
    pub side: u8,
}

/// Why a vote was not taken.
#[derive(Debug)]
pub enum Refused {
    /// This voter has already chosen from this pair.
    Twice,
    /// It could not be written. The file is as it was before.
    NotWritten(io::Error),
}

/// A file of votes that is being added to, by nobody else.
#[derive(Debug)]
pub struct VoteLog {
    file: File,
    /// Up to here the file holds whole lines.
    length: u64,
    /// Whether a write that failed left something behind `length`.
    torn: bool,
    given: HashSet<(String, String)>,
    count: usize,
}

impl VoteLog {
    /// Opens a file of votes between `names`, or creates it. Also how many of its lines are damaged, which are left as they are.
    ///
    /// # Errors
    /// If it cannot be opened, another survey writes to it, or it holds votes between others.
    pub fn open(path: &Path, names: &[String; 2]) -> anyhow::Result<(Self, usize)> {
        ensure!(names[0] != names[1], "both sides are called {:?}: give them two names with --names A,B", names[0]);
        let opening = || format!("open {} for votes", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        std::fs::create_dir_all(&folder).with_context(opening)?;
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).with_context(opening)?;
        match crate::lock::take(&file) {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => bail!("another survey adds to {}; give this one another file", path.display()),
            Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(opening),
        }
        File::open(&folder).and_then(|folder| folder.sync_all()).with_context(opening)?;
        let (bytes, (votes, damaged)) = read_file(&file, path)?;
        if let Some(vote) = votes.iter().find(|vote| !is_between(vote, names)) {
            bail!(
                "{} holds votes between {} and {}, not between {} and {}; give this survey another file, or its names with --names",
                path.display(),
                vote.chosen,
                vote.over,
                names[0],
                names[1]
            );
        }
        let given: HashSet<_> = votes.into_iter().map(|vote| (vote.voter, vote.pair)).collect();
        let count = given.len();
        let mut log = Self { file, length: bytes.len() as u64, torn: false, given, count };
        if bytes.last().is_some_and(|&last| last != b'\n') {
            // A line that was being written when the program was killed. It stays as a line of its own.
            log.append(b"\n").with_context(|| format!("write to {}", path.display()))?;
        }
        Ok((log, damaged))
    }

    /// How many votes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a voter has chosen from a pair.
    pub fn has(&self, voter: &Voter, pair: &str) -> bool {
        // Two short strings a look: a person is waiting, not a loop.
        self.given.contains(&(voter.as_str().to_owned(), pair.to_owned()))
    }

    /// Puts a vote on the disk. When this returns, it is there.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add(&mut self, vote: &Vote) -> Result<(), Refused> {
        let key = (vote.voter.clone(), vote.pair.clone());
        if self.given.contains(&key) {
            return Err(Refused::Twice);
        }
        let mut line = serde_json::to_vec(vote).map_err(|error| Refused::NotWritten(error.into()))?;
        line.push(b'\n');
        self.append(&line).map_err(Refused::NotWritten)?;
        self.given.insert(key);
        self.count += 1;
        Ok(())
    }

    /// All of `bytes` on the disk, or the file as it was.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        self.torn = true;
        self.file.write_all(bytes).and_then(|()| self.file.sync_data())?;
        self.torn = false;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// All votes of a file, and how many lines are damaged.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn read(path: &Path) -> anyhow::Result<(Vec<Vote>, usize)> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(read_file(&file, path)?.1)
}

type Parsed = (Vec<Vote>, usize);

fn read_file(file: &File, path: &Path) -> anyhow::Result<(Vec<u8>, Parsed)> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    ensure!(bytes.len() as u64 <= FILE_BYTES_MAX, "{} is larger than {FILE_BYTES_MAX} bytes: no file of votes", path.display());
    let (mut votes, mut damaged) = (Vec::new(), 0);
    // What some editors put in front of a file that they save is not the first line's fault.
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice::<Vote>(line) {
            Ok(vote) if vote.chosen != vote.over => votes.push(vote),
            _ => damaged += 1,
        }
    }
    Ok((bytes, (votes, damaged)))
}

fn is_between(vote: &Vote, [first, second]: &[String; 2]) -> bool {
    (&vote.chosen, &vote.over) == (first, second) || (&vote.chosen, &vote.over) == (second, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(voter: u64, pair: &str) -> Vote {
        Vote { at: 1, voter: format!("{voter:016x}"), pair: pair.into(), chosen: "ours".into(), over: "theirs".into(), side: 1 }
    }

    fn names() -> [String; 2] {
        ["theirs".into(), "ours".into()]
    }

    #[test]
    fn votes_are_there_after_a_kill_and_a_torn_line_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/votes.jsonl");
        let (mut log, damaged) = VoteLog::open(&path, &names()).unwrap();
        assert_eq!((log.len(), damaged), (0, 0));
        log.add(&vote(1, "a")).unwrap();
        log.add(&vote(1, "b")).unwrap();
        assert!(matches!(log.add(&vote(1, "a")), Err(Refused::Twice)));
        // Not dropped: read by another, as after a kill.
        assert_eq!(read(&path).unwrap().0, [vote(1, "a"), vote(1, "b")]);
        drop(log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(br#"{"at":1,"voter":"00000000000"#);
        std::fs::write(&path, &bytes).unwrap();
        let (mut log, damaged) = VoteLog::open(&path, &names()).unwrap();
        assert_eq!((log.len(), damaged), (2, 1));
        assert!(matches!(log.add(&vote(1, "b")), Err(Refused::Twice)));
        log.add(&vote(2, "a")).unwrap();
        let (votes, damaged) = read(&path).unwrap();
        assert_eq!((votes.len(), damaged), (3, 1));
        assert!(std::fs::read(&path).unwrap().starts_with(&bytes), "what was there is gone");
    }

    #[test]
    fn a_last_line_without_its_end_counts_and_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes.jsonl");
        std::fs::write(&path, serde_json::to_vec(&vote(1, "a")).unwrap()).unwrap();
        let (mut log, _) = VoteLog::open(&path, &names()).unwrap();
        log.add(&vote(1, "b")).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![vote(1, "a"), vote(1, "b")], 0));
    }

    #[test]
    fn a_byte_order_mark_costs_no_vote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes.jsonl");
        let line = serde_json::to_vec(&vote(1, "a")).unwrap();
        std::fs::write(&path, [BYTE_ORDER_MARK, &line, b"\r\n"].concat()).unwrap();
        let (mut log, damaged) = VoteLog::open(&path, &names()).unwrap();
        assert_eq!((log.len(), damaged), (1, 0));
        log.add(&vote(1, "b")).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![vote(1, "a"), vote(1, "b")], 0));
    }

    #[test]
    fn a_full_disk_refuses_the_vote_and_keeps_the_others() {
        // The device that is always full.
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut log = VoteLog { file, length: 0, torn: false, given: HashSet::new(), count: 0 };
        assert!(matches!(log.add(&vote(1, "a")), Err(Refused::NotWritten(_))));
        assert_eq!(log.len(), 0);
        // What a write that failed half-way left behind is cut off before the next.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes.jsonl");
        let (mut log, _) = VoteLog::open(&path, &names()).unwrap();
        log.add(&vote(1, "a")).unwrap();
        log.file.write_all(b"{\"at\":").unwrap();
        log.torn = true;
        log.add(&vote(1, "b")).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![vote(1, "a"), vote(1, "b")], 0));
    }

    #[test]
    fn two_surveys_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes.jsonl");
        let (mut log, _) = VoteLog::open(&path, &names()).unwrap();
        assert!(VoteLog::open(&path, &names()).unwrap_err().to_string().contains("another survey"));
        log.add(&vote(1, "a")).unwrap();
        drop(log);
        let error = VoteLog::open(&path, &["ours".into(), "grey".into()]).unwrap_err().to_string();
        assert!(error.contains("between ours and theirs"), "{error}");
        assert!(VoteLog::open(&path, &["ours".into(), "ours".into()]).is_err());
    }
}
