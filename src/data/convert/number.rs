//! Numbers and times: every value is carried over exactly or the conversion is refused. Values go
//! through chunks of i128 (integers, decimals, times) or f64 (floats), so that n sources and m
//! targets need n + m loops and no column-sized detour.

use super::Converter;
use crate::{data::spec::type_name, error::Result};
use arrow_array::{Array, ArrayRef, PrimitiveArray, cast::AsArray, types::*};
use arrow_buffer::{NullBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType, TimeUnit};
use std::{fmt::Display, sync::Arc};

const CHUNK: usize = 512;

/// What a number of a type means; only equal meanings convert.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    /// Integers and decimals: the value is `stored * 10^-scale`.
    Exact {
        scale: i8,
    },
    Float,
    /// A count of these many nanoseconds.
    Date(i128),
    Time(i128),
    Instant(i128),
    Naive(i128),
    Duration(i128),
}

fn nanos(unit: &TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn meaning(data_type: &DataType) -> Option<Meaning> {
    use DataType::*;
    Some(match data_type {
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 => {
            Meaning::Exact { scale: 0 }
        }
        Decimal32(_, s) | Decimal64(_, s) | Decimal128(_, s) | Decimal256(_, s) => {
            Meaning::Exact { scale: *s }
        }
        Float16 | Float32 | Float64 => Meaning::Float,
        Date32 => Meaning::Date(86_400_000_000_000),
        Date64 => Meaning::Date(1_000_000),
        Time32(unit) | Time64(unit) => Meaning::Time(nanos(unit)),
        Timestamp(unit, Some(_)) => Meaning::Instant(nanos(unit)),
        Timestamp(unit, None) => Meaning::Naive(nanos(unit)),
        Duration(unit) => Meaning::Duration(nanos(unit)),
        _ => return None,
    })
}

/// Multiplies, then divides without remainder.
#[derive(Clone, Copy)]
struct Factor {
    times: i128,
    over: i128,
}

impl Factor {
    fn apply(self, value: i128) -> Option<i128> {
        if self.times == 1 && self.over == 1 {
            return Some(value);
        }
        let product = value.checked_mul(self.times)?;
        (product % self.over == 0).then(|| product / self.over)
    }

    fn units(from: i128, to: i128) -> Self {
        match from >= to {
            true => Self {
                times: from / to,
                over: 1,
            },
            false => Self {
                times: 1,
                over: to / from,
            },
        }
    }

    /// From a decimal scale to another; `None` if no i128 value but 0 survives it.
    fn scales(from: i8, to: i8) -> Option<Self> {
        let power = |n: u32| 10i128.checked_pow(n);
        let difference = i32::from(to) - i32::from(from);
        Some(match difference >= 0 {
            true => Self {
                times: power(difference as u32)?,
                over: 1,
            },
            false => Self {
                times: 1,
                over: power(difference.unsigned_abs())?,
            },
        })
    }
}

impl Converter<'_> {
    pub(super) fn number(&mut self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let from = array.data_type();
        let (Some(a), Some(b)) = (meaning(from), meaning(to)) else {
            return Err(self.mismatch(from, to));
        };
        let width = to.primitive_width().unwrap_or(16) as u64;
        self.spend((array.len() as u64).saturating_mul(width))?;
        use Meaning::*;
        let factor = match (a, b) {
            (Exact { .. }, Exact { .. } | Float) | (Float, Exact { .. })
                if matches!(from, DataType::Decimal256(..))
                    || matches!(to, DataType::Decimal256(..)) =>
            {
                return self.wide_decimal(array, to, a, b);
            }
            (Exact { scale: s }, Exact { scale: t }) => Factor::scales(s, t),
            (Float, Exact { scale }) => Factor::scales(0, scale),
            // A decimal has no exact float in general: 0.1.
            (Exact { scale: 0 }, Float) | (Float, Float) => Some(Factor { times: 1, over: 1 }),
            (Date(x), Date(y))
            | (Time(x), Time(y))
            | (Instant(x), Instant(y))
            | (Naive(x), Naive(y))
            | (Duration(x), Duration(y)) => Some(Factor::units(x, y)),
            _ => return Err(self.mismatch(from, to)),
        };
        let factor = factor.ok_or_else(|| self.mismatch(from, to))?;
        match (a, b) {
            (Float, Float) => self.to_float(array, to, |start, out| {
                floats(array, start, out);
                Ok(())
            }),
            (_, Float) => {
                let mut whole = [0i128; CHUNK];
                let column = &*self;
                column.to_float(array, to, |start, out| {
                    integers(array, start, &mut whole[..out.len()]);
                    for (i, (o, v)) in out.iter_mut().zip(&whole).enumerate() {
                        *o = *v as f64;
                        if *o as i128 != *v {
                            return Err(column.misfit(start + i, v, to));
                        }
                    }
                    Ok(())
                })
            }
            (Float, _) => {
                let mut real = [0f64; CHUNK];
                let column = &*self;
                column.to_exact(array, to, |start, out| {
                    floats(array, start, &mut real[..out.len()]);
                    for (i, (o, v)) in out.iter_mut().zip(&real).enumerate() {
                        // 2^127 itself would saturate.
                        let whole = v.trunc() == *v && v.abs() < 1.7e38;
                        let scaled = whole.then(|| factor.apply(*v as i128)).flatten();
                        *o = scaled.ok_or_else(|| column.misfit(start + i, v, to))?;
                    }
                    Ok(())
                })
            }
            _ => {
                let column = &*self;
                column.to_exact(array, to, |start, out| {
                    integers(array, start, out);
                    for (i, o) in out.iter_mut().enumerate() {
                        let value = *o;
                        *o = factor
                            .apply(value)
                            .ok_or_else(|| column.bad(array, start + i, to))?;
                    }
                    Ok(())
                })
            }
        }
    }

    /// A misfit, showing the value as the caller wrote it.
    fn bad(&self, array: &ArrayRef, row: usize, to: &DataType) -> crate::Error {
        let mut value = [0i128];
        integers(array, row, &mut value);
        let shown: Box<dyn Display> = match meaning(array.data_type()) {
            Some(Meaning::Exact { scale: 0 }) => Box::new(value[0]),
            _ => Box::new(format!("{} as {}", value[0], type_name(array.data_type()))),
        };
        self.misfit(row, shown, to)
    }

    /// Fills chunk after chunk and stores each as `to`.
    fn to_exact(
        &self,
        array: &ArrayRef,
        to: &DataType,
        mut fill: impl FnMut(usize, &mut [i128]) -> Result<()>,
    ) -> Result<ArrayRef> {
        let rows = array.len();
        let nulls = array.nulls().cloned();
        let mut chunk = [0i128; CHUNK];
        macro_rules! collect {
            ($t:ty, $fits:expr) => {{
                let mut out: Vec<<$t as ArrowPrimitiveType>::Native> = Vec::with_capacity(rows);
                while out.len() < rows {
                    let start = out.len();
                    let chunk = &mut chunk[..CHUNK.min(rows - start)];
                    fill(start, chunk)?;
                    for (i, &v) in chunk.iter().enumerate() {
                        let fits = <$t as ArrowPrimitiveType>::Native::try_from(v).ok();
                        match fits.filter(|_| $fits(v)) {
                            Some(v) => out.push(v),
                            None => return Err(self.bad_or_float(array, start + i, to)),
                        }
                    }
                }
                finish::<$t>(out, nulls, to)
            }};
        }
        let any = |_: i128| true;
        let digits = |p: u8| {
            let most = 10i128.checked_pow(u32::from(p)).unwrap_or(i128::MAX);
            move |v: i128| -most < v && v < most
        };
        use DataType::*;
        match to {
            Int8 => collect!(Int8Type, any),
            Int16 => collect!(Int16Type, any),
            Int32 => collect!(Int32Type, any),
            Int64 => collect!(Int64Type, any),
            UInt8 => collect!(UInt8Type, any),
            UInt16 => collect!(UInt16Type, any),
            UInt32 => collect!(UInt32Type, any),
            UInt64 => collect!(UInt64Type, any),
            Decimal32(p, _) => collect!(Decimal32Type, digits(*p)),
            Decimal64(p, _) => collect!(Decimal64Type, digits(*p)),
            Decimal128(p, _) => collect!(Decimal128Type, digits(*p)),
            Date32 => collect!(Date32Type, any),
            Date64 => collect!(Date64Type, any),
            Time32(TimeUnit::Second) => collect!(Time32SecondType, any),
            Time32(_) => collect!(Time32MillisecondType, any),
            Time64(TimeUnit::Microsecond) => collect!(Time64MicrosecondType, any),
            Time64(_) => collect!(Time64NanosecondType, any),
            Timestamp(TimeUnit::Second, _) => collect!(TimestampSecondType, any),
            Timestamp(TimeUnit::Millisecond, _) => collect!(TimestampMillisecondType, any),
            Timestamp(TimeUnit::Microsecond, _) => collect!(TimestampMicrosecondType, any),
            Timestamp(TimeUnit::Nanosecond, _) => collect!(TimestampNanosecondType, any),
            Duration(TimeUnit::Second) => collect!(DurationSecondType, any),
            Duration(TimeUnit::Millisecond) => collect!(DurationMillisecondType, any),
            Duration(TimeUnit::Microsecond) => collect!(DurationMicrosecondType, any),
            Duration(TimeUnit::Nanosecond) => collect!(DurationNanosecondType, any),
            other => Err(self.mismatch(array.data_type(), other)),
        }
    }

    fn bad_or_float(&self, array: &ArrayRef, row: usize, to: &DataType) -> crate::Error {
        if meaning(array.data_type()) != Some(Meaning::Float) {
            return self.bad(array, row, to);
        }
        let mut value = [0f64];
        floats(array, row, &mut value);
        self.misfit(row, value[0], to)
    }

    fn to_float(
        &self,
        array: &ArrayRef,
        to: &DataType,
        mut fill: impl FnMut(usize, &mut [f64]) -> Result<()>,
    ) -> Result<ArrayRef> {
        let rows = array.len();
        let nulls = array.nulls().cloned();
        let mut chunk = [0f64; CHUNK];
        macro_rules! collect {
            ($t:ty, $narrow:expr, $widen:expr) => {{
                let mut out: Vec<<$t as ArrowPrimitiveType>::Native> = Vec::with_capacity(rows);
                while out.len() < rows {
                    let start = out.len();
                    let chunk = &mut chunk[..CHUNK.min(rows - start)];
                    fill(start, chunk)?;
                    for (i, &v) in chunk.iter().enumerate() {
                        let narrow = $narrow(v);
                        if $widen(narrow) != v && !v.is_nan() {
                            return Err(self.misfit(start + i, v, to));
                        }
                        out.push(narrow);
                    }
                }
                finish::<$t>(out, nulls, to)
            }};
        }
        match to {
            DataType::Float64 => collect!(Float64Type, |v: f64| v, |v: f64| v),
            DataType::Float32 => collect!(Float32Type, |v: f64| v as f32, f64::from),
            DataType::Float16 => collect!(Float16Type, half::f16::from_f64, f64::from),
            other => Err(self.mismatch(array.data_type(), other)),
        }
    }

    /// Decimals of 256 bits: rare, so row by row.
    fn wide_decimal(
        &self,
        array: &ArrayRef,
        to: &DataType,
        from: Meaning,
        into: Meaning,
    ) -> Result<ArrayRef> {
        let (Meaning::Exact { scale: s }, Meaning::Exact { scale: t }) = (from, into) else {
            return Err(self.mismatch(array.data_type(), to));
        };
        let steps = i32::from(t) - i32::from(s);
        let power = i256::from_i128(10)
            .checked_pow(steps.unsigned_abs())
            .ok_or_else(|| self.mismatch(array.data_type(), to))?;
        let rescale = |v: i256| match steps >= 0 {
            true => v.checked_mul(power),
            false => {
                let rest = v.checked_rem(power)?;
                (rest == i256::ZERO).then(|| v.checked_div(power)).flatten()
            }
        };
        let read = |row: usize| match array.data_type() {
            DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value(row),
            _ => {
                let mut value = [0i128];
                integers(array, row, &mut value);
                i256::from_i128(value[0])
            }
        };
        if let DataType::Decimal256(p, _) = to {
            let most = i256::from_i128(10).checked_pow(u32::from(*p));
            let fits = |v: &i256| most.is_none_or(|m| v.wrapping_abs() < m && *v != i256::MIN);
            let mut out = Vec::with_capacity(array.len());
            for row in 0..array.len() {
                if array.is_null(row) {
                    out.push(i256::ZERO);
                    continue;
                }
                let value = rescale(read(row)).filter(fits);
                out.push(value.ok_or_else(|| self.misfit(row, read(row), to))?);
            }
            return finish::<Decimal256Type>(out, array.nulls().cloned(), to);
        }
        self.to_exact(array, to, |start, out| {
            for (i, o) in out.iter_mut().enumerate() {
                let row = start + i;
                if array.is_null(row) {
                    *o = 0;
                    continue;
                }
                let value = rescale(read(row)).and_then(i256::to_i128);
                *o = value.ok_or_else(|| self.misfit(row, read(row), to))?;
            }
            Ok(())
        })
    }
}

fn finish<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    to: &DataType,
) -> Result<ArrayRef> {
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls);
    Ok(Arc::new(array.with_data_type(to.clone())))
}

/// The stored integers of rows from `start`; 0 for null.
fn integers(array: &ArrayRef, start: usize, out: &mut [i128]) {
    macro_rules! read {
        ($t:ty) => {{
            let values = &array.as_primitive::<$t>().values()[start..start + out.len()];
            for (o, v) in out.iter_mut().zip(values) {
                *o = i128::from(*v);
            }
        }};
    }
    use DataType::*;
    match array.data_type() {
        Int8 => read!(Int8Type),
        Int16 => read!(Int16Type),
        Int32 => read!(Int32Type),
        Int64 => read!(Int64Type),
        UInt8 => read!(UInt8Type),
        UInt16 => read!(UInt16Type),
        UInt32 => read!(UInt32Type),
        UInt64 => read!(UInt64Type),
        Decimal32(..) => read!(Decimal32Type),
        Decimal64(..) => read!(Decimal64Type),
        Decimal128(..) => read!(Decimal128Type),
        Date32 => read!(Date32Type),
        Date64 => read!(Date64Type),
        Time32(TimeUnit::Second) => read!(Time32SecondType),
        Time32(_) => read!(Time32MillisecondType),
        Time64(TimeUnit::Microsecond) => read!(Time64MicrosecondType),
        Time64(_) => read!(Time64NanosecondType),
        Timestamp(TimeUnit::Second, _) => read!(TimestampSecondType),
        Timestamp(TimeUnit::Millisecond, _) => read!(TimestampMillisecondType),
        Timestamp(TimeUnit::Microsecond, _) => read!(TimestampMicrosecondType),
        Timestamp(TimeUnit::Nanosecond, _) => read!(TimestampNanosecondType),
        Duration(TimeUnit::Second) => read!(DurationSecondType),
        Duration(TimeUnit::Millisecond) => read!(DurationMillisecondType),
        Duration(TimeUnit::Microsecond) => read!(DurationMicrosecondType),
        Duration(TimeUnit::Nanosecond) => read!(DurationNanosecondType),
        _ => out.fill(0),
    }
    mask(array, start, out);
}

/// The floats of rows from `start`; 0 for null.
fn floats(array: &ArrayRef, start: usize, out: &mut [f64]) {
    macro_rules! read {
        ($t:ty) => {{
            let values = &array.as_primitive::<$t>().values()[start..start + out.len()];
            for (o, v) in out.iter_mut().zip(values) {
                *o = f64::from(*v);
            }
        }};
    }
    match array.data_type() {
        DataType::Float16 => read!(Float16Type),
        DataType::Float32 => read!(Float32Type),
        DataType::Float64 => read!(Float64Type),
        _ => out.fill(0.0),
    }
    mask(array, start, out);
}

/// What lies under a null is arbitrary and must not be judged.
fn mask<T: Default>(array: &ArrayRef, start: usize, out: &mut [T]) {
    if let Some(nulls) = array.nulls().filter(|n| n.null_count() > 0) {
        for (i, o) in out.iter_mut().enumerate() {
            if nulls.is_null(start + i) {
                *o = T::default();
            }
        }
    }
}
