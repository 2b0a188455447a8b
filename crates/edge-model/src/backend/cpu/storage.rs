//! Constant arrays, either in memory of their own or in the bytes of a cached file.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;

/// A constant array, in memory of its own or in the bytes of a cached file.
pub(super) enum Storage<T> {
    Own(Vec<T>),
    Mapped(MappedArray<T>),
}

/// An array in the bytes of a cached file, made by [`Storage::mapped`] only.
pub(super) struct MappedArray<T> {
    file: Arc<Mmap>,
    /// Position in the file; a whole number of elements, aligned for `T`.
    bytes: Range<usize>,
    elements: PhantomData<T>,
}

impl<T: Pod> Storage<T> {
    /// Returns the array in the range `bytes` of the file; `None` if the file is shorter, or if the range is not aligned or does
    /// not hold whole elements.
    pub(super) fn mapped(file: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, T>(file.get(bytes.clone())?).ok()?;
        Some(Self::Mapped(MappedArray { file: Arc::clone(file), bytes, elements: PhantomData }))
    }

    /// Returns the elements as bytes, in the processor's byte order.
    pub(super) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl<T: Pod> Deref for Storage<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(elements) => elements,
            Self::Mapped(MappedArray { file, bytes, .. }) => bytemuck::cast_slice(&file[bytes.clone()]),
        }
    }
}

impl<T> From<Vec<T>> for Storage<T> {
    fn from(elements: Vec<T>) -> Self {
        Self::Own(elements)
    }
}
