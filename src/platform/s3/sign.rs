//! AWS Signature Version 4, as S3 wants it (no double encoding, the body's digest in a header).
//! Pure: the time, the path, the query and the headers come in as they will be sent.

use super::encode::hex;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// What a signature covers.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    /// Percent-encoded.
    pub(super) path: &'a str,
    /// Percent-encoded, in the order of the names.
    pub(super) query: &'a str,
    /// Lower-case names, `host` among them; sorted here.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// Hexadecimal SHA-256 of the body.
    pub(super) body_digest: &'a str,
    /// `20130524T000000Z`.
    pub(super) date: &'a str,
    pub(super) region: &'a str,
}

/// SHA-256 in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The value of the header `authorization`.
pub(super) fn authorization(what: &ToSign<'_>, access_key_id: &str, secret: &str) -> String {
    let mut headers = what.headers.to_vec();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = [what.method, what.path, what.query].join("\n");
    canonical.push('\n');
    for (name, value) in headers {
        for part in [name, ":", value.trim(), "\n"] {
            canonical.push_str(part);
        }
    }
    let canonical = [canonical.as_str(), &names, what.body_digest].join("\n");
    let day = what.date.get(..8).unwrap_or_default();
    let scope = [day, what.region, "s3", "aws4_request"].join("/");
    let digest = digest(canonical.as_bytes());
    let text = ["AWS4-HMAC-SHA256", what.date, &scope, &digest].join("\n");
    let mut key = mac(["AWS4", secret].concat().as_bytes(), day);
    for part in [what.region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    [
        "AWS4-HMAC-SHA256 Credential=",
        access_key_id,
        "/",
        &scope,
        ",SignedHeaders=",
        &names,
        ",Signature=",
        &signature,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of "Signature Calculations for the Authorization Header" in the S3 API reference.
    const ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const DATE: &str = "20130524T000000Z";
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let body_digest = digest(body);
        let mut headers = vec![
            HOST,
            ("x-amz-content-sha256", &body_digest),
            ("x-amz-date", DATE),
        ];
        headers.extend_from_slice(more);
        let what = ToSign {
            method,
            path,
            query,
            headers: &headers,
            body_digest: &body_digest,
            date: DATE,
            region: "us-east-1",
        };
        let value = authorization(&what, ID, SECRET);
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn aws_example_get_object_with_a_range() {
        assert_eq!(
            signature("GET", "/test.txt", "", &[("range", "bytes=0-9")], b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn aws_example_put_object() {
        let more = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        assert_eq!(
            signature(
                "PUT",
                "/test%24file.text",
                "",
                &more,
                b"Welcome to Amazon S3."
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn aws_example_get_bucket_lifecycle() {
        assert_eq!(
            signature("GET", "/", "lifecycle=", &[], b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
    }

    #[test]
    fn aws_example_list_objects() {
        assert_eq!(
            signature("GET", "/", "max-keys=2&prefix=J", &[], b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }
}
