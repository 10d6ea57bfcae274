//! Where a bucket is and how its store behaves. Invariant: a `Place` is made of checked parts, so that
//! joining them gives a URL whose text is what was signed.

use super::{access::Access, encode::encode};
use crate::error::{Error, Result};
use std::time::Duration;

/// Options of an S3 store. `S3Options::new(bucket)` has a default for all but the bucket.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The bucket. It must exist: it is not created.
    pub bucket: String,
    /// All keys begin with it and a `/`; empty for none. One prefix holds one database.
    pub prefix: String,
    /// The bucket's region: `us-east-1` by default; `auto` for R2.
    pub region: String,
    /// `https://host[:port]` of a store other than AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path and not in the host name. By default with an `endpoint`.
    pub path_style: Option<bool>,
    /// Who signs, with what.
    pub access: Access,
    /// The longest that an attempt may take; a request that is repeated takes at most twice that, all its attempts
    /// and the pauses between them together. The time that its bytes may take (at 128 KiB/s, at most ten minutes;
    /// twice, if it is repeated) comes on top, and so does the wait for a place among `concurrency`.
    pub timeout: Duration,
    /// How often a failed attempt is repeated, while there is time.
    pub retries: u32,
    /// Most requests under way at once; 0 for no bound, as Workers need it: there a request that
    /// vanishes would keep its place for ever.
    pub concurrency: usize,
    /// Most keys of one page of a listing; `None` leaves it to the store (1,000).
    pub page_keys: Option<u32>,
}

impl S3Options {
    /// AWS in `us-east-1`, unsigned.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: None,
            access: Access::Anonymous,
            timeout: Duration::from_secs(30),
            retries: 4,
            concurrency: if crate::platform::SMALL_MEMORY { 6 } else { 64 },
            page_keys: None,
        }
    }
}

/// Longest key of S3, in bytes.
const MAX_KEY: usize = 1024;

/// A checked place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `https://` or `http://`.
    scheme: &'static str,
    /// As the header `host` has it: lower case, without a default port.
    pub(super) host: String,
    /// Percent-encoded path before the key, without a final `/`.
    base: String,
    /// Empty, or with a final `/`; not encoded.
    pub(super) prefix: String,
    pub(super) region: String,
    /// For messages and `describe`.
    pub(super) name: String,
}

fn wrong(option: &str, value: &str, takes: &str) -> Error {
    Error::invalid(format!("s3 option {option} is {value:?}: it takes {takes}"))
}

impl Place {
    pub(super) fn new(options: &S3Options) -> Result<Self> {
        let bucket = options.bucket.as_str();
        let of_bucket = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(of_bucket)
            || !bucket.as_bytes()[0].is_ascii_alphanumeric()
            || bucket.contains("..")
        {
            return Err(wrong(
                "bucket",
                bucket,
                "the name of a bucket: 3 to 63 of a-z 0-9 . -",
            ));
        }
        let region = options.region.as_str();
        let of_region = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if region.is_empty() || region.len() > 64 || !region.bytes().all(of_region) {
            return Err(wrong("region", region, "a region such as \"eu-central-1\""));
        }
        let prefix = prefix(&options.prefix)?;
        let (scheme, authority, path) = match &options.endpoint {
            Some(endpoint) => endpoint_parts(endpoint)?,
            None => ("https://", format!("s3.{region}.{}", domain(region)), ""),
        };
        // A dot in the bucket's name matches no wildcard certificate.
        let by_path = options.path_style.unwrap_or_else(|| {
            options.endpoint.is_some() || bucket.contains('.') || bucket.contains('_')
        });
        let mut base = path.to_owned();
        let host = if by_path {
            base.push('/');
            base.push_str(bucket);
            authority
        } else {
            format!("{}.{authority}", bucket.to_ascii_lowercase())
        };
        let under = if prefix.is_empty() { "" } else { "/" };
        let name = format!(
            "s3 bucket {bucket}{under}{} at {scheme}{host}",
            prefix.trim_end_matches('/')
        );
        Ok(Self {
            scheme,
            host,
            base,
            prefix,
            region: region.to_owned(),
            name,
        })
    }

    /// The encoded path of an object, or of the bucket.
    pub(super) fn path(&self, key: Option<&str>) -> Result<String> {
        let mut path = self.base.clone();
        path.push('/');
        if let Some(key) = key {
            if self.prefix.len() + key.len() > MAX_KEY {
                return Err(Error::invalid(format!(
                    "{key:?} is longer than an S3 key may be with the option prefix before it: \
                     1024 bytes"
                )));
            }
            encode(&self.prefix, true, &mut path);
            encode(key, true, &mut path);
        }
        Ok(path)
    }

    pub(super) fn url(&self, path: &str, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        [self.scheme, &self.host, path, mark, query].concat()
    }
}

/// What AWS calls its hosts where they are not below `amazonaws.com`.
const DOMAINS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
];

/// The domain of AWS in a region.
fn domain(region: &str) -> &'static str {
    let of_region = |(prefix, _): &&(&str, &str)| region.starts_with(prefix);
    DOMAINS
        .iter()
        .find(of_region)
        .map_or("amazonaws.com", |(_, domain)| domain)
}

/// Without slashes at its ends, then with one at the end.
fn prefix(given: &str) -> Result<String> {
    let trimmed = given.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    // A URL parser would take `.` and `..` out of the path that was signed.
    let plain = |segment: &str| !matches!(segment, "" | "." | "..");
    let refused = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if trimmed.len() > 700 || !trimmed.split('/').all(plain) || trimmed.contains(refused) {
        return Err(wrong(
            "prefix",
            given,
            "segments joined by \"/\", none of them empty, \".\" or \"..\", in all at most 700 \
             bytes without control characters",
        ));
    }
    Ok(format!("{trimmed}/"))
}

/// Scheme, host as in the header `host`, and path without a final `/`.
fn endpoint_parts(endpoint: &str) -> Result<(&'static str, String, &str)> {
    // Not shown: there may be a password in it.
    let wrong = |why: &str| {
        Error::invalid(format!(
            "s3 option endpoint {why}: it takes https://host or http://host:port, with no user, \
             query or fragment"
        ))
    };
    let (scheme, default_port, rest) = if let Some(rest) = endpoint.strip_prefix("https://") {
        ("https://", ":443", rest)
    } else if let Some(rest) = endpoint.strip_prefix("http://") {
        ("http://", ":80", rest)
    } else {
        return Err(wrong("has no scheme"));
    };
    if rest.contains(['@', '?', '#', '\\', '%']) {
        return Err(wrong("has a part that is not taken"));
    }
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
        None => (rest, ""),
    };
    let of_path =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'~');
    let segments_plain = |s: &str| !matches!(s, "." | "..");
    if !path.bytes().all(of_path) || path.contains("//") || !path.split('/').all(segments_plain) {
        return Err(wrong("has a path that is not plain"));
    }
    let authority = authority.to_ascii_lowercase();
    let (host, port) = match authority.strip_prefix('[').and_then(|a| a.find(']')) {
        Some(end) => authority.split_at(end + 2),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let inner = host.trim_start_matches('[').trim_end_matches(']');
    let of_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let digits = port.strip_prefix(':');
    if inner.is_empty()
        || !inner.bytes().all(of_host)
        || !(port.is_empty() || digits.is_some_and(|d| d.parse::<u16>().is_ok_and(|p| p > 0)))
    {
        return Err(wrong("has no host, or not a plain one"));
    }
    let port = if port == default_port { "" } else { port };
    Ok((scheme, format!("{host}{port}"), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(change: impl FnOnce(&mut S3Options)) -> Result<Place> {
        let mut options = S3Options::new("my-bucket");
        change(&mut options);
        Place::new(&options)
    }

    fn url(change: impl FnOnce(&mut S3Options)) -> String {
        let place = place(change).unwrap();
        place.url(&place.path(Some("log/1")).unwrap(), "")
    }

    #[test]
    fn styles_and_prefixes_give_their_urls() {
        assert_eq!(
            url(|o| o.region = "eu-west-1".into()),
            "https://my-bucket.s3.eu-west-1.amazonaws.com/log/1"
        );
        assert_eq!(
            url(|o| o.region = "cn-northwest-1".into()),
            "https://my-bucket.s3.cn-northwest-1.amazonaws.com.cn/log/1"
        );
        assert_eq!(
            url(|o| o.bucket = "my.bucket".into()),
            "https://s3.us-east-1.amazonaws.com/my.bucket/log/1"
        );
        assert_eq!(
            url(|o| {
                o.endpoint = Some("HTTP://x".to_lowercase() + ":7480/");
                o.prefix = "//a b/+ü//".into();
            }),
            "http://x:7480/my-bucket/a%20b/%2B%C3%BC/log/1"
        );
        assert_eq!(
            url(|o| {
                o.endpoint = Some("https://Example.com:443/storage/v1/s3".into());
                o.path_style = Some(false);
            }),
            "https://my-bucket.example.com/storage/v1/s3/log/1"
        );
        assert_eq!(
            url(|o| o.endpoint = Some("http://[::1]:80".into())),
            "http://[::1]/my-bucket/log/1"
        );
    }

    #[test]
    fn wrong_places_are_invalid_and_name_the_option() {
        for endpoint in [
            "",
            "localhost:9000",
            "ftp://x",
            "https://",
            "https://user:hunter2@x",
            "https://x?X-Amz-Signature=hunter2",
            "https://x#hunter2",
            "https://x/../y",
            "https://x//y",
            "https://x:0",
            "https://x:99999",
            "https://x:1:2",
            "https://ü",
            "https://x y",
            "https://[::1",
        ] {
            let error = place(|o| o.endpoint = Some(endpoint.into())).unwrap_err();
            assert!(error.message().contains("endpoint"), "{endpoint}: {error}");
            assert!(!error.message().contains("hunter2"), "{error}");
        }
        for prefix in ["a//b", "a/./b", "../a", "a/..", "a\0b", &"a".repeat(701)] {
            let error = place(|o| o.prefix = prefix.into()).unwrap_err();
            assert!(error.message().contains("prefix"), "{prefix}: {error}");
        }
        for bucket in ["", "ab", "a/b", "a b c", "-abc", "a..b", "ü-bucket"] {
            let error = place(|o| o.bucket = bucket.into()).unwrap_err();
            assert!(error.message().contains("bucket"), "{bucket}: {error}");
        }
        for region in ["", "eu west", "eu/west"] {
            let error = place(|o| o.region = region.into()).unwrap_err();
            assert!(error.message().contains("region"), "{region}: {error}");
        }
    }
}
