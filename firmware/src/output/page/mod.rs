//! The live page: the picture in a browser, with a slider between before and after, and knobs that act at once.
//!
//! The outputs thread only puts the newest picture into a slot. A JPEG is made when the first viewer asks for that picture, in that
//! viewer's thread, and once for all of them; nobody watching means no work, and a slow viewer misses pictures and holds up nothing.

mod http;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use image::ExtendedColorType;

use super::pngs::{encode_jpeg, full_range_luma};
use crate::coloring::Colored;
use crate::errors::Result;
use crate::settings::Command;
use crate::statistics::Snapshot;

/// The quality of the stream's JPEGs.
const JPEG_QUALITY: u8 = 85;

/// A page that is being served.
pub struct Page {
    slot: Arc<Slot>,
    address: SocketAddr,
}

impl Page {
    /// Listens at `address` and serves the page on threads of its own. Settings that viewers change go to `commands`.
    ///
    /// # Errors
    /// [`Exit::Unavailable`](crate::errors::Exit::Unavailable) if the address is taken or unusable.
    pub fn listen(address: &str, commands: Sender<Command>) -> Result<Self> {
        let slot = Arc::new(Slot::default());
        let address = server::start(address, Arc::clone(&slot), commands)?;
        Ok(Self { slot, address })
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a picture the one to see.
    pub fn show(&self, colored: &Arc<Colored>, snapshot: &Snapshot) {
        let view = View {
            colored: Arc::clone(colored),
            snapshot: snapshot.clone(),
            shown_at: Instant::now(),
            color: OnceLock::new(),
            grey: OnceLock::new(),
        };
        self.slot.lock().view = Some(Arc::new(view));
        self.slot.changed.notify_all();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.slot.lock().ended = true;
        self.slot.changed.notify_all();
    }
}

/// The newest picture, and a bell for those who wait for it.
#[derive(Default)]
struct Slot {
    newest: Mutex<Newest>,
    changed: Condvar,
}

#[derive(Default)]
struct Newest {
    view: Option<Arc<View>>,
    ended: bool,
}

/// What a viewer who waited for a picture gets.
enum Awaited {
    View(Arc<View>),
    NotYet,
    Ended,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        // A viewer that panicked left the slot as it was: nothing in it is ever half written.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> Option<Arc<View>> {
        self.lock().view.clone()
    }

    /// Waits for a picture other than `last`.
    fn wait_for_newer(&self, last: Option<&Arc<View>>, patience: Duration) -> Awaited {
        let same = |newest: &mut Newest| match (&newest.view, last) {
            (Some(view), Some(last)) => Arc::ptr_eq(view, last),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |newest| !newest.ended && same(newest));
        let (mut newest, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if newest.ended {
            return Awaited::Ended;
        }
        if same(&mut newest) { Awaited::NotYet } else { newest.view.clone().map_or(Awaited::NotYet, Awaited::View) }
    }
}

/// A picture as viewers get it.
struct View {
    colored: Arc<Colored>,
    snapshot: Snapshot,
    shown_at: Instant,
    color: OnceLock<Vec<u8>>,
    grey: OnceLock<Vec<u8>>,
}

impl View {
    /// The picture in color.
    fn color_jpeg(&self) -> &[u8] {
        let Colored { picture, range, .. } = &*self.colored;
        self.color.get_or_init(|| self.encode(&picture.to_rgb(*range), ExtendedColorType::Rgb8))
    }

    /// The picture as it came in.
    fn grey_jpeg(&self) -> &[u8] {
        let Colored { picture, range, .. } = &*self.colored;
        self.grey.get_or_init(|| self.encode(&full_range_luma(picture, *range), ExtendedColorType::L8))
    }

    fn encode(&self, pixels: &[u8], color: ExtendedColorType) -> Vec<u8> {
        let luma = &self.colored.picture.luma;
        // The encoder refuses only sides beyond 65535, and our sources end at 8192; should it refuse, viewers get an empty picture.
        encode_jpeg(pixels, luma.width, luma.height, color, JPEG_QUALITY).unwrap_or_default()
    }
}
