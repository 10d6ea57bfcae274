//! Every type of Arrow's grammar, up to a depth: refused at `table()`, naming the place and what to use
//! instead, or equal on every path, with anything at all under its nulls.
//!
//! Exhaustive to depth 2, sampled by seed to depth 3. A planted mutant that must fail here: `storage_type`
//! leaving dictionaries, or nested parts, as they were declared.

mod bury;
mod doors;
mod grammar;
mod hidden;
mod paths;

use crate::support::random::{Random, seconds, seed};
use arrow_schema::{DataType, Field, FieldRef};
use lakeshore::{ErrorKind, data::schema::TableSchema};
use std::sync::Arc;

/// Columns of one table: enough that few tables do, few enough that a failure is found soon.
const TOGETHER: usize = 32;

fn columns(types: &[DataType], random: &mut Random) -> Vec<FieldRef> {
    let key = Field::new("id", DataType::Int64, false);
    let mut fields = vec![Arc::new(key)];
    for (i, data_type) in types.iter().enumerate() {
        let nullable = random.chance(0.7);
        fields.push(Arc::new(Field::new(
            format!("c{i}"),
            data_type.clone(),
            nullable,
        )));
    }
    fields
}

/// Whether `table()` takes a column of this type; panics where it refuses what it need not, or does not say
/// what, where, and what to do.
fn taken(data_type: &DataType) -> bool {
    let fields = columns(std::slice::from_ref(data_type), &mut Random::new(1));
    let refused = match TableSchema::new(fields, &["id"]) {
        Ok(_) => return true,
        Err(error) => error,
    };
    assert_eq!(
        refused.kind(),
        ErrorKind::Unsupported,
        "{data_type}: {refused}"
    );
    let said = refused.to_string();
    assert!(said.contains("\"c0\""), "{data_type}: no column in {said}");
    let why = grammar::refusal(data_type, "c0")
        .unwrap_or_else(|| panic!("{data_type} is refused without need: {said}"));
    assert!(
        why.path == "c0" || said.contains(&why.path),
        "{data_type}: no {} in {said}",
        why.path
    );
    assert!(
        said.contains(why.remedy),
        "{data_type}: no {:?} in {said}",
        why.remedy
    );
    false
}

/// Puts types through all paths, and names those that fail.
async fn hold(types: &[DataType], random: &mut Random, failed: &mut Vec<String>) {
    for together in types.chunks(TOGETHER) {
        let seed = random.next();
        if paths::all(columns(together, &mut Random::new(seed)), seed)
            .await
            .is_ok()
        {
            continue;
        }
        let before = failed.len();
        for one in together {
            let fields = columns(std::slice::from_ref(one), &mut Random::new(seed));
            if let Err(why) = paths::all(fields, seed).await {
                failed.push(format!("{one}: {why}"));
            }
        }
        if failed.len() == before {
            let fields = columns(together, &mut Random::new(seed));
            let why = paths::all(fields, seed).await.unwrap_err();
            failed.push(format!("together only, {together:?}: {why}"));
        }
    }
}

fn report(failed: &[String]) {
    let some: Vec<&str> = failed.iter().take(40).map(String::as_str).collect();
    assert!(
        failed.is_empty(),
        "{} fail:\n{}",
        failed.len(),
        some.join("\n")
    );
}

#[tokio::test]
async fn every_type_to_depth_two_comes_back_on_every_path_or_is_refused() {
    let seed = seed();
    let mut random = Random::new(seed);
    let all = grammar::to_depth_two();
    let kept: Vec<DataType> = all.iter().filter(|t| taken(t)).cloned().collect();
    println!(
        "SEED={seed}: {} types, {} of them taken",
        all.len(),
        kept.len()
    );
    assert!(kept.len() * 2 > all.len(), "most types are taken");
    let mut failed = Vec::new();
    hold(&kept, &mut random, &mut failed).await;
    report(&failed);
}

#[tokio::test]
async fn types_of_depth_three_come_back_on_every_path_or_are_refused() {
    let seed = seed();
    let mut random = Random::new(seed);
    let (mut tried, mut kept, mut failed) = (0, 0, Vec::new());
    let time = seconds(20);
    while time.left() && failed.is_empty() {
        let some: Vec<DataType> = (0..TOGETHER)
            .map(|_| grammar::sample(3, &mut random))
            .collect();
        tried += some.len();
        let some: Vec<DataType> = some.into_iter().filter(taken).collect();
        kept += some.len();
        hold(&some, &mut random, &mut failed).await;
    }
    println!("SEED={seed}: {tried} types of depth 3, {kept} of them taken");
    report(&failed);
}
