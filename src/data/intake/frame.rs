//! Finds the messages of an Arrow IPC stream or file and verifies their flatbuffers, before anything
//! is decoded. Invariant: every range handed out lies within the bytes, and messages do not overlap,
//! so that work is bounded by the size of the input.
//!
//! | stream | bytes |
//! |---|---|
//! | continuation | 4: FF FF FF FF (absent before Arrow 0.15) |
//! | metadata length | 4, little-endian, with padding; 0 ends the stream |
//! | metadata | flatbuffer `Message` |
//! | body | `Message.bodyLength` |
//!
//! | file | bytes |
//! |---|---|
//! | magic | 8: `ARROW1` 00 00 |
//! | messages | as in a stream |
//! | footer | flatbuffer `Footer`: schema, places of messages |
//! | footer length | 4, little-endian |
//! | magic | 6: `ARROW1` |

use super::WireSchema;
use crate::{
    data::spec::{MAX_FIXED_SIZE, MAX_TYPE_DEPTH},
    error::{Error, Result},
};
use arrow_ipc::{
    Block, DictionaryBatch, Endianness, Message, MessageHeader, MetadataVersion, RecordBatch,
    convert::try_fb_to_schema, root_as_footer_with_opts, root_as_message_with_opts,
};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use flatbuffers::VerifierOptions;
use std::ops::Range;

const MAGIC: &[u8] = b"ARROW1";
/// Most fields of a schema, nested ones included.
const MAX_FIELDS: usize = 1 << 16;

/// What a stream or file holds, in the order in which it must be decoded.
pub(super) struct Messages<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) schema: WireSchema,
    pub(super) parts: Vec<Part<'a>>,
}

/// A message with the place of its body.
pub(super) enum Part<'a> {
    Dictionary(DictionaryBatch<'a>, Range<usize>),
    Batch(RecordBatch<'a>, Range<usize>),
}

/// All messages of a stream or file.
pub(super) fn scan(bytes: &Bytes) -> Result<Messages<'_>> {
    let (schema, parts) = match is_file(bytes)? {
        true => file(bytes, true)?,
        false => stream(bytes, true)?,
    };
    Ok(Messages {
        bytes,
        schema,
        parts,
    })
}

/// The schema of a stream, a file or a lone schema message.
pub(super) fn schema(bytes: &[u8]) -> Result<WireSchema> {
    let (schema, _) = match is_file(bytes)? {
        true => file(bytes, false)?,
        false => stream(bytes, false)?,
    };
    Ok(schema)
}

pub(super) fn malformed(at: usize, what: impl std::fmt::Display) -> Error {
    Error::invalid(format!(
        "not valid Arrow IPC at byte {at}: {what}; nothing was taken, send it again whole"
    ))
}

fn is_file(bytes: &[u8]) -> Result<bool> {
    let instead = match bytes {
        [] => Some("no bytes"),
        [b'P', b'A', b'R', b'1', ..] => Some("a Parquet file"),
        [b'{' | b'[', ..] => Some("JSON"),
        [0x1f, 0x8b, ..] => Some("gzip"),
        _ => None,
    };
    match instead {
        Some(what) => Err(Error::invalid(format!(
            "expected an Arrow IPC stream or file, got {what}: write it with an Arrow library"
        ))),
        None => Ok(bytes.starts_with(MAGIC)),
    }
}

fn bounds() -> VerifierOptions {
    VerifierOptions {
        max_depth: 64,
        max_tables: 400_000,
        max_apparent_size: 64 << 20,
        ..VerifierOptions::default()
    }
}

/// A message's metadata and where its body begins; `None` at the end-of-stream mark.
fn message(bytes: &[u8], at: usize) -> Result<Option<(Message<'_>, usize)>> {
    let word = |at: usize| {
        let found = bytes.get(at..at.saturating_add(4));
        found
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
            .ok_or_else(|| malformed(at, "it is cut off"))
    };
    let (length, start) = match word(at)? {
        u32::MAX => (word(at + 4)?, at + 8),
        // Before Arrow 0.15 the length came first.
        length => (length, at + 4),
    };
    if length == 0 {
        return Ok(None);
    }
    let end = usize::try_from(length)
        .ok()
        .and_then(|l| start.checked_add(l));
    let Some((end, metadata)) = end.and_then(|end| Some((end, bytes.get(start..end)?))) else {
        return Err(malformed(
            at,
            format!("a message header of {length} bytes is cut off"),
        ));
    };
    let message = root_as_message_with_opts(&bounds(), metadata)
        .map_err(|e| malformed(at, format!("the message header is damaged ({})", brief(&e))))?;
    if !matches!(message.version(), MetadataVersion::V4 | MetadataVersion::V5) {
        return Err(Error::unsupported(
            "this is Arrow IPC from before version 0.8: write it with a newer Arrow library",
        ));
    }
    Ok(Some((message, end)))
}

/// The first line of an error of the verifier, which else prints a trace.
fn brief(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(120)
        .collect()
}

fn body(bytes: &[u8], message: &Message<'_>, start: usize) -> Result<Range<usize>> {
    let length = message.bodyLength();
    usize::try_from(length)
        .ok()
        .and_then(|l| start.checked_add(l))
        .filter(|&end| end <= bytes.len())
        .map(|end| start..end)
        .ok_or_else(|| {
            malformed(
                start,
                format!("a message body of {length} bytes is cut off"),
            )
        })
}

fn part<'a>(message: &Message<'a>, body: Range<usize>) -> Result<Part<'a>> {
    let missing = || malformed(body.start, "a message has no header");
    Ok(match message.header_type() {
        MessageHeader::DictionaryBatch => Part::Dictionary(
            message.header_as_dictionary_batch().ok_or_else(missing)?,
            body,
        ),
        MessageHeader::RecordBatch => {
            Part::Batch(message.header_as_record_batch().ok_or_else(missing)?, body)
        }
        MessageHeader::Schema => {
            return Err(malformed(
                body.start,
                "a second schema begins here: send each stream by itself",
            ));
        }
        _ => {
            return Err(Error::unsupported(
                "an Arrow message that is neither schema, dictionary nor batch: send tables, not tensors",
            ));
        }
    })
}

fn stream(bytes: &[u8], parts: bool) -> Result<(WireSchema, Vec<Part<'_>>)> {
    let Some((first, start)) = message(bytes, 0)? else {
        return Err(malformed(0, "it ends before its schema"));
    };
    let fb = first
        .header_as_schema()
        .ok_or_else(|| malformed(0, "it does not begin with a schema"))?;
    let schema = checked_schema(fb)?;
    let mut at = body(bytes, &first, start)?.end;
    let mut found = Vec::new();
    // A stream ends with a mark, or with the bytes.
    while parts && at < bytes.len() {
        let Some((message, start)) = message(bytes, at)? else {
            if let Some(extra) = bytes[at..].iter().skip(8).position(|&b| b != 0) {
                return Err(malformed(
                    at + 8 + extra,
                    "there is more after the end of the stream: send each stream by itself",
                ));
            }
            break;
        };
        let body = body(bytes, &message, start)?;
        at = body.end;
        found.push(part(&message, body)?);
    }
    Ok((schema, found))
}

fn file(bytes: &[u8], parts: bool) -> Result<(WireSchema, Vec<Part<'_>>)> {
    let cut = || malformed(bytes.len(), "the file's footer is cut off");
    let tail = bytes
        .len()
        .checked_sub(10)
        .filter(|&t| t >= 8)
        .ok_or_else(cut)?;
    if &bytes[tail + 4..] != MAGIC {
        return Err(cut());
    }
    let length = bytes[tail..tail + 4].try_into().map(i32::from_le_bytes);
    let length = usize::try_from(length.unwrap_or(-1)).map_err(|_| cut())?;
    let start = tail
        .checked_sub(length)
        .filter(|&s| s >= 8)
        .ok_or_else(cut)?;
    let footer = root_as_footer_with_opts(&bounds(), &bytes[start..tail]).map_err(|e| {
        malformed(
            start,
            format!("the file's footer is damaged ({})", brief(&e)),
        )
    })?;
    let fb = footer
        .schema()
        .ok_or_else(|| malformed(start, "the file's footer has no schema"))?;
    let schema = checked_schema(fb)?;
    let blocks = footer.dictionaries().into_iter().flatten();
    let blocks = blocks.chain(footer.recordBatches().into_iter().flatten());
    let (mut found, mut total) = (Vec::new(), 0usize);
    for block in blocks {
        if !parts {
            break;
        }
        let range = place(block, start)?;
        total = total.saturating_add(range.len());
        if total > start {
            return Err(malformed(range.start, "the file's messages overlap"));
        }
        found.push(block_part(&bytes[..range.end], block, range.start)?);
    }
    Ok((schema, found))
}

/// Where a block lies; `end` is where the footer begins.
fn place(block: &Block, end: usize) -> Result<Range<usize>> {
    let whole = || {
        let start = usize::try_from(block.offset()).ok().filter(|&s| s >= 8)?;
        let metadata = usize::try_from(block.metaDataLength()).ok()?;
        let body = usize::try_from(block.bodyLength()).ok()?;
        let last = start.checked_add(metadata)?.checked_add(body)?;
        (last <= end).then_some(start..last)
    };
    whole().ok_or_else(|| malformed(end, "the file's footer names a place outside of it"))
}

fn block_part<'a>(bytes: &'a [u8], block: &Block, at: usize) -> Result<Part<'a>> {
    let (message, start) =
        message(bytes, at)?.ok_or_else(|| malformed(at, "a message is missing"))?;
    // The footer says where the body begins; `place` checked it.
    let begin = at + usize::try_from(block.metaDataLength()).unwrap_or(0);
    if start > begin {
        return Err(malformed(
            at,
            "a message header is longer than the footer says",
        ));
    }
    let body = body(bytes, &message, begin)?;
    part(&message, body)
}

fn checked_schema(fb: arrow_ipc::Schema<'_>) -> Result<WireSchema> {
    if fb.endianness() != Endianness::Little {
        return Err(Error::unsupported(
            "this Arrow IPC is big-endian: write it little-endian",
        ));
    }
    let schema = try_fb_to_schema(fb)
        .map_err(|e| malformed(0, format!("the schema is damaged ({})", brief(&e))))?;
    let mut left = MAX_FIELDS;
    for field in schema.fields() {
        check_field(field, 0, &mut left)
            .map_err(|e| e.context(format!("column {}", super::shown(field.name()))))?;
    }
    Ok(schema)
}

fn check_field(field: &Field, depth: usize, left: &mut usize) -> Result<()> {
    // Keys of maps and entries of run-end arrays are levels too.
    if depth > 2 * MAX_TYPE_DEPTH {
        return Err(Error::invalid("its type is nested too deeply: flatten it"));
    }
    *left = left
        .checked_sub(1)
        .ok_or_else(|| Error::invalid("the schema has too many fields: send fewer"))?;
    check_type(field.data_type(), depth, left)
}

fn check_type(data_type: &DataType, depth: usize, left: &mut usize) -> Result<()> {
    use DataType::*;
    let fixed = |n: i32| match (0..=MAX_FIXED_SIZE).contains(&n) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "a fixed size of {n} is not possible: it is 0 to {MAX_FIXED_SIZE}"
        ))),
    };
    let mut inner = |f: &Field| check_field(f, depth + 1, left);
    match data_type {
        FixedSizeBinary(n) => fixed(*n),
        FixedSizeList(f, n) => fixed(*n).and_then(|()| inner(f)),
        List(f) | LargeList(f) | ListView(f) | LargeListView(f) => inner(f),
        Map(f, _) => match f.data_type() {
            Struct(parts) if parts.len() == 2 => inner(f),
            _ => Err(Error::invalid("a map's entries are not keys and values")),
        },
        Struct(fields) => fields.iter().try_for_each(|f| inner(f)),
        RunEndEncoded(ends, values) => match ends.data_type() {
            Int16 | Int32 | Int64 => inner(values),
            _ => Err(Error::invalid("run ends are not integers")),
        },
        Dictionary(_, values) => check_type(values, depth + 1, left),
        Union(_, _) => Err(Error::unsupported(
            "its type is a union: send a struct or several columns",
        )),
        _ => Ok(()),
    }
}
