//! Who may look, and who may change something.
//!
//! Anybody may look who calls this device by a name that is its own: a page of somewhere else, whose name was made to point here, may not
//! (DNS rebinding). On the loopback address anybody may change settings; beyond it only who knows the token, and nobody if there is none.
//! A request that changes something has to come from this page, or from no page at all.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::http::{Answer, Request, Status};
use crate::errors::{Exit, Failure, OrFail, Result};

/// The lengths of a token, in characters.
const TOKEN_MIN: usize = 8;
const TOKEN_MAX: usize = 256;
/// How many wrong tokens in a row are answered before a pause, and how long that is.
const WRONG_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_secs(30);
/// How many addresses are remembered with their wrong tokens.
const STRANGERS_MAX: usize = 256;
/// How long a browser stays signed in, unless the program ends before.
const SIGNED_IN_SECONDS: u32 = 12 * 3600;

/// What the page's owner says about who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A file with the token that changing settings takes. Empty means none: a service manager hands such a file on where nobody made one.
    pub token_file: Option<PathBuf>,
    /// Names of this device, besides its addresses and its host name.
    pub hosts: Vec<String>,
}

/// How somebody stands who looks at the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// May change settings; a token is not asked for.
    Open,
    /// May change settings.
    SignedIn,
    /// May do so with the token.
    NeedsToken,
    /// May not: there is no token.
    Locked,
}

pub(super) struct Guard {
    token: Option<String>,
    loopback: bool,
    hosts: Vec<String>,
    /// The cookie of those who are signed in: its name, and its value in this run.
    cookie: (String, String),
    strangers: Mutex<Strangers>,
}

impl Guard {
    /// For a page that listens at `local`.
    ///
    /// # Errors
    /// [`Exit::Config`] for a token file that cannot be used.
    pub(super) fn new(access: &Access, local: SocketAddr) -> Result<Self> {
        let token = access.token_file.as_deref().map(read_token).transpose()?.flatten();
        let hosts = access.hosts.iter().map(|name| host_name(name).trim_end_matches('.').to_ascii_lowercase()).collect();
        let cookie = (format!("autochrome-{}", local.port()), random_word()?);
        Ok(Self { token, loopback: local.ip().is_loopback(), hosts, cookie, strangers: Mutex::default() })
    }

    /// Whether nobody can change anything by the page.
    pub(super) fn is_locked(&self) -> bool {
        self.token.is_none() && !self.loopback
    }

    /// Refuses those who mean another device, or were made to believe that they do.
    pub(super) fn admit(&self, request: &Request) -> std::result::Result<(), Answer> {
        let Some(host) = &request.host else { return Ok(()) };
        let name = host_name(host).to_ascii_lowercase();
        if is_address(&name) || name == "localhost" || self.hosts.contains(&name) || own_names().contains(&name) {
            return Ok(());
        }
        let words =
            format!("this device is not known as {name:?}; use its IP address, or start autochrome with --host {}", printable(&name));
        Err(Answer::text(Status::Misdirected, words))
    }

    /// How somebody stands.
    pub(super) fn standing(&self, request: &Request) -> Standing {
        match &self.token {
            None if self.loopback => Standing::Open,
            None => Standing::Locked,
            Some(_) if self.has_cookie(request) => Standing::SignedIn,
            Some(_) => Standing::NeedsToken,
        }
    }

    /// Refuses those who may not change anything.
    pub(super) fn allow_change(&self, request: &Request, from: IpAddr, now: Instant) -> std::result::Result<(), Answer> {
        self.own_page(request)?;
        match (self.standing(request), &request.bearer) {
            (Standing::Open | Standing::SignedIn, _) => Ok(()),
            (Standing::NeedsToken, Some(_)) => self.check_token(request, from, now),
            (Standing::NeedsToken, None) => {
                Err(unauthorized("changing settings takes the token: sign in on the page, or send it as Authorization: Bearer"))
            }
            (Standing::Locked, _) => Err(Answer::text(Status::Forbidden, LOCKED)),
        }
    }

    /// Signs somebody in who sends the token.
    pub(super) fn sign_in(&self, request: &Request, from: IpAddr, now: Instant) -> Answer {
        let allowed = self.own_page(request).and_then(|()| match self.standing(request) {
            Standing::Locked => Err(Answer::text(Status::Forbidden, LOCKED)),
            Standing::Open => Ok(()),
            Standing::SignedIn | Standing::NeedsToken => self.check_token(request, from, now),
        });
        match allowed {
            Ok(()) => Answer::text(Status::Ok, "ok").with("Set-Cookie", &self.set_cookie(&self.cookie.1, SIGNED_IN_SECONDS)),
            Err(refused) => refused,
        }
    }

    /// Signs a browser out.
    pub(super) fn sign_out(&self, request: &Request) -> Answer {
        match self.own_page(request) {
            Ok(()) => Answer::text(Status::Ok, "ok").with("Set-Cookie", &self.set_cookie("", 0)),
            Err(refused) => refused,
        }
    }

    fn set_cookie(&self, value: &str, seconds: u32) -> String {
        format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict", self.cookie.0)
    }

    fn has_cookie(&self, request: &Request) -> bool {
        let (name, value) = &self.cookie;
        let mut cookies = request.cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(given, word)| given == name && is_same(word, value))
    }

    fn check_token(&self, request: &Request, from: IpAddr, now: Instant) -> std::result::Result<(), Answer> {
        let (Some(token), Some(given)) = (&self.token, &request.bearer) else {
            return Err(unauthorized("send the token as Authorization: Bearer"));
        };
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = strangers.pause(from, now) {
            let words = format!("too many wrong tokens; wait {} s", wait.as_secs() + 1);
            return Err(Answer::text(Status::TooManyRequests, words).with("Retry-After", &(wait.as_secs() + 1).to_string()));
        }
        if is_same(given, token) {
            strangers.forget(from);
            return Ok(());
        }
        strangers.note(from, now);
        Err(unauthorized("this is not the token"))
    }

    /// Refuses what a page of somewhere else makes a browser send.
    fn own_page(&self, request: &Request) -> std::result::Result<(), Answer> {
        let Some(origin) = &request.origin else { return Ok(()) };
        let from = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if from.is_some() && from.map(str::to_ascii_lowercase) == request.host.as_deref().map(str::to_ascii_lowercase) {
            return Ok(());
        }
        Err(Answer::text(Status::Forbidden, "this was sent by a page of somewhere else"))
    }
}

const LOCKED: &str = "settings cannot be changed from here: the page listens beyond this device and has no token; \
    write one into a file and start autochrome with --token-file FILE";

fn unauthorized(words: &str) -> Answer {
    Answer::text(Status::Unauthorized, words).with("WWW-Authenticate", "Bearer realm=\"autochrome\"")
}

/// Reads a token: one word of printable characters. An empty file is none.
fn read_token(path: &Path) -> Result<Option<String>> {
    let mut text = String::new();
    let attempt = || format!("read the token in {}", path.display());
    let read = File::open(path).and_then(|file| file.take(4 * TOKEN_MAX as u64).read_to_string(&mut text));
    read.or_fail(Exit::Config, attempt)?;
    let token = text.trim();
    match token.len() {
        0 => Ok(None),
        TOKEN_MIN..=TOKEN_MAX if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(token.to_owned())),
        _ => {
            let why = format!("{}: it has to be one word of {TOKEN_MIN} to {TOKEN_MAX} printable ASCII characters", attempt());
            Err(Failure::new(Exit::Config, why))
        }
    }
}

/// 32 hexadecimal digits that nobody can guess.
fn random_word() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).or_fail(Exit::Other, || "read /dev/urandom".into())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares in a time that tells nothing about where the two differ.
fn is_same(given: &str, secret: &str) -> bool {
    let (given, secret) = (given.as_bytes(), secret.as_bytes());
    let differ = given.iter().zip(secret).fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    differ == 0 && given.len() == secret.len()
}

/// A `Host` without its port and without the dot at the end.
fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if (name.ends_with(']') || !name.contains(':')) && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

fn is_address(name: &str) -> bool {
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    inside.map_or_else(|| name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()), |inside| inside.parse::<Ipv6Addr>().is_ok())
}

/// The machine's host name, and what it is called by multicast DNS.
fn own_names() -> Vec<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    match name.split('.').next() {
        Some(first) if !first.is_empty() => vec![format!("{first}.local"), first.to_owned(), name],
        _ => Vec::new(),
    }
}

/// A name as it may stand in a line for a person.
fn printable(name: &str) -> String {
    name.chars().filter(|character| character.is_ascii_alphanumeric() || ".-_".contains(*character)).take(64).collect()
}

/// Those who sent wrong tokens lately.
#[derive(Default)]
struct Strangers(VecDeque<(IpAddr, u32, Instant)>);

impl Strangers {
    /// How long somebody has to wait before the next try.
    fn pause(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let from = network(from);
        let &(_, wrong, at) = self.0.iter().find(|stranger| stranger.0 == from)?;
        (wrong >= WRONG_MAX).then(|| (at + PAUSE).saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    fn note(&mut self, from: IpAddr, now: Instant) {
        let from = network(from);
        let wrong = match self.0.iter().position(|stranger| stranger.0 == from) {
            // After the pause there is one try at a time.
            Some(at) => self.0.remove(at).map_or(0, |(_, wrong, _)| wrong.min(WRONG_MAX)),
            None => 0,
        };
        self.0.truncate(STRANGERS_MAX - 1);
        self.0.push_front((from, wrong + 1, now));
    }

    fn forget(&mut self, from: IpAddr) {
        let from = network(from);
        self.0.retain(|stranger| stranger.0 != from);
    }
}

/// Where somebody comes from: one who has an IPv6 network has more addresses than can be counted.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page::http::Method;

    const SECRET: &str = "correct-horse";

    fn request(host: &str) -> Request {
        let (path, query, cookies) = ("/set".into(), String::new(), String::new());
        Request { method: Method::Post, path, query, host: Some(host.into()), origin: None, bearer: None, cookies }
    }

    fn with_bearer(token: &str) -> Request {
        Request { bearer: Some(token.into()), ..request("10.0.0.2") }
    }

    fn guard(local: &str, token: Option<&str>) -> Result<Guard> {
        let folder = tempfile::tempdir().unwrap();
        let token_file = token.map(|token| {
            let path = folder.path().join("token");
            std::fs::write(&path, token).unwrap();
            path
        });
        let access = Access { token_file, hosts: vec!["Kiosk.Museum.example.".into()] };
        Guard::new(&access, local.parse().unwrap())
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn only_the_devices_own_names_are_answered() {
        let guard = guard("0.0.0.0:8080", None).unwrap();
        let own = own_names();
        let own = own.iter().map(String::as_str);
        let allowed = ["127.0.0.1", "192.168.1.7:8080", "[::1]:8080", "[fe80::1]", "localhost", "LOCALHOST:80", "localhost.:80"];
        for host in allowed.into_iter().chain(["kiosk.museum.example", "KIOSK.museum.example.:8080"]).chain(own) {
            assert!(guard.admit(&request(host)).is_ok(), "{host}");
        }
        let refused = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.local", "kiosk.museum.example.evil", ""];
        for host in refused.into_iter().chain(["::1", "[localhost]", "[127.0.0.1]", "127.0.0.1:80:80", "a\"b<script>"]) {
            let answer = guard.admit(&request(host)).unwrap_err();
            assert_eq!(answer.status, Status::Misdirected, "{host}");
        }
        assert!(guard.admit(&Request { host: None, ..request("") }).is_ok(), "HTTP/1.0 has no Host");
    }

    #[test]
    fn changes_take_what_the_address_and_the_token_say() {
        let now = Instant::now();
        let cases = [
            ("127.0.0.1:8080", None, None, None),
            ("[::1]:8080", None, None, None),
            ("0.0.0.0:8080", None, None, Some(Status::Forbidden)),
            ("0.0.0.0:8080", Some(""), None, Some(Status::Forbidden)),
            ("192.168.1.7:80", None, Some(SECRET), Some(Status::Forbidden)),
            ("0.0.0.0:8080", Some(SECRET), None, Some(Status::Unauthorized)),
            ("0.0.0.0:8080", Some(SECRET), Some("correct-hors"), Some(Status::Unauthorized)),
            ("0.0.0.0:8080", Some(SECRET), Some("correct-horse-"), Some(Status::Unauthorized)),
            ("0.0.0.0:8080", Some(" correct-horse\n"), Some(SECRET), None),
            ("127.0.0.1:8080", Some(SECRET), None, Some(Status::Unauthorized)),
            ("127.0.0.1:8080", Some(SECRET), Some(SECRET), None),
        ];
        for (local, token, bearer, refused) in cases {
            let request = Request { bearer: bearer.map(str::to_owned), ..request("10.0.0.2") };
            let answer = guard(local, token).unwrap().allow_change(&request, from("10.0.0.1"), now);
            assert_eq!(answer.err().map(|answer| answer.status), refused, "{local} {token:?} {bearer:?}");
        }
        let bad = ["short", "two words", &"long".repeat(100), "t\u{f6}k\u{e4}n-token"];
        for token in bad {
            assert_eq!(guard("127.0.0.1:1", Some(token)).err().map(|failure| failure.exit), Some(Exit::Config), "{token}");
        }
        let access = Access { token_file: Some("/no/such/file".into()), hosts: Vec::new() };
        assert!(Guard::new(&access, "127.0.0.1:1".parse().unwrap()).is_err());
    }

    #[test]
    fn a_browser_that_signed_in_stays_so_in_this_run() {
        let now = Instant::now();
        let guard = guard("0.0.0.0:8080", Some(SECRET)).unwrap();
        let answer = guard.sign_in(&with_bearer(SECRET), from("10.0.0.1"), now);
        let cookie = answer.headers.strip_prefix("Set-Cookie: ").and_then(|line| line.split(';').next()).unwrap().to_owned();
        assert!(answer.headers.contains("HttpOnly; SameSite=Strict") && !answer.headers.contains(SECRET), "{}", answer.headers);
        let signed_in = Request { cookies: format!("other=1; {cookie};"), ..request("10.0.0.2") };
        assert_eq!(guard.standing(&signed_in), Standing::SignedIn);
        assert!(guard.allow_change(&signed_in, from("10.0.0.1"), now).is_ok());
        assert_eq!(guard.standing(&Request { cookies: "autochrome-8080=;".into(), ..request("10.0.0.2") }), Standing::NeedsToken);
        let other = self::guard("0.0.0.0:8080", Some(SECRET)).unwrap();
        assert_eq!(other.standing(&signed_in), Standing::NeedsToken, "another run has another cookie");
        assert!(guard.sign_out(&signed_in).headers.contains("Max-Age=0"));
    }

    #[test]
    fn a_page_of_somewhere_else_changes_nothing() {
        let guard = guard("127.0.0.1:8080", None).unwrap();
        let cases = [
            (None, true),
            (Some("http://127.0.0.1:8080"), true),
            (Some("HTTPS://127.0.0.1:8080"), false),
            (Some("https://127.0.0.1:8080"), true),
            (Some("http://127.0.0.1:8081"), false),
            (Some("http://127.0.0.1"), false),
            (Some("http://evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ];
        for (origin, allowed) in cases {
            let request = Request { origin: origin.map(str::to_owned), ..request("127.0.0.1:8080") };
            assert_eq!(guard.allow_change(&request, from("127.0.0.1"), Instant::now()).is_ok(), allowed, "{origin:?}");
        }
    }

    #[test]
    fn guessing_is_slow_for_the_one_who_guesses() {
        let guard = guard("0.0.0.0:8080", Some(SECRET)).unwrap();
        let start = Instant::now();
        let wrong = with_bearer("wrong-horse");
        let status = |from, request: &Request, now| guard.allow_change(request, from, now).err().map(|answer| answer.status);
        let (guesser, neighbor, owner) = (from("2001:db8::1"), from("2001:db8::2"), from("10.0.0.1"));
        for _ in 0..WRONG_MAX {
            assert_eq!(status(guesser, &wrong, start), Some(Status::Unauthorized));
        }
        assert_eq!(status(neighbor, &with_bearer(SECRET), start), Some(Status::TooManyRequests), "even with the right one");
        assert_eq!(status(owner, &with_bearer(SECRET), start), None);
        let later = start + PAUSE;
        assert_eq!(status(guesser, &wrong, later), Some(Status::Unauthorized));
        assert_eq!(status(guesser, &wrong, later), Some(Status::TooManyRequests), "one try at a time");
        assert_eq!(status(guesser, &with_bearer(SECRET), later + PAUSE), None);
        assert_eq!(status(guesser, &wrong, later + PAUSE), Some(Status::Unauthorized), "and forgiven");
        for number in 0..1000_u32 {
            guard.strangers.lock().unwrap().note(IpAddr::V4(number.into()), start);
        }
        assert_eq!(guard.strangers.lock().unwrap().0.len(), STRANGERS_MAX);
    }
}
