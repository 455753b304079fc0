//! The survey's server: on this machine only, a thread for each connection, a limit on how many, and a deadline for everything.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Plan;
use super::answers::Survey;
use super::http::{Answer, Status, close, read_request, respond};
use super::votes::VoteLog;

/// How many connections are served at once.
const CONNECTIONS_MAX: usize = 32;
/// A request's head has to be there by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// An answer has to be taken by then.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// A page that is being served, until the program ends.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
}

impl Running {
    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens at 127.0.0.1 and serves from threads of its own. Port 0 takes a free one.
///
/// # Errors
/// If the port is taken.
pub fn start(plan: Plan, votes: VoteLog, port: u16) -> anyhow::Result<Running> {
    let listening = || format!("listen at 127.0.0.1:{port} (choose another port with --port, or 0 for any free one)");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(listening)?;
    let address = listener.local_addr().with_context(listening)?;
    let survey = Arc::new(Survey::new(plan, votes, address.port()));
    Builder::new().name("survey".into()).spawn(move || accept(&survey, &listener)).context("start the thread that accepts visitors")?;
    Ok(Running { address })
}

fn accept(survey: &Arc<Survey>, listener: &TcpListener) {
    let visitors = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Out of file descriptors, or gone before its turn: neither gets better by hurrying.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let seat = Seat::take(&visitors);
        if seat.is_none() {
            let _ = respond(&stream, &Answer::text(Status::Unavailable, "too many visitors"), Instant::now() + Duration::from_millis(50));
            continue;
        }
        let survey = Arc::clone(survey);
        // No thread to be had: the visitor sees a closed connection, and comes again.
        let _ = Builder::new().name("visitor".into()).spawn(move || {
            let _seat = seat;
            // Whatever goes wrong here is between this visitor and the network.
            let _ = serve(&survey, &stream);
            close(&stream);
        });
    }
}

/// A visitor's place, free again when it is dropped.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(visitors: &Arc<AtomicUsize>) -> Option<Self> {
        let taken = visitors.fetch_add(1, Ordering::Relaxed);
        let seat = Self(Arc::clone(visitors));
        (taken < CONNECTIONS_MAX).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(survey: &Survey, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(request) = read_request(stream, Instant::now() + HEAD_DEADLINE)? else { return Ok(()) };
    let answer = match request {
        Ok(request) => survey.answer(&request),
        Err(status) => Answer::text(status, "this is not a request that is answered here"),
    };
    respond(stream, &answer, Instant::now() + WRITE_DEADLINE)
}

#[cfg(test)]
mod tests;
