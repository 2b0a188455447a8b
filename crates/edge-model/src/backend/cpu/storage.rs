//! Constants of a graph: in memory of their own, or in a mapped file.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use super::product::Step;

/// What may be looked at as bytes and be made of any bytes.
pub(super) trait Plain: Copy + 'static {}

impl Plain for f32 {}
impl Plain for i32 {}
impl Plain for Step {}

/// An array that is never changed.
pub(super) enum Storage<T: Plain> {
    Own(Vec<T>),
    /// The elements at that place of the file.
    Mapped(Arc<Mmap>, Range<usize>, std::marker::PhantomData<T>),
}

impl<T: Plain> Storage<T> {
    /// The elements in those bytes of a file; `None` where they are not there or not at a place for such elements.
    pub(super) fn mapped(file: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        let found = file.get(bytes.clone())?;
        let is_whole = found.len().is_multiple_of(size_of::<T>());
        let is_aligned = found.as_ptr().cast::<T>().is_aligned();
        (is_whole && is_aligned).then(|| Self::Mapped(Arc::clone(file), bytes, std::marker::PhantomData))
    }

    /// The elements as bytes, as they are in memory.
    pub(super) fn bytes(&self) -> &[u8] {
        let elements: &[T] = self;
        // SAFETY: plain elements have no padding, and any memory may be looked at as bytes.
        unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
    }
}

impl<T: Plain> Deref for Storage<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(elements) => elements,
            Self::Mapped(file, bytes, _) => {
                let bytes = &file[bytes.clone()];
                // SAFETY: length and place were checked when this was made, and any bytes are plain elements.
                unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
            }
        }
    }
}

impl<T: Plain> From<Vec<T>> for Storage<T> {
    fn from(elements: Vec<T>) -> Self {
        Self::Own(elements)
    }
}
