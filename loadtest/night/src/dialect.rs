//! How a table is written: charset, line end, separator, date style. Each election has its own, as real ones do.

use crate::clock::DateStyle;

/// Charset of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// UTF-8, with a byte order mark at the start of the file.
    Utf8Bom,
    /// ISO-8859-1.
    Latin1,
    /// ASCII: accents are dropped.
    Ascii,
}

/// The way of writing of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) charset: Charset,
    /// LF, or CR alone.
    pub(crate) newline: u8,
    pub(crate) separator: u8,
    /// The file begins with a line `sep=` and the separator.
    pub(crate) declares: bool,
    pub(crate) dates: DateStyle,
}

const DIALECTS: [Dialect; 3] = [
    Dialect { charset: Charset::Utf8Bom, newline: b'\n', separator: b',', declares: false, dates: DateStyle::DayFirst },
    Dialect { charset: Charset::Latin1, newline: b'\n', separator: b'|', declares: true, dates: DateStyle::YearFirst },
    Dialect { charset: Charset::Ascii, newline: b'\r', separator: b',', declares: false, dates: DateStyle::DayFirst },
];

impl Dialect {
    /// The dialect of the election with this number.
    pub(crate) fn of(election: usize) -> Self {
        let [first, second, third] = DIALECTS;
        match election % 3 {
            0 => first,
            1 => second,
            _ => third,
        }
    }

    /// `text` in this charset, without a byte order mark.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self.charset {
            Charset::Utf8Bom => text.as_bytes().to_vec(),
            Charset::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
            Charset::Ascii => text.chars().map(plain).collect(),
        }
    }

    /// Ends a line.
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        out.push(self.newline);
    }

    /// Appends fields and ends the line.
    pub(crate) fn line<'a>(self, out: &mut Vec<u8>, fields: impl IntoIterator<Item = &'a str>) {
        for (at, field) in fields.into_iter().enumerate() {
            if at > 0 {
                out.push(self.separator);
            }
            out.extend(self.encode(field));
        }
        self.end(out);
    }
}

/// The letter without its accent; `?` for what has no such letter.
fn plain(letter: char) -> u8 {
    match letter {
        'Á' => b'A',
        'É' => b'E',
        'Í' => b'I',
        'Ó' => b'O',
        'Ú' | 'Ü' => b'U',
        'Ñ' => b'N',
        'á' => b'a',
        'é' => b'e',
        'í' => b'i',
        'ó' => b'o',
        'ú' | 'ü' => b'u',
        'ñ' => b'n',
        other => u8::try_from(other).ok().filter(u8::is_ascii).unwrap_or(b'?'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_in_three_charsets() {
        assert_eq!(Dialect::of(0).encode("PEÑA"), "PEÑA".as_bytes());
        assert_eq!(Dialect::of(1).encode("PEÑA"), b"PE\xd1A");
        assert_eq!(Dialect::of(2).encode("PEÑA ú €"), b"PENA u ?");
        assert_eq!(Dialect::of(3), Dialect::of(0));
    }

    #[test]
    fn lines() {
        let mut out = Vec::new();
        Dialect::of(1).line(&mut out, ["A", "B"]);
        Dialect::of(2).line(&mut out, ["C", "", "D"]);
        assert_eq!(out, b"A|B\nC,,D\r");
    }
}
