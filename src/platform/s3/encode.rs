//! The one percent-encoding of keys, query values and prefixes. Invariant: what is signed and what is
//! sent is the same text, because both come from here (SigV4: every byte but the unreserved is `%XX`).

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Adds `text` to `out`; `/` stays only in a path.
pub(super) fn encode(text: &str, path: bool, out: &mut String) {
    for &byte in text.as_bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || (path && byte == b'/') {
            out.push(byte as char);
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)] as char);
            out.push(HEX[usize::from(byte & 15)] as char);
        }
    }
}

/// Decodes a key of a listing with `encoding-type=url`, where a space may be `+`. `None` if it is not
/// such text.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (pair, after) = rest.split_at_checked(2)?;
                rest = after;
                nibble(pair[0])? << 4 | nibble(pair[1])?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn nibble(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// `name=value&…` in the order given, which must be that of the names (SigV4 sorts them).
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode(name, false, &mut out);
        out.push('=');
        encode(value, false, &mut out);
    }
    out
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push((HEX[usize::from(byte >> 4)] as char).to_ascii_lowercase());
        out.push((HEX[usize::from(byte & 15)] as char).to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unreserved_stay() {
        let mut out = String::new();
        encode("a b+c/ü~.-_=&%'(*)!", true, &mut out);
        assert_eq!(out, "a%20b%2Bc/%C3%BC~.-_%3D%26%25%27%28%2A%29%21");
        assert_eq!(
            decode(&out.replace("%20", "+")).unwrap(),
            "a b+c/ü~.-_=&%'(*)!"
        );
        assert_eq!(query(&[("a/b", "c d"), ("e", "")]), "a%2Fb=c%20d&e=");
    }

    #[test]
    fn what_is_not_encoded_text_is_refused() {
        for text in ["%", "%4", "%zz", "%ff", "a%C3", "%+1"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
