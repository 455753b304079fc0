//! The live page: the picture in a browser, with a slider between before and after, and knobs that act at once.
//!
//! The outputs thread only puts the newest picture into a slot. A JPEG is made when the first viewer asks for that picture, in that
//! viewer's thread, and once for all of them; nobody watching means no work, and a slow viewer misses pictures and holds up nothing.

mod answers;
mod guard;
mod http;
mod metrics;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use image::ExtendedColorType;

use super::pngs::{encode_jpeg, full_range_luma};
pub use guard::Access;

use crate::coloring::Colored;
use crate::errors::Result;
use crate::newest::Newest;
use crate::remote::Remote;
use crate::statistics::Snapshot;

/// The quality of the stream's JPEGs.
const JPEG_QUALITY: u8 = 85;

/// A page that is being served.
pub struct Page {
    views: Arc<Newest<View>>,
    address: SocketAddr,
    /// A view that nobody looks at any more, for its memory.
    spare: Option<Arc<View>>,
}

impl Page {
    /// Listens at `address` and serves the page on threads of its own. Viewers steer by `remote`, as far as `access` lets them.
    ///
    /// # Errors
    /// [`Exit::Unavailable`](crate::errors::Exit::Unavailable) if the address is taken or unusable;
    /// [`Exit::Config`](crate::errors::Exit::Config) if the token is.
    pub fn listen(address: &str, access: &Access, remote: Remote) -> Result<Self> {
        let views = Arc::new(Newest::default());
        let address = server::start(address, access, Arc::clone(&views), remote)?;
        Ok(Self { views, address, spare: None })
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a picture the one to see.
    pub fn show(&mut self, colored: &Arc<Colored>, snapshot: &Snapshot) {
        let mut view = self.spare.take().unwrap_or_else(|| Arc::new(View::new(colored, snapshot)));
        match Arc::get_mut(&mut view) {
            Some(own) => *own = View::new(colored, snapshot),
            None => view = Arc::new(View::new(colored, snapshot)),
        }
        self.spare = self.views.put(view);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.views.end();
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
    fn new(colored: &Arc<Colored>, snapshot: &Snapshot) -> Self {
        let (colored, snapshot) = (Arc::clone(colored), snapshot.clone());
        Self { colored, snapshot, shown_at: Instant::now(), color: OnceLock::new(), grey: OnceLock::new() }
    }

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
