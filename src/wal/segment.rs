//! The segment: a header and frames, in a file `<number:020>.wal`. Integers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `LAKEWAL\n` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | flags: bit 0 = there is a previous segment |
//! | 16 | 16 | database id |
//! | 32 | 16 | session id |
//! | 48 | 8 | segment number, equal to the name's |
//! | 56 | 8 | number of the first frame |
//! | 64 | 8 | previous segment: its number (else 0) |
//! | 72 | 8 | previous segment: where its last whole commit ends, in bytes (else 0) |
//! | 80 | 16 | previous segment: its session id (else 0) |
//! | 96 | 8 | previous segment: number of its last committed frame (else 0) |
//! | 104 | 4 | term: one more than the highest there was when the WAL was opened |
//! | 108 | 4 | crc32c of bytes 0..108 |
//! | 112 | … | frames, up to the end of the file |
//!
//! `walk` is the judge of a segment's frames. A segment that is not the last must hold exactly
//! whole commits up to the end its successor names; beyond is debris, never read. In the last one, a
//! frame that does not decode ends the WAL if it may be a write that never completed (`broken_at`).

use super::{
    Commit, DatabaseId, SessionId, field,
    frame::{ALIGN, Frame, FrameBody},
};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;

/// Length of a segment's header.
pub(super) const HEADER_LEN: usize = 112;
/// A disk writes at least this much at once: a hole in an unsynced file is whole sectors of zeros.
const SECTOR: usize = 512;

const MAGIC: &[u8; 8] = b"LAKEWAL\n";
const VERSION: u32 = 1;
const HAS_PREV: u32 = 1;
const CRC_AT: usize = HEADER_LEN - 4;
const SUFFIX: &str = ".wal";

/// The key of segment `number`.
pub(super) fn key(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number of the segment named `key`, or `None` if it is not a segment's name.
pub(super) fn parse_key(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (key(number) == name).then_some(number)
}

/// How a segment is named by its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) session: SessionId,
    /// Where its last whole commit ends.
    pub(super) end: u64,
    /// The number of its last committed frame; 0 if it has none. If the segment is gone, the log's
    /// floor must be at least this: else it was lost, not truncated.
    pub(super) last: u64,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) database: DatabaseId,
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) first_frame: u64,
    pub(super) prev: Option<Link>,
    /// Counts up with each opening that writes: a holder that lost the WAL and does not know it yet must not
    /// lead the chain away from who took it.
    pub(super) term: u32,
}

/// What is where a header should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A header.
    Whole(Header),
    /// Cut short, or zeros at its end: a segment whose creation did not complete.
    Unwritten,
    /// Other bytes.
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.database);
        out[32..48].copy_from_slice(&self.session);
        out[48..56].copy_from_slice(&self.number.to_le_bytes());
        out[56..64].copy_from_slice(&self.first_frame.to_le_bytes());
        if let Some(prev) = &self.prev {
            out[12..16].copy_from_slice(&HAS_PREV.to_le_bytes());
            out[64..72].copy_from_slice(&prev.number.to_le_bytes());
            out[72..80].copy_from_slice(&prev.end.to_le_bytes());
            out[80..96].copy_from_slice(&prev.session);
            out[96..104].copy_from_slice(&prev.last.to_le_bytes());
        }
        out[104..108].copy_from_slice(&self.term.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Decodes the start of segment `number` of the store `place`.
    pub(super) fn decode(place: &str, number: u64, bytes: &[u8]) -> Result<Head> {
        let Some(header) = bytes.get(..HEADER_LEN) else {
            return Ok(Head::Unwritten);
        };
        let crc = u32::from_le_bytes(field(header, CRC_AT));
        if crc != crc32c::crc32c(&header[..CRC_AT]) || &header[..8] != MAGIC {
            return Ok(match crc {
                0 => Head::Unwritten,
                _ => Head::Damaged,
            });
        }
        let version = u32::from_le_bytes(field(header, 8));
        if version != VERSION {
            let name = key(number);
            return Err(Error::unsupported(format!(
                "WAL segment {name} in {place} has format version {version}, this Lakeshore reads \
                 {VERSION}: open it with a newer one"
            )));
        }
        let found = u64::from_le_bytes(field(header, 48));
        if found != number {
            return Err(broken(
                place,
                number,
                48,
                format!("it says it is segment {found}: a file was renamed or copied over it"),
            ));
        }
        let flags = u32::from_le_bytes(field(header, 12));
        let prev = (flags & HAS_PREV != 0).then(|| Link {
            number: u64::from_le_bytes(field(header, 64)),
            end: u64::from_le_bytes(field(header, 72)),
            session: field(header, 80),
            last: u64::from_le_bytes(field(header, 96)),
        });
        if prev.is_some_and(|prev| prev.number >= number) {
            let message = "its previous segment has no lower number".to_owned();
            return Err(broken(place, number, 64, message));
        }
        Ok(Head::Whole(Self {
            database: field(header, 16),
            session: field(header, 32),
            number,
            first_frame: u64::from_le_bytes(field(header, 56)),
            prev,
            term: u32::from_le_bytes(field(header, 104)),
        }))
    }
}

/// A `Corrupt` error with its place.
pub(super) fn broken(place: &str, number: u64, offset: u64, message: String) -> Error {
    let name = key(number);
    Error::new(
        ErrorKind::Corrupt,
        format!("WAL segment {name} in {place}, offset {offset}: {message}"),
    )
}

/// What a walk over a segment's frames found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Where the last whole commit ends.
    pub(super) end: u64,
    /// The last frame of the last whole commit.
    pub(super) last: Option<u64>,
    /// The latest stamp of a whole commit.
    pub(super) stamp: Option<i64>,
}

/// Hands every whole commit of a segment to `each`. `end` is where the successor says it ends;
/// `None` for the last segment, whose tail may be torn.
pub(super) fn walk(
    place: &str,
    header: &Header,
    bytes: &Bytes,
    end: Option<u64>,
    each: &mut (dyn FnMut(Commit) -> Result<()> + Send),
) -> Result<Walked> {
    let number = header.number;
    let size = bytes.len() as u64;
    if let Some(end) = end.filter(|end| *end > size) {
        let message = format!("it ends here, its successor says at {end}: bytes were lost");
        return Err(broken(place, number, size, message));
    }
    // `end` is at most `size`, a length in memory.
    let bytes = bytes.slice(..end.unwrap_or(size) as usize);
    let mut walked = Walked {
        end: HEADER_LEN as u64,
        ..Walked::default()
    };
    let mut open: Option<Commit> = None;
    let mut next = header.first_frame;
    let mut offset = HEADER_LEN;
    while offset < bytes.len() {
        let Some((frame, payload, behind)) = frame_at(header, &bytes, offset) else {
            if end.is_some() || broken_at(header, &bytes, offset) {
                let message = format!("frame {next} is damaged (its checksum does not hold)");
                return Err(broken(place, number, offset as u64, message));
            }
            return Ok(walked);
        };
        let stamp = open.as_ref().map_or(frame.stamp, |open| open.stamp);
        if frame.number != next || frame.stamp != stamp {
            let message = format!(
                "expected frame {next} with stamp {stamp}, found frame {} with stamp {}",
                frame.number, frame.stamp
            );
            return Err(broken(place, number, offset as u64, message));
        }
        let commit = open.get_or_insert_with(|| Commit {
            session: header.session,
            first: next,
            last: next,
            stamp,
            frames: Vec::new(),
        });
        commit.last = next;
        commit.frames.push(FrameBody {
            table: frame.table,
            kind: frame.kind,
            schema_version: frame.schema_version,
            payload,
        });
        if let Some(commit) = open.take_if(|_| frame.end_of_commit) {
            walked.end = behind as u64;
            walked.last = Some(next);
            walked.stamp = walked.stamp.max(Some(commit.stamp));
            each(commit)?;
        }
        offset = behind;
        next = next.saturating_add(1);
    }
    if end.is_some_and(|end| end != walked.end) {
        let message = "the commit begun here is not complete, and more was written".to_owned();
        return Err(broken(place, number, walked.end, message));
    }
    Ok(walked)
}

/// The whole frame at `offset`, its payload and the offset behind it.
fn frame_at(header: &Header, bytes: &Bytes, offset: usize) -> Option<(Frame, Bytes, usize)> {
    let frame = Frame::decode(header.number, bytes, offset)?;
    if frame.session != header.session {
        return None;
    }
    let (payload, behind) = frame.payload(bytes, offset)?;
    Some((frame, payload, behind))
}

/// Whether the undecodable frame at `offset` of the last segment is damage, not a write that never
/// completed. What is not synced may reach the disk in any order, sector by sector, so a later frame
/// proves damage only if it was written when these bytes were durable, or if nothing before it looks
/// like a sector that was not written.
fn broken_at(header: &Header, bytes: &[u8], offset: usize) -> bool {
    let later = frames_from(header.number, bytes, offset + ALIGN)
        .filter(|(_, frame)| frame.session == header.session);
    let mut first = None;
    for (at, frame) in later {
        if frame.synced > offset as u64 {
            return true;
        }
        first.get_or_insert(at);
    }
    first.is_some_and(|first| !has_hole(bytes, offset, first))
}

/// Whether segment `number`, which has no whole header and no successor, is damaged; if not, its
/// creation never completed and nothing in it was acknowledged as durable.
pub(super) fn headless_is_damaged(number: u64, head: Head, bytes: &[u8]) -> bool {
    let mut frames = frames_from(number, bytes, HEADER_LEN);
    match head {
        Head::Damaged => frames.next().is_some(),
        _ => frames.any(|(_, frame)| frame.synced > 0),
    }
}

/// All frame headers at or behind `offset`, wherever they start.
fn frames_from(
    number: u64,
    bytes: &[u8],
    offset: usize,
) -> impl Iterator<Item = (usize, Frame)> + '_ {
    (offset..bytes.len())
        .step_by(ALIGN)
        .filter_map(move |at| Some((at, Frame::decode(number, bytes, at)?)))
}

/// Whether a sector between `from` and `to` was not written: it is zeros, at least from `from` on
/// (what comes before may have been there already).
fn has_hole(bytes: &[u8], from: usize, to: usize) -> bool {
    let first = from - from % SECTOR;
    (first..to).step_by(SECTOR).any(|at| {
        let sector = bytes.get(at.max(from)..at + SECTOR).unwrap_or(&[1]);
        sector.iter().all(|byte| *byte == 0)
    })
}
