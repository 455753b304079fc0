//! The page's server: a thread for each connection, a limit on how many, and a deadline for everything.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::View;
use super::answers::answer;
use super::guard::{Access, Guard};
use super::http::{Answer, Method, Request, SHARED_HEADERS, Status, close, read_request, respond, write_by};
use crate::errors::{Exit, Failure, OrFail, Result, warn};
use crate::kiosk::{self, Pulse};
use crate::newest::{Awaited, Newest};
use crate::remote::Remote;

/// How many connections are served at once.
const CONNECTIONS_MAX: usize = 32;
/// How many of them may be streams, so that a full house can still be asked how it does.
const STREAMS_MAX: usize = 24;
/// How long everybody may be silent, however many wait to come in: so that a flood of half requests does not push whole ones out.
const SILENCE: Duration = Duration::from_millis(200);
/// A request's head has to be there by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// An answer, or one picture of a stream, has to be taken by then.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a stream waits for a picture before it looks whether its viewer is still there.
const STREAM_PATIENCE: Duration = Duration::from_secs(1);
/// How long the thread that accepts waits before it shows that it is alive.
const ACCEPT_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// Listens, and serves from a thread named `page`. Returns the address, with the port that was given.
///
/// # Errors
/// [`Exit::Unavailable`], and [`Exit::Config`] for a token that cannot be used.
pub(super) fn start(address: &str, access: &Access, views: Arc<Newest<View>>, remote: Remote) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).or_fail(Exit::Unavailable, || match address.rsplit_once(':') {
        Some((host, _)) => format!("listen at {address} (choose another address, such as {host}:8090, or {host}:0 for any free port)"),
        None => format!("listen at {address} (an address has a port, as in 127.0.0.1:8080)"),
    })?;
    let local = listener.local_addr().or_fail(Exit::Unavailable, || format!("listen at {address}"))?;
    listener.set_nonblocking(true).or_fail(Exit::Unavailable, || format!("listen at {address}"))?;
    let guard = Guard::new(access, local)?;
    if guard.is_locked() {
        warn(&format!(
            "the page at {address} is seen beyond this device and has no token: anybody may look, nobody can change settings there"
        ));
    }
    let pulse = remote.status.pulses.begin("page");
    let house = Arc::new(House { visits: Mutex::default(), views, remote, guard, since: Instant::now() });
    let started = Builder::new().name("page".into()).spawn(move || accept(&house, &listener, &pulse));
    started.map(|_| local).map_err(|error| Failure::new(Exit::Other, format!("start thread page: {error}")))
}

/// Takes visitors in for as long as the program runs.
fn accept(house: &Arc<House>, listener: &TcpListener, pulse: &Pulse) {
    let mut number = 0;
    loop {
        pulse.beat();
        kiosk::inject("page", house.since.elapsed().as_secs());
        // Interrupted, or nobody came: the next round tells.
        let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&ACCEPT_PATIENCE));
        match listener.accept() {
            Ok((stream, from)) => welcome(house, number, stream, from.ip()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of file descriptors, or a viewer gone before its turn: neither gets better by hurrying.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
        number += 1;
    }
}

/// What all connections share.
pub(super) struct House {
    visits: Mutex<Vec<Visit>>,
    pub(super) views: Arc<Newest<View>>,
    pub(super) remote: Remote,
    pub(super) guard: Guard,
    pub(super) since: Instant,
}

struct Visit {
    number: u64,
    stream: Arc<TcpStream>,
    stage: Stage,
    since: Instant,
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

    /// Takes a visitor in; a full house shows the one out that has been silent for longest, and waits a moment for that. Whether there is
    /// room.
    fn enter(&self, number: u64, stream: &Arc<TcpStream>) -> bool {
        loop {
            let mut visits = self.visits();
            if visits.len() < CONNECTIONS_MAX {
                visits.push(Visit { number, stream: Arc::clone(stream), stage: Stage::Silent, since: Instant::now() });
                return true;
            }
            let Some(silent) = visits.iter().position(|visit| visit.stage == Stage::Silent) else { return false };
            let patience = SILENCE.saturating_sub(visits[silent].since.elapsed());
            if patience.is_zero() {
                // Its thread sees the end of its stream and leaves.
                let _ = visits.remove(silent).stream.shutdown(Shutdown::Both);
            } else {
                drop(visits);
                std::thread::sleep(patience);
            }
        }
    }

    /// How many streams are watched.
    pub(super) fn viewers(&self) -> usize {
        self.visits().iter().filter(|visit| visit.stage == Stage::Streaming).count()
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

fn welcome(house: &Arc<House>, number: u64, stream: TcpStream, from: IpAddr) {
    let stream = Arc::new(stream);
    if !house.enter(number, &stream) {
        // A moment and no more: this is the thread that accepts.
        let deadline = Instant::now() + Duration::from_millis(50);
        let _ = respond(&stream, &Answer::text(Status::Unavailable, "too many viewers"), false, deadline);
        return;
    }
    let thread = Builder::new().name("viewer".into()).spawn({
        let house = Arc::clone(house);
        move || {
            // Whatever goes wrong here is between this viewer and its network.
            let _ = serve(&house, number, &stream, from);
            // Who has the answer and lingers makes room for others.
            house.advance(number, Stage::Silent);
            close(&stream);
            house.leave(number);
        }
    });
    if thread.is_err() {
        house.leave(number);
    }
}

fn serve(house: &House, number: u64, stream: &TcpStream, from: IpAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(request) = read_request(stream, Instant::now() + HEAD_DEADLINE)? else { return Ok(()) };
    house.advance(number, Stage::Served);
    let admitted = request.as_ref().map_or(Ok(()), |request| house.guard.admit(request));
    let answer = match (&request, admitted) {
        (Err(status), _) => Answer::text(*status, "this is not a request that is answered here"),
        (Ok(_), Err(refused)) => refused,
        (Ok(Request { method: Method::Get, path, .. }), Ok(())) if path == "/stream.mjpg" || path == "/stream-grey.mjpg" => {
            if house.advance(number, Stage::Streaming) {
                let picture = if path == "/stream.mjpg" { View::color_jpeg } else { View::grey_jpeg };
                return stream_pictures(&house.views, stream, picture);
            }
            Answer::text(Status::Unavailable, "too many streams")
        }
        (Ok(request), Ok(())) => answer(house, request, from),
    };
    let only_head = matches!(request, Ok(Request { method: Method::Head, .. }));
    respond(stream, &answer, only_head, Instant::now() + WRITE_DEADLINE)
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
