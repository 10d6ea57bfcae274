//! The byte codec of records, checkpoints and CURRENT. Little-endian; byte strings and text carry a
//! u32 length. Reading is bounded by the input: a length is checked before anything is allocated,
//! and every failure is `Corrupt` with object and offset.
//!
//! Every object is an envelope: magic (4) · format version u16 · body · crc32c u32 over all before it.

use crate::error::{Error, Result};

/// Version of all log objects. A reader refuses a greater one; a smaller one is read by its own rules.
pub(super) const FORMAT_VERSION: u16 = 1;

/// Builds the bytes of one object.
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(magic: &[u8; 4]) -> Self {
        let mut bytes = magic.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        Self { bytes }
    }

    /// A part of an object that stands for itself: no envelope.
    pub(super) fn part() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(super) fn into_part(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn u8(&mut self, v: u8) {
        self.bytes.push(v);
    }

    pub(super) fn bool(&mut self, v: bool) {
        self.u8(u8::from(v));
    }

    pub(super) fn u16(&mut self, v: u16) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn u32(&mut self, v: u32) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn u64(&mut self, v: u64) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn i64(&mut self, v: i64) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn raw(&mut self, v: &[u8]) {
        self.bytes.extend_from_slice(v);
    }

    /// A counted byte string. Every bound of ours is far below 4 GiB.
    pub(super) fn bytes(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.raw(v);
    }

    pub(super) fn text(&mut self, v: &str) {
        self.bytes(v.as_bytes());
    }

    pub(super) fn option<T>(&mut self, v: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(v.is_some());
        if let Some(v) = v {
            write(self, v);
        }
    }

    pub(super) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.u32(items.len() as u32);
        for item in items {
            write(self, item);
        }
    }

    /// A part with its length before it, so that a reader can skip or bound it.
    pub(super) fn section(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.u32(0);
        write(self);
        let length = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.bytes);
        self.u32(crc);
        self.bytes
    }
}

/// Reads the bytes of one object.
pub(super) struct Decoder<'a> {
    object: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Checks envelope and checksum; stands at the body.
    pub(super) fn new(object: &'a str, magic: &[u8; 4], bytes: &'a [u8]) -> Result<Self> {
        let corrupt =
            |at: usize, what: &str| Error::corrupt(format!("{object} at offset {at}: {what}"));
        if bytes.len() < 10 {
            return Err(corrupt(0, &format!("{} bytes are too few", bytes.len())));
        }
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        if &body[..4] != magic {
            return Err(corrupt(0, "the magic is wrong: this is not such an object"));
        }
        let stored = u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]);
        let actual = crc32c::crc32c(body);
        if stored != actual {
            let what = format!("checksum {actual:08x}, expected {stored:08x}");
            return Err(corrupt(body.len(), &what));
        }
        let version = u16::from_le_bytes([body[4], body[5]]);
        if version > FORMAT_VERSION {
            return Err(Error::unsupported(format!(
                "{object} has format version {version}, this Lakeshore reads up to \
                 {FORMAT_VERSION}: update it"
            )));
        }
        Ok(Self {
            object,
            bytes: body,
            at: 6,
        })
    }

    /// Reads a part of an object whose envelope was checked; offsets are from its start.
    pub(super) fn part(object: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            object,
            bytes,
            at: 0,
        }
    }

    pub(super) fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("{} at offset {}: {what}", self.object, self.at))
    }

    pub(super) fn raw(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.len() - self.at;
        if length > rest {
            return Err(self.corrupt(format!("{length} bytes expected, {rest} are left")));
        }
        let part = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(part)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.raw(N)?);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn bool(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(format!("{other} is no boolean"))),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.raw(length)
    }

    /// Where the next byte is, from the start of the object: to slice it without a copy.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.corrupt("text is not UTF-8"))
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        match self.bool()? {
            true => Ok(Some(read(self)?)),
            false => Ok(None),
        }
    }

    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.u32()? as usize;
        // An item has at least one byte: a lying count cannot make us allocate.
        if count > self.bytes.len() - self.at {
            return Err(self.corrupt(format!("a list of {count} items is longer than the object")));
        }
        (0..count).map(|_| read(self)).collect()
    }

    /// Reads a section whole; what `read` leaves unread is an error.
    pub(super) fn section<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let length = self.u32()? as usize;
        if length > self.bytes.len() - self.at {
            return Err(self.corrupt(format!("a section of {length} bytes is cut off")));
        }
        let whole = self.bytes;
        self.bytes = &whole[..self.at + length];
        let value = read(self)?;
        if self.at != self.bytes.len() {
            return Err(self.corrupt("a section has bytes left over"));
        }
        self.bytes = whole;
        Ok(value)
    }

    pub(super) fn end(&self) -> Result<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(self.corrupt(format!("{left} bytes are left over"))),
        }
    }
}
