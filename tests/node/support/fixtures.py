"""Arrow IPC as pyarrow and polars really send it: fixtures.py DIRECTORY writes one file for each case."""

import datetime
import sys
from pathlib import Path

import polars
import pyarrow as pa

out = Path(sys.argv[1])
columns = {
    "id": pa.array([3, 1, 2], pa.int64()),
    "name": pa.array(["drei", None, "zwei"], pa.string()),
    "at": pa.array([datetime.datetime(2001, 1, i) for i in (3, 1, 2)], pa.timestamp("us")),
    "tags": pa.array([["a", None], None, []], pa.list_(pa.string())),
    "score": pa.array([1.5, float("nan"), -0.0], pa.float64()),
}
table = pa.table(columns)


def stream(name, table, **options):
    with pa.OSFile(str(out / name), "wb") as sink:
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)


stream("pyarrow-stream", table)
stream("pyarrow-lz4", table, compression="lz4")
stream("pyarrow-zstd", table, compression="zstd")
with pa.OSFile(str(out / "pyarrow-file"), "wb") as sink:
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
stream("pyarrow-dictionary", table.set_column(1, "name", table["name"].dictionary_encode()))
stream("pyarrow-large", table.set_column(1, "name", table["name"].cast(pa.large_string())))
stream("pyarrow-view", table.set_column(1, "name", table["name"].cast(pa.string_view())))
stream("pyarrow-narrow", table.set_column(0, "id", table["id"].cast(pa.int16())))
runs = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), table["name"].combine_chunks())
stream("pyarrow-run-end", table.set_column(1, "name", runs))
stream("pyarrow-seconds", table.set_column(2, "at", table["at"].cast(pa.timestamp("s"))))
stream("pyarrow-nanoseconds", table.set_column(2, "at", pa.array([1, 2, 3], pa.timestamp("ns"))))
stream("pyarrow-batches", pa.concat_tables([table.slice(0, 1), table.slice(1, 2)]))
stream("pyarrow-null-key", table.set_column(0, "id", pa.array([1, None, 2], pa.int64())))
stream("pyarrow-extra", table.append_column("extra", pa.array([1, 2, 3])))
stream("pyarrow-missing", table.drop_columns(["score"]))
stream("pyarrow-empty", table.slice(0, 0))
stream("pyarrow-twice", pa.Table.from_arrays([columns["id"], columns["id"]], names=["id", "id"]))
stream("pyarrow-big-value", table.set_column(1, "name", pa.array(["x" * 100_000_000, "b", "c"])))
stream("pyarrow-wide-value", table.set_column(1, "name", pa.array(["x" * 17_000_000, "b", "c"])))
frame = polars.DataFrame(
    {
        "id": [3, 1, 2],
        "name": ["drei", None, "a name that is long enough to be a view"],
        "at": [datetime.datetime(2001, 1, i) for i in (3, 1, 2)],
        "tags": [["a", None], None, []],
        "score": [1.5, float("nan"), -0.0],
    }
)
frame.write_ipc_stream(out / "polars-stream")
frame.write_ipc(out / "polars-file")
frame.write_ipc(out / "polars-lz4", compression="lz4")
