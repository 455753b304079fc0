//! How often memory is asked for while frames go from the source to the outputs: once warm, by the network's runtime only.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use autochrome::coloring::{Colored, Coloring, Conditions};
use autochrome::input::{Frame, Origin};
use autochrome::kiosk::Heart;
use autochrome::output::page::Access;
use autochrome::output::{Output, Page};
use autochrome::pipeline::{self, Controls, Flow, Outlet};
use autochrome::remote::Remote;
use autochrome::settings::{Choices, Command, Settings};
use autochrome::showing::Showing;
use autochrome_model::{Colorizer, Plane};
use crossbeam_channel::never;

/// The system's allocator, counting the requests of all threads.
struct Counting;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every request goes to the system's allocator unchanged, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        REQUESTS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        REQUESTS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM: u64 = 30;
const COUNTED: u64 = 40;

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-lite0-224x160-int8.onnx")
}

/// What the network's runtime asks for in so many steps.
fn bare_steps() -> u64 {
    let mut colorizer = Colorizer::load(&model()).unwrap();
    let lightness = Plane::filled(colorizer.contract().width, colorizer.contract().height, 50.0);
    (0..5).for_each(|_| colorizer.advance(&lightness).unwrap());
    let before = REQUESTS.load(Relaxed);
    (0..COUNTED).for_each(|_| colorizer.advance(&lightness).unwrap());
    REQUESTS.load(Relaxed) - before
}

#[test]
fn a_warm_frame_asks_for_no_memory_of_ours() {
    let bare = bare_steps();
    let (remote, commands) = Remote::new(Choices::default());
    let page = Page::listen("127.0.0.1:0", &Access::default(), remote.clone()).unwrap();
    let status = Arc::clone(&remote.status);
    let showing =
        Showing::new(vec![Output::Page(page), Output::Null], Flow::Lossless, Arc::clone(&status), Heart::new(status), Settings::neutral());
    let mut coloring = Coloring::new(Colorizer::load(&model()).unwrap(), Conditions::default(), Arc::clone(&remote.choices));
    let source = |mut outlet: Outlet| {
        for number in 0..WARM + COUNTED + 10 {
            let mut luma = outlet.blank();
            if luma.data.is_empty() {
                luma = Plane::filled(640, 480, 0);
            }
            luma.data.iter_mut().enumerate().for_each(|(i, code)| *code = (40 + i / 1920 + number as usize % 7) as u8);
            if outlet.send(luma, Origin::default(), Vec::new()).is_break() {
                break;
            }
        }
        Ok(())
    };
    let (counted_in, counted) = std::sync::mpsc::channel();
    let mut first = 0;
    let color = move |frame: Frame, next: Option<&Frame>, commands: &[Command], into: &mut Colored| {
        match frame.sequence {
            WARM => first = REQUESTS.load(Relaxed),
            LAST => counted_in.send(REQUESTS.load(Relaxed) - first).unwrap(),
            _ => {}
        }
        coloring.prepare(&frame, commands);
        coloring.color(frame, next, into)
    };
    pipeline::run(Flow::Lossless, Controls { commands, quit: never() }, source, color, move |inlet| showing.run(inlet, u64::MAX)).unwrap();
    drop(remote);
    let all = counted.recv().unwrap();
    // Not one a frame; the page's thread and the clock's are free to ask for something now and then.
    assert!(all < bare + COUNTED / 2, "{all} requests for memory in {COUNTED} frames, of which the network's runtime makes {bare}");
}

const LAST: u64 = WARM + COUNTED;
