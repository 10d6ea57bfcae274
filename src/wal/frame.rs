//! The frame: one table's part of one commit. All integers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | session id, equal to the segment header's |
//! | 16 | 8 | frame number, from 1, ascending by 1 within a segment |
//! | 24 | 8 | stamp: provisional commit timestamp, i64 microseconds since the Unix epoch |
//! | 32 | 8 | synced: how many bytes of this segment were durable when the frame was written |
//! | 40 | 4 | table id |
//! | 44 | 4 | schema version |
//! | 48 | 4 | payload length, without padding |
//! | 52 | 1 | kind: 1 upsert, 2 delete |
//! | 53 | 1 | flags: bit 0 = last frame of its commit; the others are 0 |
//! | 54 | 2 | 0 |
//! | 56 | 4 | crc32c of payload and padding |
//! | 60 | 4 | crc32c of: segment number (u64), the frame's offset in the segment (u64), bytes 0..60 |
//! | 64 | n | payload: the caller's Arrow IPC bytes as they came |
//! | 64+n | 0-15 | zeros, up to a multiple of 16 |
//!
//! Invariants: zeros never decode as a frame (kind 0 does not exist); nor does a frame at another
//! place than it was written to (its checksum knows segment and offset). Payloads start at a
//! multiple of 16 in the file, so Arrow buffers in a segment read into memory need no copy.

use super::{SessionId, field};
use bytes::Bytes;

/// Length of a frame's header.
pub(super) const HEADER_LEN: usize = 64;
/// Frames start at multiples of this.
pub(super) const ALIGN: usize = 16;
/// Payloads at least this long are written as they are, not copied into the append's buffer.
const LARGE: usize = 64 * 1024;

const END_OF_COMMIT: u8 = 1;

/// What a frame does with its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// The payload's rows replace those of equal key.
    Upsert,
    /// The payload's rows are keys to delete.
    Delete,
}

/// What the caller puts into a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameBody {
    /// The table's id.
    pub table: u32,
    /// What to do with the rows.
    pub kind: FrameKind,
    /// The version of the table's schema that the payload was validated against.
    pub schema_version: u32,
    /// Arrow IPC bytes, opaque here. At most `u32::MAX` bytes.
    pub payload: Bytes,
}

/// A decoded frame header whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) stamp: i64,
    pub(super) synced: u64,
    pub(super) table: u32,
    pub(super) schema_version: u32,
    pub(super) payload_len: u32,
    pub(super) kind: FrameKind,
    pub(super) end_of_commit: bool,
    pub(super) payload_crc: u32,
}

/// The whole length of a frame with such a payload.
pub(super) fn frame_len(payload_len: usize) -> u64 {
    HEADER_LEN as u64 + payload_len as u64 + padding(payload_len) as u64
}

fn padding(payload_len: usize) -> usize {
    (ALIGN - payload_len % ALIGN) % ALIGN
}

fn header_crc(segment: u64, offset: u64, header: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    crc32c::crc32c_append(crc, header)
}

impl Frame {
    fn encode(&self, segment: u64, offset: u64) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..16].copy_from_slice(&self.session);
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.stamp.to_le_bytes());
        out[32..40].copy_from_slice(&self.synced.to_le_bytes());
        out[40..44].copy_from_slice(&self.table.to_le_bytes());
        out[44..48].copy_from_slice(&self.schema_version.to_le_bytes());
        out[48..52].copy_from_slice(&self.payload_len.to_le_bytes());
        out[52] = match self.kind {
            FrameKind::Upsert => 1,
            FrameKind::Delete => 2,
        };
        out[53] = if self.end_of_commit { END_OF_COMMIT } else { 0 };
        out[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(segment, offset, &out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The frame header at `offset` of a segment's bytes, or `None` if none was written there whole.
    pub(super) fn decode(segment: u64, bytes: &[u8], offset: usize) -> Option<Self> {
        let header = bytes.get(offset..offset.checked_add(HEADER_LEN)?)?;
        let kind = match header[52] {
            1 => FrameKind::Upsert,
            2 => FrameKind::Delete,
            _ => return None,
        };
        let flags = header[53];
        // Cheap tests first: the search for frames beyond a broken one looks at every 16th byte.
        if flags & !END_OF_COMMIT != 0 || header[54] != 0 || header[55] != 0 {
            return None;
        }
        let crc = u32::from_le_bytes(field(header, 60));
        if crc != header_crc(segment, offset as u64, &header[..60]) {
            return None;
        }
        Some(Self {
            session: field(header, 0),
            number: u64::from_le_bytes(field(header, 16)),
            stamp: i64::from_le_bytes(field(header, 24)),
            synced: u64::from_le_bytes(field(header, 32)),
            table: u32::from_le_bytes(field(header, 40)),
            schema_version: u32::from_le_bytes(field(header, 44)),
            payload_len: u32::from_le_bytes(field(header, 48)),
            kind,
            end_of_commit: flags & END_OF_COMMIT != 0,
            payload_crc: u32::from_le_bytes(field(header, 56)),
        })
    }

    /// The payload of the frame at `offset` and the offset behind the frame, or `None` if it is not
    /// there whole.
    pub(super) fn payload(&self, bytes: &Bytes, offset: usize) -> Option<(Bytes, usize)> {
        let start = offset.checked_add(HEADER_LEN)?;
        let len = self.payload_len as usize;
        let end = start.checked_add(len)?.checked_add(padding(len))?;
        let padded = bytes.get(start..end)?;
        (crc32c::crc32c(padded) == self.payload_crc).then(|| (bytes.slice(start..start + len), end))
    }
}

/// Encodes frames for one append into as few chunks as copying small payloads once allows.
pub(super) struct Encoder {
    session: SessionId,
    segment: u64,
    synced: u64,
    offset: u64,
    buffer: Vec<u8>,
    chunks: Vec<Bytes>,
}

impl Encoder {
    /// Starts at `offset` of a segment, `synced` bytes of which are durable; `capacity` bytes are
    /// expected.
    pub(super) fn new(
        session: SessionId,
        segment: u64,
        synced: u64,
        offset: u64,
        capacity: usize,
    ) -> Self {
        Self {
            session,
            segment,
            synced,
            offset,
            buffer: Vec::with_capacity(capacity),
            chunks: Vec::new(),
        }
    }

    /// Adds bytes that are no frame: the segment's header.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// Adds a frame.
    pub(super) fn frame(&mut self, number: u64, stamp: i64, end_of_commit: bool, body: &FrameBody) {
        let pad = [0; ALIGN];
        let pad = &pad[..padding(body.payload.len())];
        let crc = crc32c::crc32c_append(crc32c::crc32c(&body.payload), pad);
        let frame = Frame {
            session: self.session,
            number,
            stamp,
            synced: self.synced,
            table: body.table,
            schema_version: body.schema_version,
            payload_len: body.payload.len() as u32,
            kind: body.kind,
            end_of_commit,
            payload_crc: crc,
        };
        self.buffer
            .extend_from_slice(&frame.encode(self.segment, self.offset));
        if is_large(body) {
            self.chunks
                .push(Bytes::from(std::mem::take(&mut self.buffer)));
            self.chunks.push(body.payload.clone());
        } else {
            self.buffer.extend_from_slice(&body.payload);
        }
        self.buffer.extend_from_slice(pad);
        self.offset += frame_len(body.payload.len());
    }

    /// Where the next thing added would begin.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What to write, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.buffer.is_empty() {
            self.chunks.push(Bytes::from(self.buffer));
        }
        self.chunks
    }
}

/// Whether the payload is written without a copy.
pub(super) fn is_large(body: &FrameBody) -> bool {
    body.payload.len() >= LARGE
}
