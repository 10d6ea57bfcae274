// What bytes are that are no Arrow IPC, by how they begin: so that the error can say it, and what to do instead. Looked at
// only after the engine has refused them.

/** So many bytes of the beginning are enough. */
export const headLength = 512;

const ipc = "pass an Arrow IPC stream or file (of apache-arrow: tableToIPC(table)), or an array of rows";

interface Format {
  readonly name: string;
  readonly remedy: string;
  /** The first bytes, as Latin-1 text. */
  readonly begins: readonly string[];
}

const binary: readonly Format[] = [
  {
    name: "a Parquet file",
    remedy:
      "read it into Arrow first (parquet-wasm: readParquet(bytes).intoIPCStream(); pyarrow: pq.read_table)",
    begins: ["PAR1", "PARE"],
  },
  {
    name: "a Feather V1 file",
    remedy:
      "write it as Feather V2, which is an Arrow IPC file (pyarrow: feather.write_feather(table, path))",
    begins: ["FEA1"],
  },
  {
    name: "gzip",
    remedy: `decompress it first (DecompressionStream("gzip")), then ${ipc}`,
    begins: ["\x1f\x8b"],
  },
  {
    name: "a zip archive",
    remedy: `unpack it first, then ${ipc}`,
    begins: ["PK\x03\x04", "PK\x05\x06", "PK\x07\x08"],
  },
  { name: "zstd", remedy: `decompress it first, then ${ipc}`, begins: ["\x28\xb5\x2f\xfd"] },
  { name: "bzip2", remedy: `decompress it first, then ${ipc}`, begins: ["BZh"] },
  { name: "xz", remedy: `decompress it first, then ${ipc}`, begins: ["\xfd7zXZ\0"] },
  { name: "an lz4 frame", remedy: `decompress it first, then ${ipc}`, begins: ["\x04\x22\x4d\x18"] },
  { name: "an ORC file", remedy: `convert it: ${ipc}`, begins: ["ORC"] },
  { name: "an Avro file", remedy: `convert it: ${ipc}`, begins: ["Obj\x01"] },
  { name: "an SQLite database", remedy: `query it: ${ipc}`, begins: ["SQLite format 3\0"] },
  { name: "a PDF", remedy: ipc, begins: ["%PDF-"] },
];

const pieces =
  "pieces of one IPC stream are joined first: of a Response, ingest(new Uint8Array(await response.arrayBuffer()))";

/** What the bytes that begin with `head` look like, and the remedy; undefined if like nothing known. */
export function looksLike(head: Uint8Array, length: number): string | undefined {
  if (length === 0) return `it is empty: ${ipc}`;
  const begin = latin1(head);
  const known = binary.find(({ begins }) => begins.some((prefix) => begin.startsWith(prefix)));
  if (known !== undefined) return `it looks like ${known.name}: ${known.remedy}`;
  if (begin.startsWith("\xff\xff\xff\xff") || begin.startsWith("ARROW1")) {
    return `it begins as Arrow IPC and may have been cut: ${pieces}`;
  }
  const text = textIn(head);
  return text === undefined ? undefined : ofText(text, length > head.length);
}

function ofText(text: string, more: boolean): string | undefined {
  const begin = text.trimStart();
  if (/^<(!doctype\s+html|html|head|body|script|!--)/i.test(begin)) {
    return `it looks like HTML, an error page or the page of an application: look at the status and the URL it came from; ${ipc}`;
  }
  if (/^<(\?xml|[a-z])/i.test(begin))
    return `it looks like XML, an error of a server perhaps: look at its status; ${ipc}`;
  if (/^[[{]/.test(begin)) {
    const lines = /^\{[^\n]*\}\s*\n\s*\{/.test(begin);
    if (lines)
      return 'it looks like JSON lines: ingest(text.trim().split("\\n").map((line) => JSON.parse(line)))';
    return "it looks like JSON text: ingest(JSON.parse(text)), an array of rows";
  }
  const [first = "", second] = begin.split(/\r?\n/);
  const columns = [",", ";", "\t"].map((mark) => first.split(mark).length);
  const most = Math.max(...columns);
  const mark = [",", ";", "\t"][columns.indexOf(most)]!;
  if (most > 1 && (second !== undefined || more)) {
    const kind = mark === "\t" ? "tab-separated text" : "CSV";
    return `it looks like ${kind}: parse it, and pass its rows as objects, ingest([{ … }, …])`;
  }
  return `it looks like text: ${ipc}`;
}

function latin1(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 16), (byte) => String.fromCharCode(byte)).join("");
}

/** The text that bytes are, if they are: UTF-8 that may be cut at the end, or UTF-16 with its mark. */
function textIn(head: Uint8Array): string | undefined {
  if (head[0] === 0xff && head[1] === 0xfe) return new TextDecoder("utf-16le").decode(head);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: true });
    // Control characters other than white space.
    return /[\0-\x08\x0e-\x1f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}
