//! A checkpoint: the whole version at one seq, inline rows above the floor included (PROTOCOL L2),
//! and CURRENT, the hint that names the newest one and embeds it while small (L3).
//!
//! CURRENT body: seq u64 · option checkpoint bytes. Checkpoint body: as `encode` writes it, in order.

use super::{
    catalog::{DroppedTable, Era, TableEntry},
    codec::{Decoder, Encoder},
    edit::TableId,
    edit::{
        decode_history, decode_kind, decode_meta, decode_schema, decode_settings, decode_slice,
        encode_history, encode_kind, encode_meta, encode_schema, encode_settings,
    },
    version::{Head, InlineRows, LiveFile, Version},
};
use crate::{error::Result, sstable::meta::Ulid};
use bytes::Bytes;
use std::sync::Arc;

const CHECKPOINT_MAGIC: &[u8; 4] = b"LKCP";
const CURRENT_MAGIC: &[u8; 4] = b"LKCU";

/// A checkpoint up to this size is embedded in CURRENT, in bytes: opening needs no further GET.
pub const EMBED_BYTES: usize = 128 * 1024;

/// The hint object's key.
pub const CURRENT_KEY: &str = "CURRENT";

/// The object key of the checkpoint at `seq`.
pub fn checkpoint_key(seq: u64) -> String {
    format!("checkpoint/{seq:020}")
}

/// The bytes of a checkpoint of `version`.
pub fn encode_checkpoint(version: &Version) -> Vec<u8> {
    let mut out = Encoder::new(CHECKPOINT_MAGIC);
    out.option(version.database.as_ref(), |out, id| out.raw(id));
    out.u64(version.head.seq);
    out.i64(version.head.ts);
    out.raw(&version.head.digest);
    out.u32(version.next_table);
    out.list(version.tables.iter(), |out, (id, table)| {
        encode_entry(out, *id, table);
    });
    out.list(version.dropped.iter(), |out, (id, table)| {
        encode_entry(out, *id, &table.entry);
        out.i64(table.ts);
    });
    out.list(version.files.iter(), |out, (id, files)| {
        out.u32(*id);
        out.list(files.iter(), |out, file| {
            out.section(|out| encode_meta(out, &file.meta));
            out.i64(file.added_ts);
            out.u32(file.schema_version);
        });
    });
    out.list(version.inline.iter(), |out, rows| {
        out.u64(rows.seq);
        out.i64(rows.ts);
        out.u32(rows.table);
        out.u32(rows.schema_version);
        encode_kind(out, rows.kind);
        out.bytes(&rows.ipc);
    });
    out.u64(version.inline_floor);
    out.list(version.wal_floors.iter(), |out, (session, (frame, ts))| {
        out.raw(session);
        out.u64(*frame);
        out.i64(*ts);
    });
    out.raw(&version.orphan_floor.0);
    out.i64(version.watermark);
    out.list(version.tags.iter(), |out, (name, ts)| {
        out.text(name);
        out.i64(*ts);
    });
    out.option(version.settings.as_ref(), encode_settings);
    out.finish()
}

/// Reads a checkpoint back.
pub fn decode_checkpoint(object: &str, bytes: &Bytes) -> Result<Version> {
    let mut input = Decoder::new(object, CHECKPOINT_MAGIC, bytes)?;
    let input = &mut input;
    let version = Version {
        database: input.option(|input| input.array())?,
        head: Head {
            seq: input.u64()?,
            ts: input.i64()?,
            digest: input.array()?,
        },
        next_table: input.u32()?,
        tables: input.list(decode_entry)?.into_iter().collect(),
        dropped: (input.list(|input| {
            let (id, entry) = decode_entry(input)?;
            let ts = input.i64()?;
            Ok((id, DroppedTable { entry, ts }))
        })?)
        .into_iter()
        .collect(),
        files: (input.list(|input| {
            let id = input.u32()?;
            let files = input.list(|input| {
                let meta = Arc::new(input.section(decode_meta)?);
                Ok(LiveFile {
                    meta,
                    added_ts: input.i64()?,
                    schema_version: input.u32()?,
                })
            })?;
            Ok((id, Arc::new(files)))
        })?)
        .into_iter()
        .collect(),
        inline: Arc::new(input.list(|input| {
            Ok(InlineRows {
                seq: input.u64()?,
                ts: input.i64()?,
                table: input.u32()?,
                schema_version: input.u32()?,
                kind: decode_kind(input)?,
                ipc: decode_slice(input, bytes)?,
            })
        })?),
        inline_floor: input.u64()?,
        wal_floors: (input.list(|input| Ok((input.array()?, (input.u64()?, input.i64()?))))?)
            .into_iter()
            .collect(),
        orphan_floor: Ulid(input.array()?),
        watermark: input.i64()?,
        tags: input
            .list(|input| Ok((input.text()?, input.i64()?)))?
            .into_iter()
            .collect(),
        settings: input.option(decode_settings)?,
    };
    input.end()?;
    let stamps = version.inline.iter().map(|rows| rows.ts);
    if !version.head.is_possible() || stamps.max() > Some(version.head.ts) {
        return Err(input.corrupt("its numbers and timestamps are none that a log comes to"));
    }
    match check_past(&version) {
        Ok(()) => Ok(version),
        Err(why) => Err(input.corrupt(why)),
    }
}

fn encode_entry(out: &mut Encoder, id: TableId, table: &TableEntry) {
    out.u32(id);
    out.text(&table.name);
    out.u32(table.schema_version);
    encode_schema(out, &table.schema);
    encode_history(out, &table.history);
    out.list(table.eras.iter(), |out, era| {
        out.u32(era.version);
        out.i64(era.since);
        out.text(&era.name);
    });
}

fn decode_entry(input: &mut Decoder<'_>) -> Result<(TableId, TableEntry)> {
    let (id, name, schema_version) = (input.u32()?, input.text()?, input.u32()?);
    let schema = Arc::new(decode_schema(input)?);
    let history = Arc::new(decode_history(input, &schema, schema_version)?);
    let eras = input.list(|input| {
        Ok(Era {
            version: input.u32()?,
            since: input.i64()?,
            name: input.text()?,
        })
    })?;
    let entry = TableEntry {
        name,
        schema,
        schema_version,
        history,
        eras: Arc::new(eras),
    };
    Ok((id, entry))
}

/// What reads of the past go by.
fn check_past(version: &Version) -> Result<(), &'static str> {
    let head = version.head.ts;
    for entry in version.tables.values() {
        entry.check_eras(head)?;
    }
    for (id, table) in &version.dropped {
        table.entry.check_eras(table.ts)?;
        let late = table.ts > head || table.ts <= version.watermark;
        if late || version.tables.contains_key(id) || *id >= version.next_table {
            return Err("a dropped table is none that reads of the past could see");
        }
    }
    Ok(())
}

/// The bytes of CURRENT for the checkpoint at `seq` with these bytes.
pub fn encode_current(seq: u64, checkpoint: &[u8]) -> Vec<u8> {
    let mut out = Encoder::new(CURRENT_MAGIC);
    out.u64(seq);
    let embedded = (checkpoint.len() <= EMBED_BYTES).then_some(checkpoint);
    out.option(embedded, |out, bytes| out.bytes(bytes));
    out.finish()
}

/// Reads CURRENT: the seq it names, and the checkpoint's bytes if embedded.
pub fn decode_current(bytes: &Bytes) -> Result<(u64, Option<Bytes>)> {
    let mut input = Decoder::new(CURRENT_KEY, CURRENT_MAGIC, bytes)?;
    let seq = input.u64()?;
    let embedded = input.option(|input| decode_slice(input, bytes))?;
    input.end()?;
    Ok((seq, embedded))
}
