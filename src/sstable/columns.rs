//! How a table's columns lie in a file. Invariants: columns match by field id, never by name or
//! place; what the file lacks is null; what it holds in a narrower type is widened.

use crate::{
    data::{
        convert::{self, null_bytes},
        key::{Keys, encode_keys},
        rows::{Rows, Stamps, Tombstones},
        schema::{OP_COLUMN, TS_COLUMN, TableSchema},
    },
    error::{Error, Result},
};
use arrow_array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, cast::AsArray, new_null_array,
    types::Int64Type,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::{
    arrow::{PARQUET_FIELD_ID_META_KEY, ProjectionMask},
    schema::types::SchemaDescriptor,
};
use std::sync::Arc;

/// The Arrow schema of a file: the table's storage schema with field ids, `_ts` unless fresh, `_op`.
pub(super) fn file_schema(schema: &TableSchema, fresh: bool) -> SchemaRef {
    let user = schema.storage().fields().iter().zip(schema.column_ids());
    let mut fields: Vec<FieldRef> = user
        .map(|(field, id)| {
            let mut metadata = field.metadata().clone();
            metadata.insert(PARQUET_FIELD_ID_META_KEY, id.to_string());
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        })
        .collect();
    if !fresh {
        fields.push(Arc::new(Field::new(TS_COLUMN, DataType::Int64, false)));
    }
    fields.push(Arc::new(Field::new(OP_COLUMN, DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}

/// Where each column of the table lies in a file, by index of its root fields.
#[derive(Debug)]
pub(super) struct FileColumns {
    /// Of each table column; `None`: added to the table after the file was written.
    pub(super) columns: Vec<Option<usize>>,
    pub(super) ts: Option<usize>,
    pub(super) op: Option<usize>,
}

impl FileColumns {
    pub(super) fn new(table: &TableSchema, file: &Schema) -> Self {
        let id_of = |f: &FieldRef| -> Option<u32> {
            f.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
        };
        let ids: Vec<Option<u32>> = file.fields().iter().map(id_of).collect();
        let at = |id: &u32| ids.iter().position(|i| *i == Some(*id));
        let reserved = |name: &str| {
            let unnumbered = |(i, f): (usize, &FieldRef)| ids[i].is_none() && f.name() == name;
            (0..ids.len()).zip(file.fields()).position(unnumbered)
        };
        Self {
            columns: table.column_ids().iter().map(at).collect(),
            ts: reserved(TS_COLUMN),
            op: reserved(OP_COLUMN),
        }
    }
}

/// What to decode of a file, and how to make [`Rows`] of it. Numbers are columns of what is decoded.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) mask: ProjectionMask,
    key: Vec<usize>,
    wanted: Vec<Option<usize>>,
    schema: SchemaRef,
    key_fields: Vec<FieldRef>,
    stamps: Origin,
    tombstones: Option<usize>,
    /// Root fields of the file that are decoded; ascending.
    roots: Vec<usize>,
}

/// Where timestamps come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// All rows carry this one.
    All(i64),
    /// Root field of the file.
    Column(usize),
}

impl Projection {
    /// `columns` of the table, the key, and what `stamps` and `tombstones` name of the file's roots.
    pub(super) fn new(
        table: &TableSchema,
        file: &FileColumns,
        descriptor: &SchemaDescriptor,
        columns: &[usize],
        stamps: Origin,
        tombstones: Option<usize>,
    ) -> Result<Self> {
        let root_of = |&column: &usize| {
            file.columns.get(column).copied().ok_or_else(|| {
                Error::internal(format!(
                    "a scan asks for column {column}, which the table lacks"
                ))
            })
        };
        let wanted: Vec<Option<usize>> = columns.iter().map(root_of).collect::<Result<_>>()?;
        let key: Vec<usize> = table
            .key()
            .iter()
            .map(|c| root_of(c)?.ok_or_else(|| Error::corrupt("an sstable lacks a key column")))
            .collect::<Result<_>>()?;
        let mut roots: Vec<usize> = wanted.iter().flatten().chain(&key).copied().collect();
        roots.extend(tombstones);
        if let Origin::Column(ts) = stamps {
            roots.push(ts);
        }
        roots.sort_unstable();
        roots.dedup();
        let at = |root: usize| roots.partition_point(|r| *r < root);
        let fields = table.storage().fields();
        let wanted_fields: Vec<FieldRef> = columns.iter().map(|c| fields[*c].clone()).collect();
        Ok(Self {
            mask: ProjectionMask::roots(descriptor, roots.iter().copied()),
            key: key.iter().map(|r| at(*r)).collect(),
            wanted: wanted.iter().map(|r| r.map(at)).collect(),
            schema: Arc::new(Schema::new(wanted_fields)),
            key_fields: table.key().iter().map(|c| fields[*c].clone()).collect(),
            stamps: match stamps {
                Origin::Column(root) => Origin::Column(at(root)),
                all => all,
            },
            tombstones: tombstones.map(at),
            roots,
        })
    }

    /// Bytes that a row of the wanted columns takes at least: more than the file says where a column is
    /// missing or was widened.
    pub(super) fn least_row_bytes(&self) -> u64 {
        let fields = self.schema.fields().iter();
        fields.map(|f| null_bytes(f.data_type(), 1)).sum()
    }

    /// The same for the key columns alone; only [`Self::keys`] fits what it decodes.
    pub(super) fn keys_only(self, descriptor: &SchemaDescriptor) -> Self {
        let mut roots: Vec<usize> = self.key.iter().map(|at| self.roots[*at]).collect();
        roots.sort_unstable();
        let at = |old: &usize| roots.partition_point(|r| *r < self.roots[*old]);
        Self {
            mask: ProjectionMask::roots(descriptor, roots.iter().copied()),
            key: self.key.iter().map(at).collect(),
            tombstones: None,
            stamps: Origin::All(0),
            roots,
            ..self
        }
    }

    /// The mask of what `other` does not decode; `None` if that is nothing.
    pub(super) fn without(
        &self,
        other: &Self,
        descriptor: &SchemaDescriptor,
    ) -> Option<ProjectionMask> {
        let rest = self
            .roots
            .iter()
            .copied()
            .filter(|r| !other.roots.contains(r));
        let rest: Vec<usize> = rest.collect();
        (!rest.is_empty()).then(|| ProjectionMask::roots(descriptor, rest))
    }

    /// What this decodes, from what `other` and what the mask of [`Self::without`] decoded.
    pub(super) fn join(
        &self,
        other: &Self,
        by_other: &RecordBatch,
        rest: &RecordBatch,
    ) -> Result<RecordBatch> {
        let mut rest =
            (0..rest.num_columns()).map(|i| (rest.schema_ref().field(i), rest.column(i)));
        let mut columns = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            match other.roots.binary_search(root) {
                Ok(i) => columns.push((by_other.schema_ref().field(i), by_other.column(i))),
                Err(_) => columns.extend(rest.next()),
            }
        }
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns
            .into_iter()
            .map(|(f, c)| (f.clone(), c.clone()))
            .unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|e| Error::corrupt(format!("columns of one row differ in length: {e}")))
    }

    /// The wanted columns of what was decoded.
    pub(super) fn batch(&self, decoded: &RecordBatch) -> Result<RecordBatch> {
        let rows = decoded.num_rows();
        let fields = self.schema.fields().iter();
        let columns: Vec<ArrayRef> = self
            .wanted
            .iter()
            .zip(fields)
            .map(|(source, field)| match source {
                Some(at) => typed(decoded.column(*at), field),
                None => Ok(new_null_array(field.data_type(), rows)),
            })
            .collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::corrupt(format!("decoded columns do not fit the table: {e}")))
    }

    /// The encoded keys of what was decoded.
    pub(super) fn keys(&self, decoded: &RecordBatch) -> Result<Keys> {
        let key: Vec<ArrayRef> = self
            .key
            .iter()
            .zip(&self.key_fields)
            .map(|(at, field)| typed(decoded.column(*at), field))
            .collect::<Result<_>>()?;
        encode_keys(&key)
    }

    /// Rows of what was decoded.
    pub(super) fn rows(&self, decoded: &RecordBatch) -> Result<Rows> {
        let stamps = match self.stamps {
            Origin::All(ts) => Stamps::All(ts),
            Origin::Column(at) => match decoded.column(at).as_primitive_opt::<Int64Type>() {
                Some(values) => Stamps::Each(values.clone()),
                None => return Err(Error::corrupt("column _ts is not int64")),
            },
        };
        let tombstones = match self.tombstones {
            None => Tombstones::None,
            Some(at) => match decoded.column(at).as_boolean_opt() {
                Some(marks) => Tombstones::from_bits(marks.values().clone()),
                None => return Err(Error::corrupt("column _op is not bool")),
            },
        };
        Ok(Rows {
            batch: self.batch(decoded)?,
            keys: self.keys(decoded)?,
            stamps,
            tombstones,
        })
    }
}

/// `array` as the table's type: widened if the file is older than the table's schema.
fn typed(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if array.data_type() == field.data_type() {
        return Ok(array.clone());
    }
    convert::convert(array, field.data_type(), field.name())
}
