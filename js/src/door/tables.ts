// Which options each call takes. A new option is a line here: its type must be that of the call's options, and every
// option of that type must be here, or this does not compile.

import { Predicate } from "../predicate.js";
import type {
  BeginOptions,
  CallOptions,
  ChangesOptions,
  Committed,
  IngestOptions,
  KeepUploadedOptions,
  OpenOptions,
  OpfsOptions,
  ScanOptions,
  Settings,
  TransactionOptions,
  UploadOptions,
} from "../types.js";
import {
  atLeast,
  filled,
  flag,
  func,
  key,
  millis,
  moment,
  names,
  nested,
  oneOf,
  rate,
  signal,
  text,
  whole,
} from "./kinds.js";
import { type Kind, type RulesOf, wrong } from "./options.js";
import { store, sync } from "./stores.js";

const where: Kind<Predicate> = {
  takes: 'a filter, made with col(): { where: col("delay").gt(30) }',
  read: (value) => (Predicate.is(value) ? value : wrong),
};
const select = names('an array of names of columns: ["id", "delay"]');
const u32 = 0xffff_ffff;

/** Of calls that take nothing else. */
export const callOptions = { signal } satisfies RulesOf<CallOptions>;

export const getOptions = { select, signal };

export const scanOptions = {
  where,
  select,
  range: nested({ from: key, to: key }),
  limit: whole,
  reverse: flag,
  batchRows: atLeast(1),
  signal,
} satisfies RulesOf<ScanOptions>;

export const ingestOptions = {
  signal,
  onProgress: func<NonNullable<IngestOptions["onProgress"]>>("a function"),
} satisfies RulesOf<IngestOptions>;

export const snapshotOptions = { asOf: moment, signal };

export const tagOptions = { asOf: moment };

export const versionsOptions = { limit: atLeast(0, u32) };

export const gcOptions = { dryRun: flag, signal };

export const settings = {
  graceMs: millis,
  retentionMs: millis,
  inlineCommitBytes: whole,
  checkpointRecords: whole,
  checkpointBytes: whole,
} satisfies RulesOf<Settings>;

export const uploadOptions = { maxBytes: whole, maxMs: whole, signal } satisfies RulesOf<UploadOptions>;

export const keepUploadedOptions = {
  intervalMs: millis,
  longestPauseMs: millis,
  signal,
} satisfies RulesOf<KeepUploadedOptions>;

/** What a commit gave, as it was. */
export const committed = {
  commits: whole,
  rows: whole,
  timestamp: {
    takes: "microseconds as a bigint",
    read: (value) => (typeof value === "bigint" ? value : wrong),
  } satisfies Kind<bigint>,
  uploaded: flag,
  position: text("the position that a commit gave"),
} satisfies RulesOf<Committed>;

export const changesOptions = {
  since: filled('the cursor of a change, or "start"'),
  tables: names("an array of names of tables"),
  pollMs: millis,
  endAtHead: flag,
  signal,
} satisfies RulesOf<ChangesOptions>;

export const beginOptions = {
  isolation: oneOf("snapshot", "serializable"),
} satisfies RulesOf<BeginOptions>;

export const transactionOptions = {
  ...beginOptions,
  attempts: atLeast(1),
  signal,
} satisfies RulesOf<TransactionOptions>;

export const opfsOptions = { persist: flag } satisfies RulesOf<OpfsOptions>;

export const openOptions = {
  data: store,
  wal: store,
  sync,
  walSegmentBytes: whole,
  sealBytes: whole,
  sealRows: whole,
  sealBatches: whole,
  sealAgeMs: millis,
  memtableLimitBytes: whole,
  inlineCommitBytes: whole,
  checkpointRecords: whole,
  checkpointBytes: whole,
  graceMs: millis,
  retentionMs: millis,
  sstableBytes: whole,
  rowGroupRows: whole,
  pageRows: whole,
  bloomFpp: rate,
  batchRows: whole,
  batchBytes: whole,
  concurrency: whole,
  coalesceGap: whole,
  memoryBytes: whole,
  readBytes: whole,
  commitBytes: whole,
  conflictBytes: whole,
  backlogBytes: whole,
  offline: oneOf("allow", "refuse"),
  openTimeoutMs: millis,
  signal,
  waitUntil: func<NonNullable<OpenOptions["waitUntil"]>>("a function: (write) => ctx.waitUntil(write)"),
  retries: whole,
  detachedTasks: flag,
} satisfies RulesOf<OpenOptions>;
