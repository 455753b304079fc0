//! What each address of the survey's page answers.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::ballot::{self, Voter};
use super::http::{Answer, Method, Request, Status};
use super::pairs::PICTURE_BYTES_MAX;
use super::votes::{Refused, Vote, VoteLog};
use super::{Pair, Plan};

/// The port that browsers do not name.
const HTTP_PORT: u16 = 80;
const PAGE: &str = include_str!("page.html");

/// A survey that is going on.
pub(super) struct Survey {
    plan: Plan,
    /// What the page calls each pair, in the plan's order.
    tokens: Vec<String>,
    votes: Mutex<VoteLog>,
    /// Where this page is, as browsers say it.
    hosts: Vec<String>,
}

impl Survey {
    pub(super) fn new(plan: Plan, votes: VoteLog, port: u16) -> Self {
        let tokens = plan.pairs.iter().map(|pair| ballot::token(&pair.name)).collect();
        let mut hosts = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        if port == HTTP_PORT {
            hosts.extend(["127.0.0.1".to_owned(), "localhost".to_owned()]);
        }
        Self { plan, tokens, votes: Mutex::new(votes), hosts }
    }

    /// Answers a request. Says nothing that tells which picture is of which kind.
    pub(super) fn answer(&self, request: &Request) -> Answer {
        // A name of elsewhere that was made to point here is not ours (DNS rebinding); nor is another page's vote.
        if !self.hosts.contains(&request.host) {
            return Answer::text(Status::Misdirected, format_args!("this survey is at http://{}/", self.hosts[0]));
        }
        let foreign = |origin: &String| origin.strip_prefix("http://").is_none_or(|host| !self.hosts.iter().any(|own| own == host));
        if request.method == Method::Post && request.origin.as_ref().is_some_and(foreign) {
            return Answer::text(Status::Forbidden, "votes come from the survey's own page");
        }
        match (request.method, request.path.as_str()) {
            (Method::Get, "/") => Answer::new(Status::Ok, "text/html; charset=utf-8", PAGE),
            (Method::Post, "/voter") => json_answer(&json!({"voter": Voter::draw().as_str()})),
            (Method::Get, "/next") => self.with_voter(request, |voter| self.next(&voter, request)),
            (Method::Get, "/picture") => self.with_voter(request, |voter| self.picture(&voter, request)),
            (Method::Post, "/vote") => self.with_voter(request, |voter| self.vote(&voter, request)),
            (_, "/" | "/voter" | "/next" | "/picture" | "/vote") => Answer::text(Status::MethodNotAllowed, "not by this method"),
            _ => Answer::text(Status::NotFound, "there is nothing here; the survey is at /"),
        }
    }

    fn with_voter(&self, request: &Request, answer: impl FnOnce(Voter) -> Answer) -> Answer {
        match request.value("voter").and_then(Voter::parse) {
            Some(voter) => answer(voter),
            None => Answer::text(Status::BadRequest, "voter: sixteen hexadecimal digits, as /voter gives them"),
        }
    }

    /// The voter's first pair that has no vote yet; `without` names those, by their tokens, that the page could not show.
    fn next(&self, voter: &Voter, request: &Request) -> Answer {
        let Plan { pairs, question, seconds, seed, .. } = &self.plan;
        let votes = self.votes();
        let order = ballot::order(*seed, voter, pairs.iter().map(|pair| pair.name.as_str()));
        let open: Vec<usize> = order.into_iter().filter(|&index| !votes.has(voter, &pairs[index].name)).collect();
        let without = request.value("without").unwrap_or_default();
        let mut shown = open.iter().map(|&index| self.tokens[index].as_str());
        let pair = shown.find(|token| !without.split(',').any(|failed| failed == *token));
        let done = pairs.len() - open.len();
        json_answer(&json!({"pair": pair, "done": done, "total": pairs.len(), "question": question, "seconds": seconds}))
    }

    fn picture(&self, voter: &Voter, request: &Request) -> Answer {
        let (pair, side) = match (self.pair(request), side(request)) {
            (Ok(pair), Ok(side)) => (pair, side),
            (Err(answer), _) | (_, Err(answer)) => return answer,
        };
        let file = &pair.files[self.kind(voter, pair, side)];
        match read_within(file, PICTURE_BYTES_MAX) {
            // By content, not by the file's name: a PNG that is called .jpg is common.
            Ok(bytes) if bytes.starts_with(b"\x89PNG") => Answer::new(Status::Ok, "image/png", bytes),
            Ok(bytes) => Answer::new(Status::Ok, "image/jpeg", bytes),
            Err(error) => {
                eprintln!("the picture {} cannot be shown: {error}", file.display());
                Answer::text(Status::Unavailable, "this picture cannot be read")
            }
        }
    }

    fn vote(&self, voter: &Voter, request: &Request) -> Answer {
        let (pair, side) = match (self.pair(request), side(request)) {
            (Ok(pair), Ok(side)) => (pair, side),
            (Err(answer), _) | (_, Err(answer)) => return answer,
        };
        let kind = self.kind(voter, pair, side);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let names = &self.plan.names;
        let (chosen, over) = (names[kind].clone(), names[1 - kind].clone());
        let vote = Vote { at, voter: voter.as_str().into(), pair: pair.name.clone(), chosen, over, side };
        let added = self.votes().add(&vote);
        match added {
            Ok(()) => self.next(voter, request),
            Err(Refused::Twice) => Answer::text(Status::Conflict, "this pair was answered already"),
            Err(Refused::NotWritten(error)) => {
                eprintln!("a vote could not be written: {error}");
                Answer::text(Status::NotStored, "the vote could not be stored; try again")
            }
        }
    }

    fn pair(&self, request: &Request) -> Result<&Pair, Answer> {
        let token = request.value("pair").unwrap_or_default();
        let known = self.tokens.iter().position(|known| known == token);
        known.map(|index| &self.plan.pairs[index]).ok_or_else(|| Answer::text(Status::NotFound, "there is no such pair"))
    }

    /// Which of the pair's files a voter sees on a side.
    fn kind(&self, voter: &Voter, pair: &Pair, side: u8) -> usize {
        usize::from((side == 2) != ballot::swapped(self.plan.seed, voter, &pair.name))
    }

    fn votes(&self) -> MutexGuard<'_, VoteLog> {
        self.votes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_within(file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn side(request: &Request) -> Result<u8, Answer> {
    match request.value("side") {
        Some("1") => Ok(1),
        Some("2") => Ok(2),
        _ => Err(Answer::text(Status::BadRequest, "side: 1 or 2")),
    }
}

fn json_answer(value: &serde_json::Value) -> Answer {
    Answer::new(Status::Ok, "application/json", value.to_string())
}
