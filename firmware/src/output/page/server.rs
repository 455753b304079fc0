//! The page's server: a thread for each connection, a limit on how many, and a deadline for everything.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::View;
use super::http::{Method, Request, SHARED_HEADERS, Status, close, read_request, respond, write_by};
use crate::errors::{Exit, Failure, OrFail, Result};
use crate::newest::{Awaited, Newest};
use crate::remote::Remote;
use crate::statistics::Snapshot;

/// How many connections are served at once.
const CONNECTIONS_MAX: usize = 32;
/// How many of them may be streams, so that a full house can still be asked how it does.
const STREAMS_MAX: usize = 24;
/// A request's head has to be there by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// An answer, or one picture of a stream, has to be taken by then.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a stream waits for a picture before it looks whether its viewer is still there.
const STREAM_PATIENCE: Duration = Duration::from_secs(1);
/// A picture older than this is not a live one.
const FRESH: Duration = Duration::from_secs(2);

const PAGE: &str = include_str!("page.html");
const PLAIN: &str = "text/plain; charset=utf-8";

/// Listens, and serves from a thread named `page`. Returns the address, with the port that was given.
///
/// # Errors
/// [`Exit::Unavailable`].
pub(super) fn start(address: &str, views: Arc<Newest<View>>, remote: Remote) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).or_fail(Exit::Unavailable, || match address.rsplit_once(':') {
        Some((host, _)) => format!("listen at {address} (choose another address, such as {host}:8090, or {host}:0 for any free port)"),
        None => format!("listen at {address} (an address has a port, as in 127.0.0.1:8080)"),
    })?;
    let local = listener.local_addr().or_fail(Exit::Unavailable, || format!("listen at {address}"))?;
    let house = Arc::new(House { visits: Mutex::default(), views, remote });
    let started = Builder::new().name("page".into()).spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            match stream {
                Ok(stream) => welcome(&house, number, stream),
                // Out of file descriptors, or a viewer gone before its turn: neither gets better by hurrying.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    started.map(|_| local).map_err(|error| Failure::new(Exit::Other, format!("start thread page: {error}")))
}

/// What all connections share.
struct House {
    visits: Mutex<Vec<Visit>>,
    views: Arc<Newest<View>>,
    remote: Remote,
}

struct Visit {
    number: u64,
    stream: Arc<TcpStream>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Has not said what it wants.
    Silent,
    Served,
    Streaming,
}

impl House {
    fn visits(&self) -> MutexGuard<'_, Vec<Visit>> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a visitor in; a full house shows the one out that has been silent for longest. Whether there is room.
    fn enter(&self, number: u64, stream: &Arc<TcpStream>) -> bool {
        let mut visits = self.visits();
        if visits.len() >= CONNECTIONS_MAX {
            let Some(silent) = visits.iter().position(|visit| visit.stage == Stage::Silent) else { return false };
            // Its thread sees the end of its stream and leaves.
            let _ = visits.remove(silent).stream.shutdown(Shutdown::Both);
        }
        visits.push(Visit { number, stream: Arc::clone(stream), stage: Stage::Silent });
        true
    }

    fn leave(&self, number: u64) {
        self.visits().retain(|visit| visit.number != number);
    }

    /// Notes how far a visitor has come. Refuses one stream too many.
    fn advance(&self, number: u64, stage: Stage) -> bool {
        let mut visits = self.visits();
        if stage == Stage::Streaming && visits.iter().filter(|visit| visit.stage == stage).count() >= STREAMS_MAX {
            return false;
        }
        visits.iter_mut().filter(|visit| visit.number == number).for_each(|visit| visit.stage = stage);
        true
    }
}

fn welcome(house: &Arc<House>, number: u64, stream: TcpStream) {
    let stream = Arc::new(stream);
    if !house.enter(number, &stream) {
        // A moment and no more: this is the thread that accepts.
        let deadline = Instant::now() + Duration::from_millis(50);
        let _ = respond(&stream, Status::Unavailable, PLAIN, b"too many viewers\n", false, deadline);
        return;
    }
    let thread = Builder::new().name("viewer".into()).spawn({
        let house = Arc::clone(house);
        move || {
            // Whatever goes wrong here is between this viewer and its network.
            let _ = serve(&house, number, &stream);
            close(&stream);
            house.leave(number);
        }
    });
    if thread.is_err() {
        house.leave(number);
    }
}

fn serve(house: &House, number: u64, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(request) = read_request(stream, Instant::now() + HEAD_DEADLINE)? else { return Ok(()) };
    house.advance(number, Stage::Served);
    let answer = match request {
        Ok(Request { method: Method::Get, ref path, .. }) if path == "/stream.mjpg" || path == "/stream-grey.mjpg" => {
            if house.advance(number, Stage::Streaming) {
                let picture = if path == "/stream.mjpg" { View::color_jpeg } else { View::grey_jpeg };
                return stream_pictures(&house.views, stream, picture);
            }
            Answer::text(Status::Unavailable, "too many streams\n")
        }
        Ok(ref request) => answer(house, request),
        Err(status) => Answer::text(status, "this is not a request that is answered here\n"),
    };
    let only_head = matches!(request, Ok(Request { method: Method::Head, .. }));
    respond(stream, answer.status, answer.content_type, &answer.body, only_head, Instant::now() + WRITE_DEADLINE)
}

struct Answer {
    status: Status,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn text(status: Status, text: impl Into<String>) -> Self {
        Self { status, content_type: PLAIN, body: text.into().into_bytes() }
    }

    fn json(value: &impl Serialize) -> Self {
        // Numbers, strings and fixed names can always be written.
        Self { status: Status::Ok, content_type: "application/json", body: serde_json::to_vec(value).unwrap_or_default() }
    }
}

/// What `/state` says.
#[derive(Serialize)]
struct State<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    /// How long the picture has been the newest.
    age_ms: u64,
}

fn answer(house: &House, request: &Request) -> Answer {
    let newest = house.views.get();
    match (request.method, request.path.as_str()) {
        (Method::Get | Method::Head, "/") => Answer { status: Status::Ok, content_type: "text/html; charset=utf-8", body: PAGE.into() },
        (Method::Get | Method::Head, "/state") => match newest {
            Some(view) => {
                let age_ms = view.shown_at.elapsed().as_millis() as u64;
                Answer::json(&State { snapshot: &view.snapshot, age_ms })
            }
            None => Answer::json(&json!({ "frames": 0 })),
        },
        (Method::Get | Method::Head, "/snapshot.jpg") => match newest {
            Some(view) => Answer { status: Status::Ok, content_type: "image/jpeg", body: view.color_jpeg().to_vec() },
            None => Answer::text(Status::Unavailable, "there is no picture yet\n"),
        },
        (Method::Get | Method::Head, "/healthz") => match newest {
            Some(view) if view.shown_at.elapsed() < FRESH => Answer::text(Status::Ok, "ok\n"),
            Some(_) => Answer::text(Status::Unavailable, "the picture stands still\n"),
            None => Answer::text(Status::Unavailable, "there is no picture yet\n"),
        },
        (Method::Post, "/set") => set(house, &request.query),
        // A stream has a head of its own, and no end whose length could be told.
        (_, "/" | "/state" | "/snapshot.jpg" | "/healthz" | "/set" | "/stream.mjpg" | "/stream-grey.mjpg") => {
            Answer::text(Status::MethodNotAllowed, "not this way\n")
        }
        _ => Answer::text(Status::NotFound, "there is no such page\n"),
    }
}

/// Hands on settings such as `saturation=1.2&temperature=0.5`: all of them, or none if one is wrong.
fn set(house: &House, query: &str) -> Answer {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let commands = match pairs.map(|(name, value)| house.remote.choices.command(name, value)).collect::<std::result::Result<Vec<_>, _>>() {
        Ok(commands) => commands,
        Err(why) => return Answer::text(Status::BadRequest, format!("{why}\n")),
    };
    for command in commands {
        if let Err(why) = house.remote.send(command) {
            return Answer::text(Status::Unavailable, format!("{why}\n"));
        }
    }
    Answer::text(Status::Ok, "ok\n")
}

/// Sends the newest picture again and again, as fast as the viewer takes it.
fn stream_pictures(views: &Newest<View>, stream: &TcpStream, picture: impl Fn(&View) -> &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n{SHARED_HEADERS}\r\n--frame\r\n");
    write_by(stream, head.as_bytes(), Instant::now() + WRITE_DEADLINE)?;
    let mut last = None;
    loop {
        let view = match views.wait_for_newer(last.as_ref(), STREAM_PATIENCE) {
            Awaited::Newer(view) => view,
            Awaited::NotYet if has_left(stream) => return Ok(()),
            Awaited::NotYet => continue,
            Awaited::Ended => return Ok(()),
        };
        let jpeg = picture(&view);
        let mut part = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len()).into_bytes();
        part.extend_from_slice(jpeg);
        // Browsers show a part when the boundary after it arrives, so it goes out at once and not with the next picture.
        part.extend_from_slice(b"\r\n--frame\r\n");
        write_by(stream, &part, Instant::now() + WRITE_DEADLINE)?;
        last = Some(view);
    }
}

fn has_left(stream: &TcpStream) -> bool {
    let looked = stream.set_read_timeout(Some(Duration::from_millis(1))).and_then(|()| stream.peek(&mut [0]));
    match looked {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted),
    }
}
