//! The known attacks.

/// The file that the tests of whole programs use.
pub(crate) fn small() -> &'static [u8] {
    include_bytes!("../../../tests/data/small.onnx")
}
