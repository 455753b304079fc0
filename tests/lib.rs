//! Cross-crate tests live in the files beside this one; the library itself is empty.
