//! Where a type comes in after the table is there: what cannot be kept is refused by alterations, too.

use super::grammar;
use crate::support::random::Random;
use arrow_schema::{DataType, Field};
use lakeshore::{
    Alteration, Db, Env, ErrorKind, Options, data::schema::TableSchema,
    platform::native::TokioRuntime,
};
use std::sync::Arc;

#[tokio::test]
async fn a_column_that_cannot_be_kept_is_not_added_either() {
    let env = Env::memory(TokioRuntime::current().unwrap());
    let db = Db::open(env, Options::default()).await.unwrap();
    let id = Arc::new(Field::new("id", DataType::Int64, false));
    let schema = TableSchema::new(vec![id], &["id"]).unwrap();
    let table = db.create_table("t", schema).await.unwrap();
    let types = grammar::to_depth_two();
    let mut random = Random::new(1);
    let refused: Vec<&DataType> = (types.iter())
        .filter(|t| grammar::refusal(t, "v").is_some() && random.chance(0.2))
        .collect();
    assert!(refused.len() > 20);
    for data_type in refused {
        let column = Alteration::AddColumn(Arc::new(Field::new("v", data_type.clone(), true)));
        let error = db
            .alter_table("t", &[column])
            .await
            .expect_err(&data_type.to_string());
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{data_type}: {error}");
        let why = grammar::refusal(data_type, "v").unwrap();
        let said = error.to_string();
        assert!(
            said.contains(&why.path) && said.contains(why.remedy),
            "{data_type}: {said}"
        );
    }
    assert_eq!(table.schema().unwrap().user().fields().len(), 1);
}
