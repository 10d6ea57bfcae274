//! Builds arrays from verified messages. Invariants: every length is held against its buffer before
//! use, every array is made by arrow's checking constructors (offsets, UTF-8, dictionary keys), and
//! memory that is not the caller's own bytes is paid from the budget first. arrow-ipc's own decoder
//! is not used: malformed input can make it panic, which traps in wasm.

use super::{
    Budget, Limits,
    frame::{Messages, Part, malformed},
};
use crate::{
    data::spec::type_name,
    error::{Error, Result},
};
use arrow_array::GenericByteViewArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray,
    GenericByteArray, GenericListArray, GenericListViewArray, MapArray, NullArray, OffsetSizeTrait,
    RunArray, StructArray, cast::AsArray, downcast_integer, make_array, new_empty_array, types::*,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};
use arrow_data::ArrayData;
use arrow_ipc::{BodyCompressionMethod, CompressionType, FieldNode};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields};
use flatbuffers::VectorIter;
use std::{collections::HashMap, io::Read, ops::Range, sync::Arc};

/// Decoded columns (`None` where unwanted) and the number of rows.
pub(super) type Columns = (Vec<Option<ArrayRef>>, usize);

/// Decodes the wanted columns of every batch.
pub(super) fn batches(
    messages: &Messages<'_>,
    wanted: &[bool],
    limits: &Limits,
    budget: &mut Budget,
) -> Result<Vec<Columns>> {
    let whole = Buffer::from(messages.bytes.clone());
    let mut types = HashMap::new();
    for field in messages.schema.fields() {
        dictionary_types(field, &mut types)?;
    }
    let mut dictionaries: HashMap<i64, ArrayRef> = HashMap::new();
    let mut out = Vec::new();
    for part in &messages.parts {
        match part {
            Part::Dictionary(batch, body) => {
                let at = body.start;
                let id = batch.id();
                let value_type = types
                    .get(&id)
                    .ok_or_else(|| malformed(at, format!("no column has the dictionary {id}")))?;
                let data = batch
                    .data()
                    .ok_or_else(|| malformed(at, "a dictionary has no data"))?;
                let field = Field::new("dictionary", value_type.clone(), true);
                let mut decoder = Decoder::new(&whole, body, data, &dictionaries, budget)?;
                let values = decoder.array(&field)?;
                decoder.finish()?;
                if values.len() as i64 != data.length() {
                    return Err(malformed(at, "a dictionary's length is not its column's"));
                }
                let values = match dictionaries.get(&id).filter(|_| batch.isDelta()) {
                    Some(old) => extend(old, &values, at, budget)?,
                    None => values,
                };
                dictionaries.insert(id, values);
            }
            Part::Batch(batch, body) => {
                let rows = usize::try_from(batch.length())
                    .map_err(|_| malformed(body.start, "a batch has a negative length"))?;
                if rows > limits.rows {
                    return Err(Error::invalid(format!(
                        "a batch of {rows} rows is too large: a commit takes at most {}",
                        limits.rows
                    )));
                }
                budget.rows(rows)?;
                let mut decoder = Decoder::new(&whole, body, *batch, &dictionaries, budget)?;
                let mut columns = Vec::with_capacity(messages.schema.fields().len());
                for (field, wanted) in messages.schema.fields().iter().zip(wanted) {
                    columns.push(decoder.column(field, *wanted, rows)?);
                }
                decoder.finish()?;
                out.push((columns, rows));
            }
        }
    }
    Ok(out)
}

/// Adds a delta to a dictionary.
fn extend(old: &ArrayRef, more: &ArrayRef, at: usize, budget: &mut Budget) -> Result<ArrayRef> {
    let bytes = |a: &ArrayRef| crate::data::convert::slice_bytes(a, 0, a.len()) as usize;
    budget.spend(bytes(old).saturating_add(bytes(more)))?;
    arrow_select::concat::concat(&[old.as_ref(), more.as_ref()])
        .map_err(|e| malformed(at, format!("a dictionary's delta does not fit it ({e})")))
}

/// The dictionary id of a field of a decoded schema.
fn dictionary_id(field: &Field) -> Option<i64> {
    #[expect(deprecated)] // There is no other way to it but to parse the schema oneself.
    field.dict_id()
}

fn dictionary_types(field: &Field, types: &mut HashMap<i64, DataType>) -> Result<()> {
    use DataType::*;
    let mut data_type = field.data_type();
    if let Dictionary(_, values) = data_type {
        let id = dictionary_id(field)
            .ok_or_else(|| malformed(0, "a dictionary column has no dictionary id"))?;
        if types
            .insert(id, values.as_ref().clone())
            .is_some_and(|other| other != **values)
        {
            return Err(malformed(
                0,
                format!("the dictionary {id} has two types of values"),
            ));
        }
        data_type = values;
    }
    match data_type {
        List(f)
        | LargeList(f)
        | ListView(f)
        | LargeListView(f)
        | FixedSizeList(f, _)
        | Map(f, _)
        | RunEndEncoded(_, f) => dictionary_types(f, types),
        Struct(fields) => fields.iter().try_for_each(|f| dictionary_types(f, types)),
        _ => Ok(()),
    }
}

struct Decoder<'a> {
    nodes: VectorIter<'a, FieldNode>,
    buffers: VectorIter<'a, arrow_ipc::Buffer>,
    variadic: Option<VectorIter<'a, i64>>,
    body: Buffer,
    /// Where the body begins, for messages.
    at: usize,
    /// Bytes of the body that no buffer has claimed yet.
    unclaimed: usize,
    lz4: bool,
    dictionaries: &'a HashMap<i64, ArrayRef>,
    budget: &'a mut Budget,
}

impl<'a> Decoder<'a> {
    fn new(
        whole: &Buffer,
        body: &Range<usize>,
        batch: arrow_ipc::RecordBatch<'a>,
        dictionaries: &'a HashMap<i64, ArrayRef>,
        budget: &'a mut Budget,
    ) -> Result<Self> {
        let lz4 = match batch.compression() {
            None => false,
            Some(c) if c.method() != BodyCompressionMethod::BUFFER => {
                return Err(malformed(body.start, "an unknown way of compression"));
            }
            Some(c) if c.codec() == CompressionType::LZ4_FRAME => true,
            Some(c) if c.codec() == CompressionType::ZSTD => {
                return Err(Error::unsupported(
                    "Arrow IPC compressed with zstd: write it with lz4 or without compression",
                ));
            }
            Some(_) => return Err(malformed(body.start, "an unknown compression")),
        };
        let missing = |what| malformed(body.start, format!("a batch has no {what}"));
        Ok(Self {
            nodes: batch.nodes().ok_or_else(|| missing("nodes"))?.iter(),
            buffers: batch.buffers().ok_or_else(|| missing("buffers"))?.iter(),
            variadic: batch.variadicBufferCounts().map(|v| v.iter()),
            body: whole.slice_with_length(body.start, body.len()),
            at: body.start,
            unclaimed: body.len(),
            lz4,
            dictionaries,
            budget,
        })
    }

    fn column(&mut self, field: &Field, wanted: bool, rows: usize) -> Result<Option<ArrayRef>> {
        let name = |e: Error| e.context(format!("column {}", super::shown(field.name())));
        if !wanted {
            self.skip(field.data_type()).map_err(name)?;
            return Ok(None);
        }
        self.budget.spend(super::ARRAY_BYTES)?;
        let array = self.array(field).map_err(name)?;
        match array.len() == rows {
            true => Ok(Some(array)),
            false => Err(name(
                self.wrong(format!("it has {} rows, the batch {rows}", array.len())),
            )),
        }
    }

    /// Everything must have been used: else schema and batch do not belong together.
    fn finish(mut self) -> Result<()> {
        let variadic = self.variadic.as_mut().and_then(Iterator::next).is_some();
        match self.nodes.next().is_some() || self.buffers.next().is_some() || variadic {
            true => Err(self.wrong("a batch has more parts than its schema")),
            false => Ok(()),
        }
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        malformed(self.at, what)
    }

    fn refused(&self, e: ArrowError) -> Error {
        self.wrong(e)
    }

    /// Length and number of nulls of the next array.
    fn node(&mut self) -> Result<(usize, usize)> {
        let node = self
            .nodes
            .next()
            .ok_or_else(|| self.wrong("a batch has fewer arrays than its schema"))?;
        let fits = |n: i64| usize::try_from(n).ok().filter(|&n| n <= i32::MAX as usize);
        match (fits(node.length()), fits(node.null_count())) {
            (Some(length), Some(nulls)) if nulls <= length => Ok((length, nulls)),
            _ => Err(self.wrong(format!(
                "an array of {} values, {} of them null, is not possible",
                node.length(),
                node.null_count()
            ))),
        }
    }

    /// The next buffer, uncompressed, at least `least` bytes.
    fn buffer(&mut self, least: Option<usize>) -> Result<Buffer> {
        let place = self
            .buffers
            .next()
            .ok_or_else(|| self.wrong("a batch has fewer buffers than its schema"))?;
        let range = || {
            let start = usize::try_from(place.offset()).ok()?;
            let length = usize::try_from(place.length()).ok()?;
            (start.checked_add(length)? <= self.body.len()).then_some((start, length))
        };
        let (start, length) = range().ok_or_else(|| {
            self.wrong(format!(
                "a buffer of {} bytes at {} lies outside its message",
                place.length(),
                place.offset()
            ))
        })?;
        // Buffers that overlap would make the work unbounded.
        self.unclaimed = self
            .unclaimed
            .checked_sub(length)
            .ok_or_else(|| self.wrong("buffers overlap"))?;
        let mut buffer = self.body.slice_with_length(start, length);
        if self.lz4 && length > 0 {
            buffer = self.unpack(&buffer)?;
        }
        match least {
            Some(least) if buffer.len() >= least => Ok(buffer),
            _ => Err(self.wrong(format!(
                "a buffer of {} bytes is too short for its array",
                buffer.len()
            ))),
        }
    }

    /// lz4: 8 bytes of plain length (-1: not compressed), then an lz4 frame.
    fn unpack(&mut self, packed: &Buffer) -> Result<Buffer> {
        let prefix: [u8; 8] = packed
            .as_slice()
            .get(..8)
            .and_then(|b| b.try_into().ok())
            .ok_or_else(|| self.wrong("a compressed buffer has no length"))?;
        let frame = packed.slice(8);
        let declared = i64::from_le_bytes(prefix);
        if declared == -1 {
            return Ok(frame);
        }
        // lz4 does not shrink more than 255 to 1: more is a lie.
        let length = usize::try_from(declared)
            .ok()
            .filter(|&l| l / 256 <= frame.len())
            .ok_or_else(|| self.wrong(format!("a compressed buffer claims {declared} bytes")))?;
        self.budget.spend(length)?;
        let mut plain = Vec::with_capacity(length);
        let mut reader = lz4_flex::frame::FrameDecoder::new(frame.as_slice()).take(length as u64);
        let read = reader.read_to_end(&mut plain);
        let rest = reader.into_inner().read(&mut [0u8; 1]);
        match (read, rest) {
            (Ok(read), Ok(0)) if read == length => Ok(Buffer::from_vec(plain)),
            _ => Err(self.wrong("a compressed buffer is damaged")),
        }
    }

    /// Bytes of `count` values of `width`.
    fn need(&self, count: usize, width: usize) -> Result<Option<usize>> {
        match count.checked_mul(width) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(self.wrong(format!("an array of {count} values is not possible"))),
        }
    }

    fn nulls(&mut self, length: usize, nulls: usize) -> Result<Option<NullBuffer>> {
        if nulls == 0 {
            self.buffer(Some(0))?;
            return Ok(None);
        }
        let bits = self.buffer(Some(length.div_ceil(8)))?;
        let found = NullBuffer::new(BooleanBuffer::new(bits, 0, length));
        match found.null_count() == nulls {
            true => Ok(Some(found)),
            false => Err(self.wrong(format!(
                "an array has {} nulls and claims {nulls}",
                found.null_count()
            ))),
        }
    }

    /// Numbers, copied only if they lie askew.
    fn numbers<T: ArrowNativeType>(&mut self, count: usize) -> Result<ScalarBuffer<T>> {
        let least = self.need(count, size_of::<T>())?;
        let buffer = self.buffer(least)?;
        let buffer = self.aligned(buffer, align_of::<T>())?;
        Ok(ScalarBuffer::new(buffer, 0, count))
    }

    fn aligned(&mut self, buffer: Buffer, alignment: usize) -> Result<Buffer> {
        if buffer.as_ptr().align_offset(alignment) == 0 {
            return Ok(buffer);
        }
        self.budget.spend(buffer.len())?;
        Ok(Buffer::from(buffer.as_slice()))
    }

    fn offsets<O: OffsetSizeTrait>(&mut self, length: usize) -> Result<OffsetBuffer<O>> {
        if length == 0 {
            // Writers may leave the buffer out.
            self.buffer(Some(0))?;
            return Ok(OffsetBuffer::new_empty());
        }
        let offsets = self.numbers::<O>(length + 1)?;
        let ascending = offsets.windows(2).all(|w| w[0] <= w[1]);
        // On wasm32 arrow cuts large offsets down to 32 bits: they would pass its checks and lie later.
        let addressable = offsets[length].to_usize().is_some();
        match ascending && addressable && offsets[0] >= O::default() {
            true => Ok(OffsetBuffer::new(offsets)),
            false => Err(self.wrong("the offsets of an array do not ascend, or lead too far")),
        }
    }

    fn array(&mut self, field: &Field) -> Result<ArrayRef> {
        use DataType::*;
        match field.data_type() {
            Null => Ok(Arc::new(NullArray::new(self.node()?.0))),
            Boolean => self.booleans(),
            Utf8 => self.bytes::<Utf8Type>(),
            LargeUtf8 => self.bytes::<LargeUtf8Type>(),
            Binary => self.bytes::<BinaryType>(),
            LargeBinary => self.bytes::<LargeBinaryType>(),
            Utf8View => self.views::<StringViewType>(),
            BinaryView => self.views::<BinaryViewType>(),
            FixedSizeBinary(n) => self.fixed_bytes(*n),
            List(f) => self.list::<i32>(f),
            LargeList(f) => self.list::<i64>(f),
            ListView(f) => self.list_view::<i32>(f),
            LargeListView(f) => self.list_view::<i64>(f),
            FixedSizeList(f, n) => self.fixed_list(f, *n),
            Struct(fields) => self.structure(fields),
            Map(entries, sorted) => self.map(entries, *sorted),
            Dictionary(key, values) => self.dictionary(field, key, values),
            RunEndEncoded(ends, values) => self.runs(ends, values),
            other => self.primitive(other),
        }
    }

    fn primitive(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let width = data_type.primitive_width().ok_or_else(|| {
            Error::unsupported(format!("the type {}: convert it", type_name(data_type)))
        })?;
        let nulls = self.nulls(length, nulls)?;
        let least = self.need(length, width)?;
        let buffer = self.buffer(least)?;
        let buffer = self.aligned(buffer, width.min(16))?;
        let data = ArrayData::builder(data_type.clone())
            .len(length)
            .add_buffer(buffer)
            .nulls(nulls)
            .build()
            .map_err(|e| self.refused(e))?;
        Ok(make_array(data))
    }

    fn booleans(&mut self) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let bits = self.buffer(Some(length.div_ceil(8)))?;
        Ok(Arc::new(BooleanArray::new(
            BooleanBuffer::new(bits, 0, length),
            nulls,
        )))
    }

    fn bytes<T: ByteArrayType>(&mut self) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let offsets = self.offsets::<T::Offset>(length)?;
        let values = self.buffer(Some(0))?;
        if offsets.last().as_usize() > values.len() {
            return Err(self.wrong("the offsets of an array lie outside its values"));
        }
        let made = GenericByteArray::<T>::try_new(offsets.clone(), values.clone(), nulls.clone());
        let made = match (made, nulls) {
            // Text under a null may be none; ours never is.
            (Err(_), Some(nulls)) => {
                let (offsets, values) = self.shown(&offsets, &values, &nulls)?;
                GenericByteArray::<T>::try_new(offsets, values, Some(nulls))
            }
            (made, _) => made,
        };
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    /// The same without the bytes of nulls.
    fn shown<O: OffsetSizeTrait>(
        &mut self,
        offsets: &OffsetBuffer<O>,
        values: &Buffer,
        nulls: &NullBuffer,
    ) -> Result<(OffsetBuffer<O>, Buffer)> {
        self.budget.spend(values.len())?;
        let mut shown = Vec::with_capacity(values.len());
        let mut lengths = Vec::with_capacity(nulls.len());
        for (row, pair) in offsets.windows(2).enumerate() {
            let value = match nulls.is_null(row) {
                true => &[][..],
                false => values
                    .get(pair[0].as_usize()..pair[1].as_usize())
                    .unwrap_or_default(),
            };
            shown.extend_from_slice(value);
            lengths.push(value.len());
        }
        Ok((OffsetBuffer::from_lengths(lengths), Buffer::from_vec(shown)))
    }

    fn views<T: ByteViewType>(&mut self) -> Result<ArrayRef> {
        let count = self.variadic()?;
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let mut views = self.numbers::<u128>(length)?;
        if let Some(nulls) = &nulls {
            // A view under a null may lead anywhere.
            let shown = views.iter().enumerate();
            let shown = shown.map(|(row, view)| if nulls.is_null(row) { 0 } else { *view });
            views = shown.collect::<Vec<u128>>().into();
        }
        let buffers: Vec<Buffer> = (0..count)
            .map(|_| self.buffer(Some(0)))
            .collect::<Result<_>>()?;
        let made = GenericByteViewArray::<T>::try_new(views, buffers, nulls);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn variadic(&mut self) -> Result<usize> {
        let left = self.buffers.len();
        let count = self.variadic.as_mut().and_then(Iterator::next);
        count
            .and_then(|n| usize::try_from(n).ok())
            .filter(|&n| n <= left)
            .ok_or_else(|| self.wrong("a view column has no possible number of buffers"))
    }

    fn fixed_bytes(&mut self, width: i32) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let size = usize::try_from(width).unwrap_or(0);
        let least = self.need(length, size)?;
        let values = self.buffer(least)?;
        let values = values.slice_with_length(0, least.unwrap_or(0));
        let made = FixedSizeBinaryArray::try_new_with_len(width, values, nulls, length);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    /// The field of a nested array: types come from what was built, so that they always agree.
    fn child(&mut self, field: &Field) -> Result<(FieldRef, ArrayRef)> {
        let array = self.array(field)?;
        let made = Field::new(field.name(), array.data_type().clone(), true);
        Ok((Arc::new(made), array))
    }

    fn list<O: OffsetSizeTrait>(&mut self, field: &Field) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let offsets = self.offsets::<O>(length)?;
        let (field, values) = self.child(field)?;
        let made = GenericListArray::<O>::try_new(field, offsets, values, nulls);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn list_view<O: OffsetSizeTrait>(&mut self, field: &Field) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let offsets = self.numbers::<O>(length)?;
        let sizes = self.numbers::<O>(length)?;
        let (field, values) = self.child(field)?;
        let made = GenericListViewArray::<O>::try_new(field, offsets, sizes, values, nulls);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn fixed_list(&mut self, field: &Field, size: i32) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let (field, values) = self.child(field)?;
        let need = self.need(length, usize::try_from(size).unwrap_or(0))?;
        if need != Some(values.len()) {
            return Err(self.wrong("a fixed-size list has too few or too many values"));
        }
        let made = FixedSizeListArray::try_new_with_length(field, size, values, nulls, length);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn structure(&mut self, fields: &Fields) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let mut made = Vec::with_capacity(fields.len());
        let mut children = Vec::with_capacity(fields.len());
        for field in fields {
            let (field, child) = self.child(field)?;
            if child.len() != length {
                return Err(self.wrong("a struct's fields differ in length"));
            }
            made.push(field);
            children.push(child);
        }
        let made = StructArray::try_new_with_length(made.into(), children, nulls, length);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn map(&mut self, entries: &Field, sorted: bool) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let nulls = self.nulls(length, nulls)?;
        let offsets = self.offsets::<i32>(length)?;
        let pairs = self.array(entries)?;
        let Some(pairs) = pairs.as_struct_opt().filter(|p| p.num_columns() == 2) else {
            return Err(self.wrong("a map's entries are not keys and values"));
        };
        // Arrow wants keys that are declared not null; whether they are is checked here.
        let key = pairs.fields()[0].as_ref().clone().with_nullable(false);
        let fields: Fields = vec![Arc::new(key), pairs.fields()[1].clone()].into();
        let made = StructArray::try_new(fields.clone(), pairs.columns().to_vec(), None).and_then(
            |checked| {
                let field = Field::new(entries.name(), DataType::Struct(fields), false);
                MapArray::try_new(Arc::new(field), offsets, checked, nulls, sorted)
            },
        );
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn dictionary(
        &mut self,
        field: &Field,
        key: &DataType,
        value_type: &DataType,
    ) -> Result<ArrayRef> {
        let keys = self.primitive(key)?;
        let id = dictionary_id(field)
            .ok_or_else(|| self.wrong("a dictionary column has no dictionary id"))?;
        let values = match self.dictionaries.get(&id) {
            Some(values) => values.clone(),
            // Writers leave a dictionary out that no row needs; a row that does fails below.
            None => new_empty_array(value_type),
        };
        macro_rules! join {
            ($t:ty) => {{
                let keys = keys.as_primitive::<$t>().clone();
                let made = DictionaryArray::<$t>::try_new(keys, values);
                Ok(Arc::new(made.map_err(|e| self.refused(e))?) as ArrayRef)
            }};
        }
        downcast_integer! {
            key => (join),
            other => Err(self.wrong(format!("{other} does not index a dictionary"))),
        }
    }

    fn runs(&mut self, ends: &Field, values: &Field) -> Result<ArrayRef> {
        let (length, nulls) = self.node()?;
        let ends = self.array(ends)?;
        let (_, values) = self.child(values)?;
        if nulls != 0 {
            return Err(self.wrong("a run-end array claims nulls of its own"));
        }
        macro_rules! join {
            ($t:ty) => {{
                let made = RunArray::<$t>::try_new(ends.as_primitive::<$t>(), &values);
                let runs = made.map_err(|e| self.refused(e))?;
                match runs.len() >= length {
                    true => Ok(Arc::new(runs.slice(0, length)) as ArrayRef),
                    false => Err(self.wrong("the runs of an array end before it does")),
                }
            }};
        }
        match ends.data_type() {
            DataType::Int16 => join!(Int16Type),
            DataType::Int32 => join!(Int32Type),
            DataType::Int64 => join!(Int64Type),
            other => Err(self.wrong(format!("{other} does not end a run"))),
        }
    }

    /// Passes over an array that nobody wants.
    fn skip(&mut self, data_type: &DataType) -> Result<()> {
        use DataType::*;
        let views = match data_type {
            Utf8View | BinaryView => self.variadic()?,
            _ => 0,
        };
        self.node()?;
        let buffers = match data_type {
            Null | RunEndEncoded(_, _) => 0,
            Struct(_) | FixedSizeList(_, _) => 1,
            Utf8 | LargeUtf8 | Binary | LargeBinary | ListView(_) | LargeListView(_) => 3,
            _ => 2 + views,
        };
        for _ in 0..buffers {
            if self.buffers.next().is_none() {
                return Err(self.wrong("a batch has fewer buffers than its schema"));
            }
        }
        match data_type {
            List(f)
            | LargeList(f)
            | ListView(f)
            | LargeListView(f)
            | FixedSizeList(f, _)
            | Map(f, _) => self.skip(f.data_type()),
            Struct(fields) => fields.iter().try_for_each(|f| self.skip(f.data_type())),
            RunEndEncoded(ends, values) => {
                self.skip(ends.data_type())?;
                self.skip(values.data_type())
            }
            _ => Ok(()),
        }
    }
}
