//! How far back reads reach (PROTOCOL G1).

use super::version::Version;
use crate::error::{Error, ErrorKind, Result};

/// Whether reads as of `ts` still see what was there then.
pub fn check_as_of(version: &Version, ts: i64) -> Result<()> {
    match ts >= version.watermark {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Expired,
            format!(
                "{ts} is not kept any more: the oldest time is {}",
                version.watermark
            ),
        )),
    }
}
