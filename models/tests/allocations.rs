//! How often memory is asked for while frames are colored: once warm, by the runtime only, and hardly by it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use autochrome_model::contract::{self, scaled_lightness};
use autochrome_model::{Colorizer, LumaRange, Painter, Picture, Plane, Step};
use tract_onnx::prelude::*;

/// The system's allocator, counting each thread's requests.
struct Counting;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may free and allocate after its counter is gone.
    let _ = REQUESTS.try_with(|requests| requests.set(requests.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every request goes to the system's allocator unchanged, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
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

fn requests(work: impl FnOnce()) -> u64 {
    let before = REQUESTS.get();
    work();
    REQUESTS.get() - before
}

fn int8() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("autochrome-lite0-224x160-int8.onnx")
}

fn frame(number: usize) -> Plane<u8> {
    Plane::from_vec(640, 480, (0..640 * 480).map(|i| (((i % 640 + 7 * number) / 5) ^ (i / 640 / 3)) as u8).collect())
}

/// What a step of the shipped int8 model may ask for: Tract's list of an operator's inputs is on the heap from five on, and each of the two recurrent
/// cells ends in an operator of ours with so many.
const STEP: u64 = 2;

/// The requests of one step of the shipped int8 model in Tract, with nothing of ours around it or in it.
fn bare_step() -> u64 {
    let proto = contract::parse(&std::fs::read(int8()).unwrap()).unwrap();
    let plan = tract_onnx::onnx().model_for_proto_model(&proto).unwrap().into_optimized().unwrap().into_runnable().unwrap();
    let mut state = plan.spawn().unwrap();
    let shapes: Vec<Vec<usize>> =
        (0..plan.model().inputs.len()).map(|i| plan.model().input_fact(i).unwrap().shape.as_concrete().unwrap().to_vec()).collect();
    let mut values: Vec<TValue> = shapes.iter().map(|shape| Tensor::zero::<f32>(shape).unwrap().into()).collect();
    let mut found = 0;
    for _ in 0..4 {
        let entering: TVec<TValue> = values.iter().cloned().collect();
        found = requests(|| {
            let leaving = state.run(entering).unwrap();
            // The state goes round; the picture output comes first.
            values[1..].clone_from_slice(&leaving[1..]);
        });
    }
    found
}

#[test]
fn a_warm_painter_asks_for_no_memory_beside_the_runtime() {
    let bare = bare_step();
    assert!(bare > 50 * STEP, "the counter counts, and Tract alone asks for memory for every operator: {bare}");

    let mut colorizer = Colorizer::load(&int8()).unwrap();
    let lightness = Plane::filled(colorizer.contract().width, colorizer.contract().height, 50.0);
    assert!(scaled_lightness(50.0) == 0.0);
    (0..3).for_each(|_| colorizer.advance(&lightness).unwrap());
    let bare = requests(|| colorizer.advance(&lightness).unwrap());
    assert!(bare <= STEP, "a step asks {bare} times");

    let mut painter = Painter::new(colorizer, LumaRange::Full);
    let mut picture = Picture { luma: frame(0), ..Picture::default() };
    let (mut rgb, mut words) = (Vec::new(), vec![0; 640 * 480]);
    for number in 0..3 {
        picture.luma.data.copy_from_slice(&frame(number).data);
        painter.paint_into(&mut picture, Step::Advance).unwrap();
        picture.to_rgb_into(LumaRange::Full, &mut rgb);
    }
    for step in [Step::Advance, Step::Hold, Step::Advance] {
        let expected = if step == Step::Hold { 0 } else { bare };
        assert_eq!(requests(|| painter.paint_into(&mut picture, step).unwrap()), expected, "{step:?}");
    }
    painter.set_split(0.5);
    painter.set_hue(20.0);
    painter.set_tint(Some((3.0, 12.0)), 0.5);
    assert_eq!(requests(|| painter.paint_into(&mut picture, Step::Advance).unwrap()), bare, "with all settings");
    assert_eq!(requests(|| painter.reset()), 0, "a reset");
    assert_eq!(requests(|| painter.paint_into(&mut picture, Step::Advance).unwrap()), bare, "after a reset");
    assert_eq!(requests(|| picture.to_rgb_into(LumaRange::Full, &mut rgb)), 0, "RGB");
    assert_eq!(requests(|| picture.to_xrgb_into(LumaRange::Full, 640, &mut words)), 0, "XRGB");
}
