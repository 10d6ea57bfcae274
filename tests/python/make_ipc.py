"""Writes what pyarrow and polars really send: lz4, dictionaries, views, narrow types."""
import sys, datetime
import pyarrow as pa, pyarrow.feather as feather
import polars as pl

out = sys.argv[1]
ids = list(range(100))
names = [None if i % 7 == 0 else f"name {i}" for i in ids]
when = [datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=i) for i in ids]
table = pa.table({
    "id": pa.array(ids, pa.int32()),
    "name": pa.array(names, pa.string()).dictionary_encode(),
    "at": pa.array(when, pa.timestamp("s")),
    "x": pa.array([i / 4 for i in ids], pa.float32()),
})
feather.write_feather(table, f"{out}/pyarrow-lz4.arrow", compression="lz4")
feather.write_feather(table, f"{out}/pyarrow-zstd.arrow", compression="zstd")
with pa.ipc.new_stream(f"{out}/pyarrow-stream.arrow", table.schema,
                       options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
    writer.write_table(table, max_chunksize=30)
frame = pl.DataFrame({"id": pl.Series(ids, dtype=pl.Int64), "name": names, "at": when,
                      "x": [i / 4 for i in ids]})
frame.write_ipc(f"{out}/polars.arrow", compression="uncompressed", compat_level=pl.CompatLevel.newest())
frame.write_ipc(f"{out}/polars-lz4.arrow", compression="lz4", compat_level=pl.CompatLevel.newest())
frame.write_ipc_stream(f"{out}/polars-stream.arrow", compression="uncompressed", compat_level=pl.CompatLevel.newest())
frame.with_columns(pl.col("name").cast(pl.Categorical)).write_ipc(f"{out}/polars-categorical.arrow", compression="lz4")
