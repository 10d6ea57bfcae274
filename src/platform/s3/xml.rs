//! As much XML as S3's answers need: a listing, and an error. Invariants: slices of the input only, no
//! recursion, no expansion but of character entities; whatever the input, it ends with an answer or `None`.

use super::encode::decode;
use crate::platform::date::iso_date;

/// What comes next in a document.
enum Token<'a> {
    Open(&'a str),
    Close,
    Text(&'a str),
}

struct Tokens<'a> {
    rest: &'a str,
    /// An element that closes itself was opened: its `Close` comes next.
    empty: bool,
}

impl<'a> Tokens<'a> {
    /// The next token; `None` at the end, and where the text is not XML.
    fn next(&mut self) -> Option<Token<'a>> {
        if std::mem::take(&mut self.empty) {
            return Some(Token::Close);
        }
        loop {
            let Some(markup) = self.rest.strip_prefix('<') else {
                let end = self.rest.find('<')?;
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(Token::Text(text));
            };
            let end = match markup.get(..3) {
                Some("!--") => "-->",
                _ if markup.starts_with('?') => "?>",
                _ => ">",
            };
            let (tag, rest) = markup.split_once(end)?;
            self.rest = rest;
            match tag.as_bytes().first()? {
                b'!' | b'?' => continue,
                b'/' => return Some(Token::Close),
                _ => {
                    self.empty = tag.ends_with('/');
                    let name = tag.trim_end_matches('/').split_ascii_whitespace().next()?;
                    // A namespace prefix says nothing here.
                    return Some(Token::Open(name.rsplit(':').next()?));
                }
            }
        }
    }
}

/// Text with its character entities resolved; `None` if one is not known.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = entity.split_once(';')?;
        rest = after;
        out.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let digits = name.strip_prefix('#')?;
                let code = match digits.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => digits.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
    }
    out.push_str(rest);
    Some(out)
}

type AtEnd<'f, 'a> = dyn FnMut(&[&'a str], Option<String>) -> Option<()> + 'f;

/// Calls `end(names from the root, text)` at the end of each element; no text if it holds elements.
/// `None` if the text is not XML to its end, or `end` gives `None`.
fn walk<'a>(text: &'a str, end: &mut AtEnd<'_, 'a>) -> Option<()> {
    const DEEPEST: usize = 16;
    let mut tokens = Tokens {
        rest: text.trim_start_matches('\u{feff}').trim(),
        empty: false,
    };
    let mut path: Vec<&str> = Vec::new();
    let mut value = Some("");
    while !tokens.rest.is_empty() || tokens.empty {
        match tokens.next()? {
            Token::Open(_) if path.len() == DEEPEST => return None,
            Token::Open(name) => {
                path.push(name);
                value = Some("");
            }
            Token::Text(text) => value = value.map(|_| text),
            Token::Close => {
                let text = match value.take() {
                    Some(text) => Some(unescape(text)?),
                    None => None,
                };
                end(&path, text)?;
                path.pop()?;
            }
        }
    }
    path.is_empty().then_some(())
}

/// One page of a ListObjectsV2 answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Keys are whole, and decoded.
    pub(super) objects: Vec<Listed>,
    /// Where the next page begins; `None` at the end.
    pub(super) next: Option<String>,
}

/// One object of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: u64,
    /// When it was written, in microseconds; not every store says it.
    pub(super) modified: Option<i64>,
}

/// Reads a listing. `None` if it is not one.
pub(super) fn page(body: &[u8]) -> Option<Page> {
    let text = std::str::from_utf8(body).ok()?;
    let mut page = Page::default();
    let (mut key, mut size): (Option<String>, Option<u64>) = (None, None);
    let mut modified = None;
    let (mut encoded, mut truncated, mut root) = (false, false, false);
    walk(text, &mut |path, value| {
        root |= path.first() == Some(&"ListBucketResult");
        match (path, value) {
            ([_, "Contents", "Key"], Some(value)) => key = Some(value),
            ([_, "Contents", "Size"], Some(value)) => size = Some(value.trim().parse().ok()?),
            ([_, "Contents", "LastModified"], Some(value)) => modified = iso_date(&value),
            // Half an entry is none.
            ([_, "Contents"], _) => page.objects.push(Listed {
                key: key.take()?,
                size: size.take()?,
                modified: modified.take(),
            }),
            ([_, "IsTruncated"], Some(value)) => truncated = value.trim() == "true",
            ([_, "NextContinuationToken"], Some(value)) => page.next = Some(value),
            ([_, "EncodingType"], Some(value)) => encoded = value.trim() == "url",
            _ => {}
        }
        Some(())
    })?;
    // Not a document of another kind.
    root.then_some(())?;
    if encoded {
        for object in &mut page.objects {
            object.key = decode(&object.key)?;
        }
    }
    match truncated {
        true if page.next.as_ref().is_none_or(String::is_empty) => return None,
        true => {}
        false => page.next = None,
    }
    Some(page)
}

/// What an error answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// Such as `NoSuchKey`; empty if the body is not an S3 error.
    pub(super) code: String,
    pub(super) message: String,
    /// The region the bucket is in, if the request went to another.
    pub(super) region: Option<String>,
    /// The store's time in microseconds, if the request's was refused.
    pub(super) server_time: Option<i64>,
}

/// Reads an error, as far as it is one.
pub(super) fn error(body: &[u8]) -> ErrorBody {
    let mut error = ErrorBody::default();
    let Ok(text) = std::str::from_utf8(body) else {
        return error;
    };
    // A body cut off in the middle still said its code.
    let _ = walk(text, &mut |path, value| {
        let Some(value) = value else { return Some(()) };
        match path {
            ["Error", "Code"] => error.code = value,
            ["Error", "Message"] => error.message = value,
            ["Error", "Region"] => error.region = Some(value),
            ["Error", "ServerTime"] => error.server_time = iso_date(&value),
            _ => {}
        }
        Some(())
    });
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <!-- from a store -->
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/>
        <Contents><Key>a+b/%C3%BC%2B</Key><Owner><ID>x</ID></Owner><Size>12</Size><ETag>&quot;e&quot;</ETag>
        <LastModified>2013-05-24T00:00:07.123Z</LastModified></Contents>
        <Contents><LastModified>yesterday</LastModified><Size>0</Size><Key>z</Key></Contents>
        <Contents><Size>1</Size><Key>zz</Key></Contents>
        <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
        <NextContinuationToken>a&amp;b&#60;&#x3e;</NextContinuationToken></ListBucketResult>"#;

    #[test]
    fn a_listing_is_read_and_unescaped() {
        let expected = Page {
            objects: vec![
                Listed {
                    key: "a b/ü+".to_owned(),
                    size: 12,
                    modified: Some(1_369_353_607_000_000),
                },
                Listed {
                    key: "z".to_owned(),
                    ..Listed::default()
                },
                Listed {
                    key: "zz".to_owned(),
                    size: 1,
                    modified: None,
                },
            ],
            next: Some("a&b<>".to_owned()),
        };
        assert_eq!(page(LISTING.as_bytes()), Some(expected));
    }

    #[test]
    fn an_empty_listing_is_a_page() {
        let text = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        assert_eq!(page(text.as_bytes()), Some(Page::default()));
        assert_eq!(page(b"<ListBucketResult/>"), Some(Page::default()));
    }

    #[test]
    fn what_is_not_a_listing_is_refused() {
        for text in [
            "",
            "ok",
            "<html><body>Sign in</body></html>",
            "<Error><Code>SlowDown</Code></Error>",
            "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><Contents/></ListBucketResult>",
            "<ListBucketResult><Contents><Key>&evil;</Key><Size>1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated>",
            "<ListBucketResult></ListBucketResult></x>",
            "<ListBucketResult><",
        ] {
            assert_eq!(page(text.as_bytes()), None, "{text}");
        }
        assert_eq!(page(&[0xff, 0xfe]), None);
        assert_eq!(page("<a>".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn a_listing_cut_anywhere_is_refused_and_a_changed_one_never_panics() {
        for end in 0..LISTING.len() {
            if let Some(cut) = LISTING.get(..end) {
                assert_eq!(page(cut.as_bytes()), None, "{cut}");
            }
        }
        let mut bytes = LISTING.as_bytes().to_vec();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            let before = std::mem::replace(&mut bytes[at], (state >> 20) as u8);
            let _ = (page(&bytes), error(&bytes));
            bytes[at] = before;
        }
    }

    #[test]
    fn an_error_says_its_code_even_when_cut_off() {
        let text = "<Error><Code>RequestTimeTooSkewed</Code><Message>late &amp; wrong</Message>\
                    <Region>eu-west-1</Region><ServerTime>2013-05-24T00:00:00Z</ServerTime><X>";
        let expected = ErrorBody {
            code: "RequestTimeTooSkewed".to_owned(),
            message: "late & wrong".to_owned(),
            region: Some("eu-west-1".to_owned()),
            server_time: Some(1_369_353_600_000_000),
        };
        assert_eq!(error(text.as_bytes()), expected);
        assert_eq!(error(b"<html>502</html>"), ErrorBody::default());
    }
}
