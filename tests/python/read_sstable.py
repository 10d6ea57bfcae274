"""Opens an sstable with pyarrow and says what it sees, as one line of JSON."""
import json, sys
import pyarrow.parquet as pq

table = pq.read_table(sys.argv[1])
file = pq.ParquetFile(sys.argv[1])
print(json.dumps({
    "columns": table.column_names,
    "types": [str(f.type) for f in table.schema],
    "rows": table.num_rows,
    "row_groups": file.num_row_groups,
    "field_ids": [int((f.metadata or {}).get(b"PARQUET:field_id", b"-1")) for f in table.schema],
    "data": {name: [str(v) for v in table[name].to_pylist()] for name in table.column_names},
}))
