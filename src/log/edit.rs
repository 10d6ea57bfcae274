//! The edits of a log record (PROTOCOL N1) and their bytes. Each is a tag u16 and a section; an
//! unknown tag is `Unsupported`, for skipping one would be a wrong database.

use super::codec::{Decoder, Encoder};
use crate::{
    data::{
        history::{ColumnHistory, PastColumn},
        intake,
        schema::TableSchema,
    },
    error::{Error, Result},
    merge::Kind,
    sstable::meta::{ColumnStats, SstableMeta, Ulid},
    wal::SessionId,
};
use arrow_schema::{FieldRef, Schema};
use bytes::Bytes;
use std::sync::Arc;

/// Number of a table, given once and never reused.
pub type TableId = u32;

/// One change of the database.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Rows of a small commit, as an Arrow IPC stream.
    Rows {
        /// Their table.
        table: TableId,
        /// The schema version they were validated against.
        schema_version: u32,
        /// Upsert (storage columns) or delete (key columns).
        kind: Kind,
        /// A complete IPC stream.
        ipc: Bytes,
    },
    /// An sstable goes live.
    AddSstable {
        /// Its table.
        table: TableId,
        /// The schema version it was written under.
        schema_version: u32,
        /// All the log knows of it.
        meta: Arc<SstableMeta>,
    },
    /// An sstable goes out of use.
    RemoveSstable {
        /// Its table.
        table: TableId,
        /// Its name.
        id: Ulid,
    },
    /// A table comes into being.
    CreateTable {
        /// Its number: the catalog's next.
        table: TableId,
        /// Its name.
        name: String,
        /// Its schema.
        schema: Arc<TableSchema>,
    },
    /// A table gets its next schema version.
    AlterTable {
        /// Which.
        table: TableId,
        /// Its name from now on.
        name: String,
        /// Its schema from now on.
        schema: Arc<TableSchema>,
    },
    /// A table is gone, with all its rows.
    DropTable {
        /// Which.
        table: TableId,
    },
    /// Inline rows of records `from..=to` are in sstables now (PROTOCOL L1).
    InlineFloor {
        /// The floor before.
        from: u64,
        /// The floor from now on.
        to: u64,
    },
    /// All frames of a session up to this one are in the log (PROTOCOL W3).
    WalFloor {
        /// Which WAL open.
        session: SessionId,
        /// Its last uploaded frame, the end of a commit.
        frame: u64,
    },
    /// No sstable whose name is at or below this may be added any more (PROTOCOL G3).
    OrphanFloor {
        /// The greatest refused name.
        ulid: Ulid,
    },
    /// Reads as of less than this are `Expired` (PROTOCOL G1).
    Watermark {
        /// Microseconds since the Unix epoch.
        ts: i64,
    },
    /// A named timestamp that pins the watermark.
    Tag {
        /// Its name.
        name: String,
        /// Microseconds since the Unix epoch.
        ts: i64,
    },
    /// A tag goes.
    Untag {
        /// Its name.
        name: String,
    },
    /// Retention, grace and bounds that every handle uses (PROTOCOL N3).
    Settings(Settings),
}

/// Bounds kept in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Grace time, in microseconds.
    pub grace: u64,
    /// Retention, in microseconds.
    pub retention: u64,
    /// Largest inline commit, in bytes.
    pub inline_commit_bytes: u64,
    /// Records between checkpoints.
    pub checkpoint_records: u64,
    /// Bytes of log tail between checkpoints.
    pub checkpoint_bytes: u64,
}

pub(super) fn encode_edit(out: &mut Encoder, edit: &Edit) {
    out.u16(match edit {
        Edit::Rows { .. } => 1,
        Edit::AddSstable { .. } => 2,
        Edit::RemoveSstable { .. } => 3,
        Edit::CreateTable { .. } => 4,
        Edit::AlterTable { .. } => 5,
        Edit::DropTable { .. } => 6,
        Edit::InlineFloor { .. } => 7,
        Edit::WalFloor { .. } => 8,
        Edit::OrphanFloor { .. } => 9,
        Edit::Watermark { .. } => 10,
        Edit::Tag { .. } => 11,
        Edit::Untag { .. } => 12,
        Edit::Settings(_) => 13,
    });
    out.section(|out| match edit {
        Edit::Rows {
            table,
            schema_version,
            kind,
            ipc,
        } => {
            out.u32(*table);
            out.u32(*schema_version);
            encode_kind(out, *kind);
            out.bytes(ipc);
        }
        Edit::AddSstable {
            table,
            schema_version,
            meta,
        } => {
            out.u32(*table);
            out.u32(*schema_version);
            encode_meta(out, meta);
        }
        Edit::RemoveSstable { table, id } => {
            out.u32(*table);
            out.raw(&id.0);
        }
        Edit::CreateTable {
            table,
            name,
            schema,
        }
        | Edit::AlterTable {
            table,
            name,
            schema,
        } => {
            out.u32(*table);
            out.text(name);
            encode_schema(out, schema);
        }
        Edit::DropTable { table } => out.u32(*table),
        Edit::InlineFloor { from, to } => {
            out.u64(*from);
            out.u64(*to);
        }
        Edit::WalFloor { session, frame } => {
            out.raw(session);
            out.u64(*frame);
        }
        Edit::OrphanFloor { ulid } => out.raw(&ulid.0),
        Edit::Watermark { ts } => out.i64(*ts),
        Edit::Tag { name, ts } => {
            out.text(name);
            out.i64(*ts);
        }
        Edit::Untag { name } => out.text(name),
        Edit::Settings(settings) => encode_settings(out, settings),
    });
}

/// `whole` is the object `input` reads, so that IPC bytes are sliced, not copied.
pub(super) fn decode_edit(input: &mut Decoder<'_>, whole: &Bytes) -> Result<Edit> {
    let tag = input.u16()?;
    input.section(|input| {
        Ok(match tag {
            1 => Edit::Rows {
                table: input.u32()?,
                schema_version: input.u32()?,
                kind: decode_kind(input)?,
                ipc: decode_slice(input, whole)?,
            },
            2 => Edit::AddSstable {
                table: input.u32()?,
                schema_version: input.u32()?,
                meta: Arc::new(decode_meta(input)?),
            },
            3 => Edit::RemoveSstable {
                table: input.u32()?,
                id: Ulid(input.array()?),
            },
            4 | 5 => {
                let (table, name) = (input.u32()?, input.text()?);
                let schema = Arc::new(decode_schema(input)?);
                match tag {
                    4 => Edit::CreateTable {
                        table,
                        name,
                        schema,
                    },
                    _ => Edit::AlterTable {
                        table,
                        name,
                        schema,
                    },
                }
            }
            6 => Edit::DropTable {
                table: input.u32()?,
            },
            7 => Edit::InlineFloor {
                from: input.u64()?,
                to: input.u64()?,
            },
            8 => Edit::WalFloor {
                session: input.array()?,
                frame: input.u64()?,
            },
            9 => Edit::OrphanFloor {
                ulid: Ulid(input.array()?),
            },
            10 => Edit::Watermark { ts: input.i64()? },
            11 => Edit::Tag {
                name: input.text()?,
                ts: input.i64()?,
            },
            12 => Edit::Untag {
                name: input.text()?,
            },
            13 => Edit::Settings(decode_settings(input)?),
            other => {
                return Err(Error::unsupported(format!(
                    "a log record has an edit of kind {other}, made by a newer Lakeshore: update"
                )));
            }
        })
    })
}

pub(super) fn decode_slice(input: &mut Decoder<'_>, whole: &Bytes) -> Result<Bytes> {
    let length = input.u32()? as usize;
    let start = input.offset();
    input.raw(length)?;
    Ok(whole.slice(start..start + length))
}

pub(super) fn encode_kind(out: &mut Encoder, kind: Kind) {
    out.u8(match kind {
        Kind::Upsert => 0,
        Kind::Delete => 1,
    });
}

pub(super) fn decode_kind(input: &mut Decoder<'_>) -> Result<Kind> {
    match input.u8()? {
        0 => Ok(Kind::Upsert),
        1 => Ok(Kind::Delete),
        other => Err(input.corrupt(format!("{other} is no kind of rows"))),
    }
}

pub(super) fn encode_settings(out: &mut Encoder, s: &Settings) {
    for v in [
        s.grace,
        s.retention,
        s.inline_commit_bytes,
        s.checkpoint_records,
        s.checkpoint_bytes,
    ] {
        out.u64(v);
    }
}

pub(super) fn decode_settings(input: &mut Decoder<'_>) -> Result<Settings> {
    Ok(Settings {
        grace: input.u64()?,
        retention: input.u64()?,
        inline_commit_bytes: input.u64()?,
        checkpoint_records: input.u64()?,
        checkpoint_bytes: input.u64()?,
    })
}

/// Arrow schema as an IPC stream without batches · column ids · key · next column id.
pub(super) fn encode_schema(out: &mut Encoder, schema: &TableSchema) {
    // Writing a schema of our own into memory cannot fail; an empty one would fail its reader.
    let ipc = intake::write_ipc(schema.user(), &[]).unwrap_or_default();
    out.bytes(&ipc);
    out.list(schema.column_ids().iter(), |out, id| out.u32(*id));
    out.list(schema.key().iter(), |out, index| out.u32(*index as u32));
    out.u32(schema.next_column_id());
}

pub(super) fn decode_schema(input: &mut Decoder<'_>) -> Result<TableSchema> {
    let ipc = input.bytes()?;
    let columns = intake::schema_of_ipc(ipc).map_err(|e| input.corrupt(e))?;
    let ids = input.list(|input| input.u32())?;
    let key = input.list(|input| Ok(input.u32()? as usize))?;
    let next = input.u32()?;
    TableSchema::from_parts(columns, ids, key, next).map_err(|e| input.corrupt(e))
}

/// Since when each column is as it is · columns of the past · an IPC stream without batches with their
/// fields, in that order.
pub(super) fn encode_history(out: &mut Encoder, history: &ColumnHistory) {
    out.list(history.since().iter(), |out, version| out.u32(*version));
    out.list(history.past().iter(), |out, past| {
        for v in [past.id, past.first, past.last] {
            out.u32(v);
        }
    });
    if !history.past().is_empty() {
        let fields: Vec<FieldRef> = history.past().iter().map(|p| p.field.clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        // As in `encode_schema`.
        out.bytes(&intake::write_ipc(&schema, &[]).unwrap_or_default());
    }
}

pub(super) fn decode_history(
    input: &mut Decoder<'_>,
    schema: &TableSchema,
    version: u32,
) -> Result<ColumnHistory> {
    let since = input.list(|input| input.u32())?;
    let spans = input.list(|input| Ok((input.u32()?, input.u32()?, input.u32()?)))?;
    let fields = match spans.is_empty() {
        true => Vec::new(),
        false => intake::schema_of_ipc(input.bytes()?).map_err(|e| input.corrupt(e))?,
    };
    if fields.len() != spans.len() {
        return Err(input.corrupt("the fields of a table's history do not fit its columns"));
    }
    let past = (spans.into_iter().zip(fields))
        .map(|((id, first, last), field)| PastColumn {
            id,
            first,
            last,
            field,
        })
        .collect();
    ColumnHistory::from_parts(schema, version, since, past)
        .map_err(|why| input.corrupt(format!("a table's history: {why}")))
}

pub(super) fn encode_meta(out: &mut Encoder, meta: &SstableMeta) {
    out.raw(&meta.id.0);
    for v in [meta.rows, meta.tombstones, meta.bytes, meta.footer_bytes] {
        out.u64(v);
    }
    out.u32(meta.footer_crc);
    out.bytes(&meta.min_key);
    out.bytes(&meta.max_key);
    out.option(meta.stamps, |out, (min, max)| {
        out.i64(min);
        out.i64(max);
    });
    out.bool(meta.multi_version);
    out.list(meta.columns.iter(), |out, c| {
        out.u32(c.column_id);
        out.option(c.min.as_ref(), |out, v| out.bytes(v));
        out.option(c.max.as_ref(), |out, v| out.bytes(v));
        out.u64(c.nulls);
        out.u64(c.nans);
    });
}

pub(super) fn decode_meta(input: &mut Decoder<'_>) -> Result<SstableMeta> {
    Ok(SstableMeta {
        id: Ulid(input.array()?),
        rows: input.u64()?,
        tombstones: input.u64()?,
        bytes: input.u64()?,
        footer_bytes: input.u64()?,
        footer_crc: input.u32()?,
        min_key: input.bytes()?.to_vec(),
        max_key: input.bytes()?.to_vec(),
        stamps: input.option(|input| Ok((input.i64()?, input.i64()?)))?,
        multi_version: input.bool()?,
        columns: input.list(|input| {
            Ok(ColumnStats {
                column_id: input.u32()?,
                min: input.option(|input| Ok(input.bytes()?.to_vec()))?,
                max: input.option(|input| Ok(input.bytes()?.to_vec()))?,
                nulls: input.u64()?,
                nans: input.u64()?,
            })
        })?,
    })
}
