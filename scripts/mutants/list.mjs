// The mutants: a rule of PROTOCOL, and patches `[file in src, search, replace]` that switch it off where
// `crate::mutants::on(name)`. Searches are exact, so that a change of the code asks for a look at the mutant.

const on = (name) => `crate::mutants::on("${name}")`;

export const mutants = [
  {
    name: "no read-back after 412",
    rule: "C2",
    patches: [
      [
        "log/store.rs",
        "Ok(PutOutcome::Exists) => refused = true,",
        `Ok(PutOutcome::Exists) if ${on("no read-back after 412")} => {
                    return Ok(match self.read_record(seq).await? {
                        Some(found) => Slot::Lost(found),
                        None => Slot::Freed,
                    });
                }
                Ok(PutOutcome::Exists) => refused = true,`,
      ],
    ],
  },
  {
    name: "absent means failed",
    rule: "C2",
    patches: [
      [
        "log/store.rs",
        "                Ok(None) => {}\n                Err(e) if maybe_applied(&e) => last = Some(e),\n                Err(e) => return Err(unknown(&key, Some(e))),",
        `                Ok(None) if ${on("absent means failed")} => {
                    return Err(Error::new(ErrorKind::Unavailable, "it is not there"));
                }
                Ok(None) => {}
                Err(e) if maybe_applied(&e) => last = Some(e),
                Err(e) => return Err(unknown(&key, Some(e))),`,
      ],
    ],
  },
  {
    name: "any inline floor",
    rule: "C3",
    patches: [
      [
        "flush.rs",
        "Some((from, to)) if version.inline_floor == from => {",
        `Some((from, to))
                if version.inline_floor == from
                    || (${on("any inline floor")} && version.inline_floor < to) =>
            {`,
      ],
    ],
  },
  {
    name: "writers have no fence",
    rule: "F1",
    patches: [
      [
        "log/store.rs",
        "if !self.is_stale(fence) {",
        // And the other rule of F1, "judged when it left".
        `if ${on("writers have no fence")}
            || (${on("judged when it left")} && fence.proof.age(&sent) <= fence.counts_for)
            || !self.is_stale(fence)
        {`,
      ],
      [
        "db/log.rs",
        "if self.log.is_stale(&self.fence(&before)) {\n                self.follow().await?;",
        `if self.log.is_stale(&self.fence(&before)) && !${on("writers have no fence")} {
                self.follow().await?;`,
      ],
    ],
  },
  {
    name: "readers have no fence",
    rule: "F1",
    patches: [
      [
        "db/log.rs",
        "let seq = before.state.version.head.seq + 1;\n            if self.log.is_stale(&self.fence(&before)) {",
        `let seq = before.state.version.head.seq + 1;
            if self.log.is_stale(&self.fence(&before)) && !${on("readers have no fence")} {`,
      ],
      [
        "db/log.rs",
        "// Judged now that the reply is here, not when the request left (F1).\n            if self.log.is_stale(&self.fence(&before)) {",
        `if self.log.is_stale(&self.fence(&before))
                && !${on("readers have no fence")}
                && !${on("judged when it left")}
            {`,
      ],
    ],
  },
  {
    name: "judged when it left",
    rule: "F1",
    patches: [
      [
        "db/log.rs",
        "if self.log.is_stale(&self.fence(before)) {\n            return self.follow().await;",
        `if self.log.is_stale(&self.fence(before)) && !${on("judged when it left")} {
            return self.follow().await;`,
      ],
    ],
  },
  {
    name: "no chain",
    rule: "N1",
    patches: [
      [
        "log/version.rs",
        "if record.prev != self.head.digest {",
        `if record.prev != self.head.digest && !${on("no chain")} {`,
      ],
      [
        "log/tail.rs",
        "if found.record.prev != head {",
        `if found.record.prev != head && !${on("no chain")} {`,
      ],
      [
        "log/chain.rs",
        "if digest(copy) != next.record.prev {",
        `if digest(copy) != next.record.prev && !${on("no chain")} {`,
      ],
      [
        "db/log.rs",
        "if found.record.prev == version.head.digest {",
        `if found.record.prev == version.head.digest || ${on("no chain")} {`,
      ],
    ],
  },
  {
    name: "a feed trusts its slots",
    rule: "F1",
    patches: [
      [
        "db/changes.rs",
        "Some(found) if chained && found.record.prev == self.cursor.digest => {",
        `Some(found)
                if (chained && found.record.prev == self.cursor.digest) || ${on("a feed trusts its slots")} =>
            {`,
      ],
    ],
  },
  {
    name: "rows as they were",
    rule: "C6",
    patches: [
      [
        "state.rs",
        "if schema_version == self.entry.schema_version {",
        `if schema_version == self.entry.schema_version || ${on("rows as they were")} {`,
      ],
    ],
  },
  {
    name: "dropped tables take rows",
    rule: "C6",
    patches: [
      [
        "log/version.rs",
        "            Edit::Rows { table, .. } => self.tables.contains_key(table),\n            Edit::AddSstable { table, meta, .. } => {\n                self.tables.contains_key(table)",
        `            Edit::Rows { .. } | Edit::AddSstable { .. } if ${on("dropped tables take rows")} => true,
            Edit::Rows { table, .. } => self.tables.contains_key(table),
            Edit::AddSstable { table, meta, .. } => {
                self.tables.contains_key(table)`,
      ],
    ],
  },
  {
    name: "adopts any alteration",
    rule: "C6",
    patches: [
      [
        "db/schema.rs",
        "if made.is_ok_and(|made| made.same_columns(&after)) {",
        `if made.is_ok_and(|made| made.same_columns(&after)) || ${on("adopts any alteration")} {`,
      ],
    ],
  },
  {
    name: "a part ends its record",
    rule: "T5",
    patches: [
      [
        "db/changes.rs",
        "        if !more {\n            self.cursor = open.after;",
        `        if more && ${on("a part ends its record")} {
            self.cursor = open.after;
        }
        if !more {
            self.cursor = open.after;`,
      ],
    ],
  },
  {
    name: "a feed leaps",
    rule: "T5",
    patches: [
      [
        "db/changes.rs",
        "            if self.pending.is_some() {\n                if let Some(change) = self.pending_part()? {\n",
        `            if ${on("a feed leaps")}
                && self.pending.is_none()
                && self.previews.is_some()
                && self.cursor.seq + 1 < head
            {
                self.begin_record().await?;
                self.cursor = self.open.take().map_or(self.cursor, |open| open.after);
            }
            if self.pending.is_some() {
                if let Some(change) = self.pending_part()? {
`,
      ],
    ],
  },
  {
    name: "a floor within a step",
    rule: "W3",
    patches: [
      [
        "flush.rs",
        "(*to > from).then_some((*session, from, *to))",
        `let short = u64::from(${on("a floor within a step")} && *to > from + 1);
        (*to > from).then_some((*session, from, *to - short))`,
      ],
    ],
  },
  {
    name: "open by probing",
    rule: "F2",
    patches: [
      [
        "log/tail.rs",
        'let listed = self.storage.list("log/", Some(&record_key(seq))).await?;',
        `let mut listed = self.storage.list("log/", Some(&record_key(seq))).await?;
        if ${on("open by probing")} {
            let mut next = seq;
            listed.retain(|object| {
                next += 1;
                object.key == record_key(next)
            });
        }`,
      ],
    ],
  },
  {
    name: "checkpoints without rows",
    rule: "L2",
    patches: [
      [
        "log/checkpoint.rs",
        "out.list(version.inline.iter(), |out, rows| {",
        `let inline = match ${on("checkpoints without rows")} {
        true => &[],
        false => version.inline.as_slice(),
    };
    out.list(inline.iter(), |out, rows| {`,
      ],
    ],
  },
  {
    name: "the device's own clock",
    rule: "T1",
    patches: [
      [
        "log/clock.rs",
        "    match store {\n        None => device,",
        `    match store.filter(|_| !${on("the device's own clock")}) {\n        None => device,`,
      ],
    ],
  },
  {
    name: "uploads keep their stamps",
    rule: "T4",
    patches: [
      [
        "flush.rs",
        ".write(target, pending, Keep::Newest, true, &mut flushed.pending)",
        `.write(
                target,
                pending,
                Keep::Newest,
                !${on("uploads keep their stamps")},
                &mut flushed.pending,
            )`,
      ],
    ],
  },
  {
    name: "one session for ever",
    rule: "W1",
    patches: [
      [
        "wal/writer.rs",
        "runtime.random(&mut session);",
        `if !${on("one session for ever")} {
            runtime.random(&mut session);
        }`,
      ],
      [
        "wal/writer.rs",
        "            next_frame: 1,\n",
        `            next_frame: match ${on("one session for ever")} {
                true => tail.segments.iter().filter_map(|s| s.last).map(|l| l.1).max().unwrap_or(0) + 1,
                false => 1,
            },
`,
      ],
    ],
  },
  {
    name: "pending rows stay below",
    rule: "W2",
    patches: [
      [
        "state.rs",
        "if let Some((raised, raise)) = self.pending.raised(self.version.head.ts) {",
        `if let Some((raised, raise)) =
            (self.pending.raised(self.version.head.ts)).filter(|_| !${on("pending rows stay below")})
        {`,
      ],
    ],
  },
  {
    name: "floors as they were",
    rule: "W3",
    patches: [
      [
        "flush.rs",
        "if floors().any(|(session, from, _)| version.wal_floor(session) != *from) {",
        `if floors().any(|(session, from, _)| version.wal_floor(session) != *from)
                && !${on("floors as they were")}
            {`,
      ],
    ],
  },
  {
    name: "replay all frames",
    rule: "W3",
    patches: [
      [
        "db/open.rs",
        "if commit.last <= shown.get(&commit.session).copied().unwrap_or(0) {",
        `if commit.last <= shown.get(&commit.session).copied().unwrap_or(0)
                && !${on("replay all frames")}
            {`,
      ],
    ],
  },
  {
    name: "truncate what is pending",
    rule: "W4",
    patches: [
      [
        "db/device.rs",
        "let floors = device.floors(version);\n",
        `let mut floors = device.floors(version);
        if ${on("truncate what is pending")} {
            floors.extend(self.state().pending.positions());
        }
`,
      ],
    ],
  },
  {
    name: "no orphan floor",
    rule: "G3",
    patches: [
      [
        "flush.rs",
        "matches!(edit, Edit::AddSstable { meta, .. } if meta.id <= floor)",
        `matches!(edit, Edit::AddSstable { meta, .. } if meta.id <= floor) && !${on("no orphan floor")}`,
      ],
      [
        "log/version.rs",
        "if meta.id <= self.orphan_floor {",
        `if meta.id <= self.orphan_floor && !${on("no orphan floor")} {`,
      ],
    ],
  },
  {
    name: "alone in its group",
    rule: "C1",
    patches: [
      [
        "db/conflict.rs",
        "since.chain(earlier) {",
        `since.chain(match ${on("alone in its group")} {
            true => &[],
            false => earlier,
        }) {`,
      ],
    ],
  },
  {
    name: "sstables never conflict",
    rule: "C4",
    patches: [
      [
        "db/conflict.rs",
        "Touched::File(file) => self.files.get(&file.meta.id).copied(),",
        `Touched::File(_) if ${on("sstables never conflict")} => Some(false),
                Touched::File(file) => self.files.get(&file.meta.id).copied(),`,
      ],
    ],
  },
  {
    name: "leapt over is not changed",
    rule: "C4",
    patches: [
      [
        "state/recent.rs",
        "pub fn leapt(&self) -> Self {\n        let mut next = self.clone();",
        `pub fn leapt(&self) -> Self {
        let mut next = self.clone();
        if ${on("leapt over is not changed")} {
            return next;
        }`,
      ],
    ],
  },
  {
    name: "as of times to come",
    rule: "T3",
    patches: [
      [
        "log/history.rs",
        "AsOf::Timestamp(ts) => (*ts).min(version.head.ts),",
        `AsOf::Timestamp(ts) if ${on("as of times to come")} => *ts,
        AsOf::Timestamp(ts) => (*ts).min(version.head.ts),`,
      ],
    ],
  },
  {
    name: "the past is as it is now",
    rule: "promise 18",
    patches: [
      [
        "db/snapshot.rs",
        "    let then = state.version.as_of(ts)?;",
        `    if ${on("the past is as it is now")} {
        return Ok(state);
    }
    let then = state.version.as_of(ts)?;`,
      ],
    ],
  },
  {
    name: "a flush moves rows as they are now",
    rule: "promise 18",
    patches: [
      [
        "flush.rs",
        "if inline::has_older(version, table.id, &table.entry, last.inline_to) {",
        `if inline::has_older(version, table.id, &table.entry, last.inline_to)
            && !${on("a flush moves rows as they are now")}
        {`,
      ],
      [
        "log/version.rs",
        "            Some(since) if oldest < since && self.watermark < since => Err(format!(",
        `            Some(since)
                if oldest < since
                    && self.watermark < since
                    && !${on("a flush moves rows as they are now")} =>
            Err(format!(`,
      ],
    ],
  },
  {
    name: "dropped tables take their files along",
    rule: "promise 18",
    patches: [
      [
        "log/version.rs",
        "                if let Some(entry) = self.tables.remove(table) {",
        `                if ${on("dropped tables take their files along")} {
                    self.files.remove(table);
                }
                if let Some(entry) = self.tables.remove(table) {`,
      ],
    ],
  },
  {
    name: "half a commit replays",
    rule: "W1",
    patches: [
      [
        "wal/segment.rs",
        "open.take_if(|_| frame.end_of_commit)",
        `open.take_if(|_| frame.end_of_commit || ${on("half a commit replays")})`,
      ],
    ],
  },
  {
    name: "tags pin nothing",
    rule: "G1",
    patches: [
      [
        "log/gc.rs",
        "version.watermark.max(passed.min(version.head.ts).min(tag))",
        `version.watermark.max(passed.min(version.head.ts).min(match ${on("tags pin nothing")} {
        true => i64::MAX,
        false => tag,
    }))`,
      ],
    ],
  },
  {
    name: "gc by its own clock",
    rule: "G3",
    patches: [
      [
        "db/gc.rs",
        "moment.store.unwrap_or(moment.wall)",
        `match ${on("gc by its own clock")} {
            true => moment.wall,
            false => moment.store.unwrap_or(moment.wall),
        }`,
      ],
    ],
  },
];
