//! Tokens of PTX.
use super::Refusal;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// A name, a directive, an opcode with its modifiers or a number.
    Word(&'a str),
    Text(&'a str),
    Mark(u8),
}

/// The tokens of a text with the lines they stand in, counted from 1.
pub fn tokens(text: &str) -> Result<Vec<(Token<'_>, u32)>, Refusal> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'%' | b'.');
    while at < bytes.len() {
        let byte = bytes[at];
        let start = at;
        match byte {
            b'\n' => {
                line += 1;
                at += 1;
            }
            _ if byte.is_ascii_whitespace() || byte == 0 => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let Some(length) = text[at + 2..].find("*/") else {
                    return Err(Refusal::new(line, "a comment has no end"));
                };
                line += text[at..at + 2 + length].matches('\n').count() as u32;
                at += length + 4;
            }
            b'"' => {
                let Some(length) = text[at + 1..].find('"') else {
                    return Err(Refusal::new(line, "a text has no end"));
                };
                found.push((Token::Text(&text[at + 1..at + 1 + length]), line));
                at += length + 2;
            }
            _ if word(byte) => {
                while at < bytes.len() && word(bytes[at]) {
                    at += 1;
                }
                found.push((Token::Word(&text[start..at]), line));
            }
            _ if byte.is_ascii() => {
                found.push((Token::Mark(byte), line));
                at += 1;
            }
            _ => return Err(Refusal::new(line, "a character that PTX does not have")),
        }
    }
    Ok(found)
}
