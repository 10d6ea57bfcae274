//! What every store must do, over HTTP.

use crate::support::{
    conformance::{self, Excused},
    s3::{fresh_prefix, server},
};
use bytes::Bytes;
use lakeshore::{
    ErrorKind,
    env::{PutOutcome, Storage},
    platform::{native, over_fusio::OverFusio, s3::S3Options},
};
use std::sync::Arc;

const DATA_ONLY: Excused = Excused {
    replacing_hides: false,
    slow: false,
    no_wal: true,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_conforms() {
    let Some(server) = server("a_bucket_conforms") else {
        return;
    };
    conformance::run(|| server.fresh(), DATA_ONLY).await;
    conformance::append_files_and_locks_are_unsupported(server.fresh()).await;
    let tells = conformance::a_listing_tells_when_objects_were_written_or_nothing(server.fresh());
    assert!(tells.await, "S3 tells");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_as_a_fusio_store_conforms() {
    let Some(server) = server("a_bucket_as_a_fusio_store_conforms") else {
        return;
    };
    let slow = Excused {
        slow: true,
        ..DATA_ONLY
    };
    let make = || OverFusio::new((*server.fresh()).clone()) as Arc<dyn Storage>;
    conformance::run(make, slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_over_pages() {
    let Some(server) = server("a_listing_goes_over_pages") else {
        return;
    };
    for keys in [1, 2, 7] {
        let mut options = server.options(&fresh_prefix());
        options.page_keys = Some(keys);
        let store = native::s3(options).unwrap();
        conformance::listing_is_complete_ordered_and_filtered(store).await;
    }
}

#[tokio::test]
async fn prefixes_of_any_characters_are_signed_and_listed_right() {
    let Some(server) = server("prefixes_of_any_characters_are_signed_and_listed_right") else {
        return;
    };
    let base = fresh_prefix();
    for tail in [
        "with space",
        "plus+sign",
        "ünï/日本/🦆",
        "a%20b",
        "quo\"te'and&amp;<tag>",
        "star*(paren)!~;:@$,=?#",
        "slashes/at/ends//",
        "a\\b^c`d{e}|f[g]",
    ] {
        let store = server.store(&format!("{base}/{tail}"));
        for key in ["log/1", "log/2", "x"] {
            let created = store.put_if_absent(key, Bytes::from(key.to_owned())).await;
            assert_eq!(created.unwrap(), PutOutcome::Created, "{tail} {key}");
        }
        let listed = store.list("log/", None).await.unwrap();
        let keys: Vec<_> = listed.iter().map(|meta| meta.key.as_str()).collect();
        assert_eq!(keys, ["log/1", "log/2"], "{tail}");
        assert_eq!(
            store.list("", Some("log/1")).await.unwrap().len(),
            2,
            "{tail}"
        );
        assert_eq!(store.get("x").await.unwrap().unwrap(), "x", "{tail}");
        let mut paged = server.options(&format!("{base}/{tail}"));
        paged.page_keys = Some(1);
        let paged = native::s3(paged).unwrap();
        assert_eq!(paged.list("", None).await.unwrap().len(), 3, "{tail}");
    }
}

#[test]
fn outside_of_tokio_the_error_says_so() {
    let error = native::s3(S3Options::new("bucket")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("tokio"), "{error}");
}

#[test]
fn it_works_from_a_thread_without_tokio() {
    let Some(server) = server("it_works_from_a_thread_without_tokio") else {
        return;
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = {
        let _entered = tokio.enter();
        server.fresh()
    };
    futures_executor::block_on(async {
        store.put("a", Bytes::from_static(b"b")).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap(), "b");
    });
}
