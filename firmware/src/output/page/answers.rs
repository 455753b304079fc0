//! What each address of the page answers, apart from the streams.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::View;
use super::guard::Standing;
use super::http::{Answer, Method, Request, Status};
use super::metrics;
use super::server::House;
use crate::input::SILENCE_MAX;
use crate::settings::{Choices, Command};
use crate::statistics::Snapshot;
use crate::status::Heat;

/// Where neither a picture nor a placard came for so long, the outputs stand still: of a live feed one of the two comes before, and a film's pictures do.
const FRESH: Duration = SILENCE_MAX.saturating_add(Duration::from_secs(1));
const PAGE: &str = include_str!("page.html");

/// What `/state` says.
#[derive(Serialize)]
struct State<'a> {
    /// Absent as long as there was no picture and no placeholder.
    #[serde(flatten)]
    snapshot: Option<&'a Snapshot>,
    /// How long the picture has been the newest.
    age_ms: Option<u64>,
    /// Whether that is longer than any feed takes.
    stands_still: bool,
    heat: Option<Heat>,
    /// The preset that was chosen and not changed since.
    preset: Option<&'a str>,
    /// The model at work, by the name that it is chosen by.
    chosen_model: Option<&'a str>,
    presets: Vec<&'a str>,
    models: Vec<&'a str>,
    /// How many streams are watched.
    viewers: usize,
    /// Whether the one who asks may change settings.
    access: Standing,
}

/// Answers a request from `from`.
pub(super) fn answer(house: &House, request: &Request, from: IpAddr) -> Answer {
    let newest = house.views.get();
    let view = newest.as_deref();
    match (request.method, request.path.as_str()) {
        (Method::Get | Method::Head, "/") => Answer::new(Status::Ok, "text/html; charset=utf-8", PAGE),
        (Method::Get | Method::Head, "/state") => state(house, request, view),
        (Method::Get | Method::Head, "/snapshot.jpg") => match view {
            Some(view) => Answer::new(Status::Ok, "image/jpeg", view.color_jpeg()),
            None => Answer::text(Status::Unavailable, "there is no picture yet"),
        },
        (Method::Get | Method::Head, "/healthz") => match health(view) {
            Ok(()) => Answer::text(Status::Ok, "ok"),
            Err(why) => Answer::text(Status::Unavailable, why),
        },
        (Method::Get | Method::Head, "/metrics") => {
            let status = &house.remote.status;
            let moment = metrics::Moment {
                live: health(view).is_ok(),
                viewers: house.viewers(),
                uptime: house.since.elapsed(),
                heat: status.heat.get().as_deref().copied(),
                age: view.map(|view| view.shown_at.elapsed()),
            };
            Answer::new(Status::Ok, metrics::CONTENT_TYPE, metrics::text(status.snapshot.get().as_deref(), &moment))
        }
        (Method::Post, "/set") => match house.guard.allow_change(request, from, Instant::now()) {
            Ok(()) => set(house, &request.query),
            Err(refused) => refused,
        },
        (Method::Post, "/reset") => match house.guard.allow_change(request, from, Instant::now()) {
            Ok(()) => send(house, &[Command::Reset]),
            Err(refused) => refused,
        },
        (Method::Post, "/sign-in") => house.guard.sign_in(request, from, Instant::now()),
        (Method::Post, "/sign-out") => house.guard.sign_out(request),
        // A stream has a head of its own, and no end whose length could be told.
        (_, "/set" | "/reset" | "/sign-in" | "/sign-out") => not_this_way("POST"),
        (_, "/stream.mjpg" | "/stream-grey.mjpg") => not_this_way("GET"),
        (_, "/" | "/state" | "/snapshot.jpg" | "/healthz" | "/metrics") => not_this_way("GET, HEAD"),
        _ => Answer::text(Status::NotFound, "there is no such page"),
    }
}

fn not_this_way(allowed: &str) -> Answer {
    Answer::text(Status::MethodNotAllowed, "not this way").with("Allow", allowed)
}

/// Why the picture is not a live one.
fn health(view: Option<&View>) -> Result<(), &str> {
    match view {
        None => Err("there is no picture yet"),
        Some(View { snapshot: Snapshot { absent: Some(why), .. }, .. }) => Err(why),
        Some(view) if view.shown_at.elapsed() > FRESH => Err("the picture stands still"),
        Some(view) if view.snapshot.settings.freeze => Err("the picture is frozen, because somebody wanted to look at it"),
        Some(_) => Ok(()),
    }
}

fn state(house: &House, request: &Request, view: Option<&View>) -> Answer {
    let Choices { presets, models } = &*house.remote.choices;
    let settings = view.map(|view| view.snapshot.settings);
    let state = State {
        snapshot: view.map(|view| &view.snapshot),
        age_ms: view.map(|view| view.shown_at.elapsed().as_millis() as u64),
        stands_still: view.is_some_and(|view| view.shown_at.elapsed() > FRESH),
        heat: house.remote.status.heat.get().as_deref().copied(),
        preset: settings.and_then(|settings| presets.get(settings.preset?)).map(|preset| preset.name.as_str()),
        chosen_model: settings.and_then(|settings| models.get(settings.model)).map(|model| model.name.as_str()),
        presets: presets.iter().map(|preset| preset.name.as_str()).collect(),
        models: models.iter().map(|model| model.name.as_str()).collect(),
        viewers: house.viewers(),
        access: house.guard.standing(request),
    };
    // Numbers, strings and fixed names can always be written.
    Answer::new(Status::Ok, "application/json", serde_json::to_vec(&state).unwrap_or_default())
}

/// Hands on settings such as `saturation=1.2&temperature=0.5`: all of them, or none if one is wrong.
fn set(house: &House, query: &str) -> Answer {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let commands = match pairs.map(|(name, value)| house.remote.choices.command(name, value)).collect::<Result<Vec<_>, _>>() {
        Ok(commands) => commands,
        Err(why) => return Answer::text(Status::BadRequest, why),
    };
    send(house, &commands)
}

fn send(house: &House, commands: &[Command]) -> Answer {
    match house.remote.send_all(commands) {
        Ok(()) => Answer::text(Status::Ok, "ok"),
        Err(why) => Answer::text(Status::Unavailable, why),
    }
}
