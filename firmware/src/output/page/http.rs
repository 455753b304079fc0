//! As much HTTP as the live page needs: reading a request's head and writing an answer, each against a deadline and a limit.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The longest request head that is read, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 8192;
/// The most header lines that are read.
const HEADERS_MAX: usize = 64;
/// How long, and for how many bytes, the other end may go on sending after its answer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
const CLOSE_BYTES_MAX: usize = 1 << 16;

/// The methods that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
}

/// A request, with those of its headers that something here depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// What stood after the question mark.
    pub(super) query: String,
    /// What the other end calls this device, perhaps with a port; absent in HTTP/1.0.
    pub(super) host: Option<String>,
    /// The page that a browser sends this request from.
    pub(super) origin: Option<String>,
    /// What stood after `Bearer` in `Authorization`.
    pub(super) bearer: Option<String>,
    /// All cookies, as they came.
    pub(super) cookies: String,
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    /// Header lines of this answer alone, each with its end.
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: Status, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, headers: String::new(), body: body.into() }
    }

    /// A line for a person.
    pub(super) fn text(status: Status, text: impl std::fmt::Display) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// With one more header line.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

/// The answers that are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Misdirected,
    TooManyRequests,
    HeadTooLong,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Misdirected => "421 Misdirected Request",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What the bytes of a head amount to so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// More must come.
    Partial,
    /// A request that can be answered.
    Request(Request),
    /// One that is refused.
    Refused(Status),
}

/// Reads a head, whole or not.
pub(super) fn parse_head(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Head::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Head::Refused(Status::HeadTooLong),
        Err(_) => return Head::Refused(Status::BadRequest),
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Head::Refused(Status::MethodNotAllowed),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut read = Request { method, path, query, host: None, origin: None, bearer: None, cookies: String::new() };
    for header in request.headers.iter() {
        let name = header.name;
        let Some(value) = std::str::from_utf8(header.value).ok().filter(|value| value.is_ascii()) else {
            // What decides whether a request is admitted has to be readable; what else is not ASCII is none of the values that are looked for.
            if name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case("origin") {
                return Head::Refused(Status::BadRequest);
            }
            continue;
        };
        let once = if name.eq_ignore_ascii_case("host") {
            &mut read.host
        } else if name.eq_ignore_ascii_case("origin") {
            &mut read.origin
        } else if name.eq_ignore_ascii_case("authorization") {
            if let Some((scheme, token)) = value.split_once(' ')
                && scheme.eq_ignore_ascii_case("bearer")
            {
                read.bearer = Some(token.trim().to_owned());
            }
            continue;
        } else {
            if name.eq_ignore_ascii_case("cookie") {
                read.cookies.push_str(value);
                read.cookies.push(';');
            }
            continue;
        };
        // Of two, one would be believed here and the other one somewhere on the way.
        if once.replace(value.trim().to_owned()).is_some() {
            return Head::Refused(Status::BadRequest);
        }
    }
    if read.host.is_none() && request.version == Some(1) {
        return Head::Refused(Status::BadRequest);
    }
    Head::Request(read)
}

/// Waits for a request. Nothing if the other end left, or said too little before the deadline.
pub(super) fn read_request(stream: &TcpStream, deadline: Instant) -> io::Result<Option<Result<Request, Status>>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = read_by(stream, &mut piece, deadline)?;
        if read == 0 {
            return Ok(None);
        }
        let room = HEAD_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&piece[..read.min(room)]);
        match parse_head(&bytes) {
            Head::Partial => {}
            Head::Request(request) => return Ok(Some(Ok(request))),
            Head::Refused(status) => return Ok(Some(Err(status))),
        }
    }
}

/// Writes a whole answer, after which the connection is closed.
pub(super) fn respond(stream: &TcpStream, answer: &Answer, only_head: bool, deadline: Instant) -> io::Result<()> {
    let Answer { status, content_type, headers, body } = answer;
    let (line, length) = (status.line(), body.len());
    let head = format!("HTTP/1.1 {line}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{headers}{SHARED_HEADERS}\r\n");
    let mut bytes = head.into_bytes();
    if !only_head {
        bytes.extend_from_slice(body);
    }
    write_by(stream, &bytes, deadline)
}

/// Headers of every answer. Nothing here may be kept, guessed at, or shown inside another page; everything comes from this device.
pub(super) const SHARED_HEADERS: &str = "Cache-Control: no-store\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'\r\n";

/// Writes all of `bytes` before the deadline, however slowly the other end reads.
pub(super) fn write_by(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends a connection so that the answer arrives: closing while the other end still sends would make the system take it back.
pub(super) fn close(stream: &TcpStream) {
    let deadline = Instant::now() + CLOSE_PATIENCE;
    let mut left = CLOSE_BYTES_MAX;
    let mut open = stream.shutdown(Shutdown::Write).is_ok();
    while open && left > 0 {
        let read = read_by(stream, &mut [0; 4096], deadline).unwrap_or(0);
        open = read > 0;
        left = left.saturating_sub(read);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads something before the deadline; 0 at the end of the stream.
fn read_by(mut stream: &TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_refused() {
        let nothing = || Request {
            method: Method::Get,
            path: "/".into(),
            query: String::new(),
            host: Some("a".into()),
            origin: None,
            bearer: None,
            cookies: String::new(),
        };
        let request =
            |method, path: &str, query: &str| Head::Request(Request { method, path: path.into(), query: query.into(), ..nothing() });
        let old = Head::Request(Request { method: Method::Head, path: "/state".into(), host: None, ..nothing() });
        let steering = Head::Request(Request {
            method: Method::Post,
            path: "/set".into(),
            host: Some("kiosk.local:8080".into()),
            origin: Some("http://kiosk.local:8080".into()),
            bearer: Some("a token".into()),
            cookies: "a=b; c=d;e=f;".into(),
            ..nothing()
        });
        let long = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let cases: [(&[u8], Head); 19] = [
            (b"", Head::Partial),
            (b"GET / HT", Head::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Head::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", request(Method::Get, "/", "")),
            (b"HEAD /state HTTP/1.0\r\n\r\n", old),
            (
                b"POST /set?saturation=1.2&temperature=1 HTTP/1.1\r\nhost: a\r\n\r\nbody",
                request(Method::Post, "/set", "saturation=1.2&temperature=1"),
            ),
            (b"GET /?a?b HTTP/1.1\r\nHOST:a\r\n\r\n", request(Method::Get, "/", "a?b")),
            (
                b"POST /set HTTP/1.1\r\nHost: kiosk.local:8080\r\nOrigin: http://kiosk.local:8080\r\nAuthorization: bearer a token\r\n\
                Cookie: a=b; c=d\r\nCookie: e=f\r\n\r\n",
                steering,
            ),
            (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nX: \xff\r\n\r\n", request(Method::Get, "/", "")),
            (b"GET / HTTP/1.1\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: a\r\nOrigin: b\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"DELETE / HTTP/1.1\r\n\r\n", Head::Refused(Status::MethodNotAllowed)),
            (b"GET / HTTP/9.9\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"\x16\x03\x01\x02\x00\x01", Head::Refused(Status::BadRequest)),
            (b"GET /\r\n\r\n", Head::Refused(Status::BadRequest)),
            (&long.as_bytes()[..HEAD_BYTES_MAX], Head::Refused(Status::HeadTooLong)),
            (many.as_bytes(), Head::Refused(Status::HeadTooLong)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_head(bytes), expected, "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
        }
    }
}
