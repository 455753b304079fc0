//! A survey over real sockets: honest voters, and requests that are broken, foreign, unknown or repeated.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::Value;

use super::super::{pairs, votes};
use super::*;

const RED: [u8; 3] = [200, 0, 0];
const BLUE: [u8; 3] = [0, 0, 200];

/// A survey of four pairs, a red picture in the first folder against a blue one in the second.
fn survey(folder: &Path) -> SocketAddr {
    let sides = [("reds", RED), ("blues", BLUE)].map(|(name, color)| {
        let side = folder.join(name);
        std::fs::create_dir_all(&side).unwrap();
        for pair in ["harbor", "meadow", "street", "tower"] {
            RgbImage::from_pixel(4, 3, Rgb(color)).save(side.join(format!("{pair}.png"))).unwrap();
        }
        side
    });
    let (pairs, _) = pairs::find(&sides[0], &sides[1]).unwrap();
    let names = ["reds".to_owned(), "blues".to_owned()];
    let (votes, _) = VoteLog::open(&folder.join("votes.jsonl"), &names).unwrap();
    let plan = Plan { names, pairs, question: "Which one?".into(), seconds: 1.5, seed: 3 };
    start(plan, votes, 0).unwrap().address()
}

/// Sends these bytes and returns what comes back.
fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn ask(address: SocketAddr, method: &str, target: &str) -> (u16, Vec<u8>) {
    let answer = exchange(address, format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|end| answer[end + 4..].to_vec());
    (status, body.unwrap())
}

fn json(address: SocketAddr, method: &str, target: &str) -> Value {
    let (status, body) = ask(address, method, target);
    assert_eq!(status, 200, "{target}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn voter(address: SocketAddr) -> String {
    json(address, "POST", "/voter")["voter"].as_str().unwrap().to_owned()
}

#[test]
fn a_voter_answers_every_pair_once_and_blind() {
    let folder = tempfile::tempdir().unwrap();
    let address = survey(folder.path());
    let voter = voter(address);
    let (_, page) = ask(address, "GET", "/");
    let mut seen = String::from_utf8(page).unwrap();
    let mut next = json(address, "GET", &format!("/next?voter={voter}"));
    assert_eq!((next["total"].as_u64(), next["question"].as_str(), next["seconds"].as_f64()), (Some(4), Some("Which one?"), Some(1.5)));
    let mut pairs = HashSet::new();
    for done in 1..=4 {
        let pair = next["pair"].as_str().unwrap().to_owned();
        assert!(pairs.insert(pair.clone()), "{pair} is asked twice");
        let picture = |side: u8| {
            let (status, bytes) = ask(address, "GET", &format!("/picture?voter={voter}&pair={pair}&side={side}"));
            assert_eq!(status, 200);
            image::load_from_memory(&bytes).unwrap().into_rgb8().get_pixel(0, 0).0
        };
        let shown = [picture(1), picture(2)];
        assert_ne!(shown[0], shown[1]);
        let side = if shown[0] == RED { 1 } else { 2 };
        next = json(address, "POST", &format!("/vote?voter={voter}&pair={pair}&side={side}"));
        assert_eq!(next["done"].as_u64(), Some(done));
        seen += &next.to_string();
        // On the disk before it is answered, and it is what the voter saw.
        let (votes, _) = votes::read(&folder.path().join("votes.jsonl")).unwrap();
        assert_eq!(votes.len() as u64, done);
        let last = votes.last().unwrap();
        assert_eq!((last.chosen.as_str(), last.over.as_str(), last.side), ("reds", "blues", side));
    }
    assert!(next["pair"].is_null(), "{next}");
    for word in ["reds", "blues", "harbor", "meadow"] {
        assert!(!seen.contains(word), "the page says {word}");
    }
}

#[test]
fn a_survey_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["reds".to_owned(), "blues".to_owned()];
    let word = "00000000000000aa";
    let line = |pair: &str| format!(r#"{{"at":1,"voter":"{word}","pair":"{pair}","chosen":"reds","over":"blues","side":1}}"#);
    let before = [line("harbor"), line("tower"), "{\"at\":1,\"vo".into()].join("\n");
    std::fs::write(folder.path().join("votes.jsonl"), before).unwrap();
    let address = survey(folder.path());
    let next = json(address, "GET", &format!("/next?voter={word}"));
    assert_eq!(next["done"].as_u64(), Some(2));
    let open = [super::super::ballot::token("meadow"), super::super::ballot::token("street")];
    assert!(open.iter().any(|token| Some(token.as_str()) == next["pair"].as_str()));
    assert!(VoteLog::open(&folder.path().join("votes.jsonl"), &names).is_err(), "two surveys share a file");
}

#[test]
fn a_double_vote_and_unknown_things_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = survey(folder.path());
    let voter = voter(address);
    let pair = json(address, "GET", &format!("/next?voter={voter}"))["pair"].as_str().unwrap().to_owned();
    json(address, "POST", &format!("/vote?voter={voter}&pair={pair}&side=2"));
    let cases = [
        ("POST", format!("/vote?voter={voter}&pair={pair}&side=1"), 409),
        ("POST", format!("/vote?voter={voter}&pair={pair}&side=2"), 409),
        ("POST", format!("/vote?voter={voter}&pair=0123456789abcdef&side=1"), 404),
        ("POST", format!("/vote?voter={voter}&pair=&side=1"), 404),
        ("POST", format!("/vote?voter={voter}&pair=harbor&side=1"), 404),
        ("POST", format!("/vote?voter={voter}&side=1"), 404),
        ("POST", format!("/vote?voter={voter}&pair={pair}&side=3"), 400),
        ("POST", format!("/vote?voter={voter}&pair={pair}"), 400),
        ("POST", format!("/vote?voter=nobody&pair={pair}&side=1"), 400),
        ("POST", "/vote".into(), 400),
        ("GET", format!("/vote?voter={voter}&pair={pair}&side=1"), 405),
        ("GET", format!("/picture?voter={voter}&pair=../votes.jsonl&side=1"), 404),
        ("GET", "/../votes.jsonl".into(), 404),
        ("GET", "/next".into(), 400),
        ("POST", "/".into(), 405),
    ];
    for (method, target, expected) in cases {
        assert_eq!(ask(address, method, &target).0, expected, "{method} {target}");
    }
    assert_eq!(votes::read(&folder.path().join("votes.jsonl")).unwrap().0.len(), 1);
    assert_eq!(json(address, "GET", &format!("/next?voter={voter}"))["done"].as_u64(), Some(1));
}

#[test]
fn broken_and_foreign_requests_are_refused_and_the_page_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let address = survey(folder.path());
    let voter = voter(address);
    let pair = json(address, "GET", &format!("/next?voter={voter}"))["pair"].as_str().unwrap().to_owned();
    let vote = format!("POST /vote?voter={voter}&pair={pair}&side=1 HTTP/1.1\r\n");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    let cases: [(String, &str); 7] = [
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "400"),
        (format!("BREW / HTTP/1.1\r\nHost: {address}\r\n\r\n"), "405"),
        (long, "431"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), "421"),
        (format!("{vote}Host: {address}\r\nOrigin: http://evil.example\r\n\r\n"), "403"),
        (format!("{vote}Host: {address}\r\nOrigin: null\r\n\r\n"), "403"),
    ];
    for (request, expected) in cases {
        let answer = exchange(address, request.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(&format!("HTTP/1.1 {expected}")), "{}: {text}", &request[..request.len().min(60)]);
    }
    // Half a request, and more visitors than there is room for: nobody is kept out for good.
    let silent: Vec<TcpStream> = (0..CONNECTIONS_MAX + 8).map(|_| TcpStream::connect(address).unwrap()).collect();
    (&silent[0]).write_all(b"GET / HT").unwrap();
    drop(silent);
    let mut tries = 0;
    while !exchange_quietly(address).starts_with(b"HTTP/1.1 200") {
        tries += 1;
        assert!(tries < 100, "the page is gone");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(votes::read(&folder.path().join("votes.jsonl")).unwrap().0.len(), 0);
    let own = format!("{vote}Host: {address}\r\nOrigin: http://{address}\r\n\r\n");
    assert!(exchange(address, own.as_bytes()).starts_with(b"HTTP/1.1 200"));
}

/// The page, or whatever a full house says.
fn exchange_quietly(address: SocketAddr) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

#[test]
fn a_picture_that_is_gone_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let address = survey(folder.path());
    let voter = voter(address);
    let pair = json(address, "GET", &format!("/next?voter={voter}"))["pair"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(folder.path().join("reds")).unwrap();
    let statuses = [1, 2].map(|side| ask(address, "GET", &format!("/picture?voter={voter}&pair={pair}&side={side}")).0);
    assert!(statuses == [200, 503] || statuses == [503, 200], "{statuses:?}");
    // The page goes on without it; it stays open, for it may come back.
    let next = json(address, "GET", &format!("/next?voter={voter}&without=0123456789abcdef,{pair}"));
    assert_eq!((next["done"].as_u64(), next["total"].as_u64()), (Some(0), Some(4)));
    let other = next["pair"].as_str().unwrap().to_owned();
    assert_ne!(other, pair);
    let next = json(address, "POST", &format!("/vote?voter={voter}&without={pair}&pair={other}&side=1"));
    assert!(next["pair"].as_str().is_some_and(|token| token != pair && token != other), "{next}");
    assert_eq!(json(address, "GET", &format!("/next?voter={voter}"))["pair"].as_str(), Some(pair.as_str()));
}

#[test]
fn a_taken_port_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let address = survey(folder.path());
    let names = ["a".to_owned(), "b".to_owned()];
    let (votes, _) = VoteLog::open(&folder.path().join("other.jsonl"), &names).unwrap();
    let plan = Plan { names, pairs: Vec::new(), question: String::new(), seconds: 0.0, seed: 0 };
    let error = start(plan, votes, address.port()).unwrap_err().to_string();
    assert!(error.contains("--port"), "{error}");
}
