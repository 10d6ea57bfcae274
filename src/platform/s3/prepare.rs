//! A call as a request ready to be sent, signed by whoever signs. Invariant: the path, the query and the
//! headers that are signed are the ones that are sent.

use super::{
    S3,
    access::{Access, Credentials, Signer, Unsigned},
    answer::Op,
    driver::{Call, within},
    encode::decode,
    http::{Announced, HttpRequest},
    sign::{ToSign, authorization},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::date::amz_date,
};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

/// What every attempt of a call shares.
pub(super) struct Common<'a> {
    pub(super) call: &'a Call<'a>,
    /// Percent-encoded.
    pub(super) path: String,
    /// SHA-256 of the body, unless nobody signs.
    pub(super) body_digest: String,
}

impl S3 {
    /// The request of one attempt, and the keys that signed it; never `refused` ones.
    pub(super) async fn prepare(
        &self,
        common: &Common<'_>,
        refused: Option<&Credentials>,
        timeout: Duration,
    ) -> Result<(HttpRequest, Option<Credentials>)> {
        let call = common.call;
        let headers = call.headers.iter();
        let mut request = HttpRequest {
            method: match call.op {
                Op::Put | Op::PutIfAbsent => "PUT",
                Op::Delete => "DELETE",
                _ => "GET",
            },
            url: self.inner.place.url(&common.path, &call.query),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            body: call.body.clone(),
            limit: call.limit,
            announced: Announced::default(),
        };
        let keys = match (&self.inner.access, &self.inner.keys) {
            (Access::Credentials(keys), _) => Some(keys.clone()),
            (Access::Provider(_), Some(keys)) => {
                let runtime = &*self.inner.runtime;
                let skew = self.inner.skew.load(Relaxed);
                Some(keys.get((runtime, skew), timeout, refused).await?)
            }
            (Access::Signer(signer), _) => {
                self.sign_by(&**signer, &mut request, common, timeout)
                    .await?;
                None
            }
            _ => None,
        };
        if let Some(keys) = &keys {
            self.sign_with(keys, &mut request, common);
        }
        Ok((request, keys))
    }

    fn sign_with(&self, keys: &Credentials, request: &mut HttpRequest, common: &Common<'_>) {
        let place = &self.inner.place;
        let now = self.inner.runtime.now_micros();
        let date = amz_date(now.saturating_add(self.inner.skew.load(Relaxed)));
        let more = [
            ("x-amz-content-sha256", Some(common.body_digest.as_str())),
            ("x-amz-date", Some(date.as_str())),
            ("x-amz-security-token", keys.session_token.as_deref()),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                request.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        let mut headers: Vec<(&str, &str)> = vec![("host", &place.host)];
        let own = request.headers.iter();
        headers.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        let what = ToSign {
            method: request.method,
            path: &common.path,
            query: &common.call.query,
            headers: &headers,
            body_digest: &common.body_digest,
            date: &date,
            region: &place.region,
        };
        let value = authorization(&what, &keys.access_key_id, &keys.secret_access_key);
        request.headers.push(("authorization".to_owned(), value));
    }

    async fn sign_by(
        &self,
        signer: &dyn Signer,
        request: &mut HttpRequest,
        common: &Common<'_>,
        timeout: Duration,
    ) -> Result<()> {
        let digest = ("x-amz-content-sha256", &common.body_digest);
        request
            .headers
            .push((digest.0.to_owned(), digest.1.clone()));
        let signing = signer.sign(Unsigned {
            method: request.method,
            url: request.url.clone(),
            headers: request.headers.clone(),
        });
        let signed = within(&*self.inner.runtime, timeout, signing)
            .await
            .unwrap_or_else(|| Err(Error::new(ErrorKind::Unavailable, "no answer in time")))
            .map_err(|error| error.context("s3 sign(request) failed"))?;
        for (name, value) in signed.headers {
            let name = name.to_ascii_lowercase();
            request.headers.retain(|(known, _)| *known != name);
            request.headers.push((name, value));
        }
        if let Some(covered) = signed.url.as_deref().and_then(signed_headers) {
            // S3 refuses what begins with x-amz- and is not signed; the URL says what is.
            let refused =
                |name: &str| name.starts_with("x-amz-") && !covered.iter().any(|c| c == name);
            request.headers.retain(|(name, _)| !refused(name));
        }
        if let Some(url) = signed.url {
            request.url = url;
        }
        Ok(())
    }
}

/// The names of the headers that a presigned URL covers, in lower case; `None` if it is not presigned.
fn signed_headers(url: &str) -> Option<Vec<String>> {
    let query = url.split_once('?')?.1;
    let query = query.split('#').next().unwrap_or_default();
    let value = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.eq_ignore_ascii_case("x-amz-signedheaders")).then_some(value)
    })?;
    let names = decode(value)?.to_ascii_lowercase();
    Some(names.split(';').map(str::to_owned).collect())
}
