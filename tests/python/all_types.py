"""`make`: every type that pyarrow has, with nulls over values, as one IPC stream each. `compare`: what came back says
the same, and is valid through and through."""
import datetime, decimal, sys
import pyarrow as pa

mode, folder = sys.argv[1], sys.argv[2]
MASK = pa.array([False, True, False, True, False, False])
ROWS = len(MASK)


def flat():
    D, when = decimal.Decimal, datetime.datetime(2001, 2, 3, 4, 5, 6)
    yield from [(t, [0, 1, 2, 3, 4, 5]) for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(),
                                                  pa.uint32(), pa.uint64(), pa.float32(), pa.float64())]
    yield pa.bool_(), [True, False] * 3
    yield from [(t, ["", "a", "é", "long enough to be no view", "b", "c"]) for t in (pa.string(), pa.large_string(), pa.string_view())]
    yield from [(t, [b"", b"a", b"\xff", b"long enough to be no view", b"b", b"c"])
                for t in (pa.binary(), pa.large_binary(), pa.binary_view())]
    yield pa.binary(2), [b"ab"] * ROWS
    yield from [(t, [D(i) for i in range(ROWS)]) for t in (pa.decimal128(9, 0), pa.decimal256(50, 0))]
    for make in ("decimal32", "decimal64"):
        if hasattr(pa, make):
            yield getattr(pa, make)(9, 0), [D(i) for i in range(ROWS)]
    yield from [(t, [when.date()] * ROWS) for t in (pa.date32(), pa.date64())]
    yield from [(t, [i * 1000 for i in range(ROWS)]) for t in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))]
    for unit in ("s", "ms", "us", "ns"):
        yield from [(t, [i * 1000 for i in range(ROWS)]) for t in (pa.timestamp(unit), pa.timestamp(unit, "UTC"),
                                                            pa.timestamp(unit, "Europe/Berlin"), pa.duration(unit))]


def nested(name, values):
    """Arrays over one of `ROWS` values, masked: what is masked is still there."""
    yield name, values
    for sure in (False, True):
        field = pa.field("item", values.type, nullable=not sure)
        label = f"{name}{' not null' if sure else ''}"
        yield f"struct of {label}", pa.StructArray.from_arrays([values], fields=[field], mask=MASK)
        ends = pa.array(range(ROWS + 1), pa.int32())
        yield f"list of {label}", pa.ListArray.from_arrays(ends, values, type=pa.list_(field), mask=MASK)
        wide = ends.cast(pa.int64())
        yield f"large list of {label}", pa.LargeListArray.from_arrays(wide, values, type=pa.large_list(field), mask=MASK)
        yield f"fixed-size list of {label}", pa.FixedSizeListArray.from_arrays(values, type=pa.list_(field, 1), mask=MASK)
    keys = pa.array(list("abcdef"))
    yield f"map to {name}", pa.MapArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), keys, values)
    if not pa.types.is_nested(values.type):
        for index in (pa.int8(), pa.uint32(), pa.int64()):
            codes = pa.array([0, None, 5, 1, None, 0], index)
            yield f"dictionary of {name} by {index}", pa.DictionaryArray.from_arrays(codes, values)
        yield f"runs of {name}", pa.RunEndEncodedArray.from_arrays(pa.array(range(1, ROWS + 1), pa.int32()), values)


def cases():
    for data_type, values in flat():
        plain = pa.array(values, data_type)
        for name, array in nested(str(data_type), plain):
            yield name, array
            if data_type in (pa.int32(), pa.string(), pa.float32(), pa.decimal128(9, 0)) and name != str(data_type) \
                    and "runs" not in name and "dictionary" not in name:
                yield from nested(name, array)


def stream(path, array):
    fields = [pa.field("id", pa.int64(), nullable=False), pa.field("v", array.type)]
    table = pa.table([pa.array(range(ROWS)), array], schema=pa.schema(fields))
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


if mode == "make":
    for at, (name, array) in enumerate(cases()):
        stream(f"{folder}/{at}.arrow", array)
else:
    count = 0
    for at, (name, array) in enumerate(cases()):
        path = f"{folder}/{at}.out"
        table = pa.ipc.open_stream(open(path, "rb")).read_all()
        table.validate(full=True)
        for column in table["v"].chunks:
            column.validate(full=True)
        assert table["v"].to_pylist() == array.to_pylist(), f"{name}: {table['v'].to_pylist()} is not {array.to_pylist()}"
        count += 1
    print(count)
