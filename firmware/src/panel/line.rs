//! Lines: found in a stream of bytes, checked, and taken apart.

use std::time::{Duration, Instant};

use crc::{CRC_16_MODBUS, Crc};

/// The longest line in either direction, in bytes, without its line end.
pub const LINE_BYTES_MAX: usize = 120;
/// After so long without a byte, a line that has begun will not be ended.
pub const HALF_LINE_TIMEOUT: Duration = Duration::from_millis(500);

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// CRC-16/MODBUS of everything before ` *`.
pub fn checksum(bytes: &[u8]) -> u16 {
    CRC.checksum(bytes)
}

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line of printable characters, without its end; it may be empty.
    Line(&'a str),
    /// A line that is not text.
    NotText,
    /// A line grew too long; the rest of it will not be kept.
    TooLong,
    /// A question mark where a line would begin.
    Question,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition {
    #[default]
    Sound,
    NotText,
    TooLong,
}

/// Puts lines together, a byte at a time. Holds at most one line.
#[derive(Debug, Default)]
pub struct Assembler {
    line: String,
    condition: Condition,
    /// A carriage return that a line feed has to follow.
    returned: bool,
    /// The line was handed out.
    complete: bool,
    last_byte_at: Option<Instant>,
}

impl Assembler {
    /// Forgets a line that nobody goes on with.
    pub fn rest(&mut self, now: Instant) {
        if self.last_byte_at.is_some_and(|at| now.saturating_duration_since(at) >= HALF_LINE_TIMEOUT) {
            self.begin();
            self.last_byte_at = None;
        }
    }

    /// Notes when bytes came; before [`take`](Self::take).
    pub fn woken(&mut self, now: Instant) {
        self.rest(now);
        self.last_byte_at = Some(now);
    }

    /// Takes a byte.
    pub fn take(&mut self, byte: u8) -> Option<Heard<'_>> {
        if self.complete {
            self.begin();
        }
        match byte {
            b'\n' => {
                self.complete = true;
                match self.condition {
                    Condition::Sound => Some(Heard::Line(&self.line)),
                    Condition::NotText => Some(Heard::NotText),
                    // It was said when it grew too long.
                    Condition::TooLong => None,
                }
            }
            _ if self.condition == Condition::TooLong => None,
            // Skipped only where it ends a line: a '-' that noise turned into a carriage return must not vanish from a number.
            _ if self.returned => self.spoil(),
            b'\r' => {
                self.returned = true;
                None
            }
            b'?' if self.line.is_empty() && self.condition == Condition::Sound => Some(Heard::Question),
            b' '..=b'~' if self.line.len() < LINE_BYTES_MAX => {
                self.line.push(char::from(byte));
                None
            }
            b' '..=b'~' => {
                self.condition = Condition::TooLong;
                Some(Heard::TooLong)
            }
            _ => self.spoil(),
        }
    }

    fn spoil(&mut self) -> Option<Heard<'_>> {
        self.condition = Condition::NotText;
        None
    }

    fn begin(&mut self) {
        self.line.clear();
        (self.condition, self.returned, self.complete) = (Condition::Sound, false, false);
    }
}

/// A line that came over whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number it was sent with.
    pub sequence: Option<u16>,
    /// Whether it had a checksum.
    pub checked: bool,
    /// What is to be done.
    pub verb: &'a str,
    /// What follows the verb: words with one space before each.
    rest: &'a str,
}

/// Why a line was not taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its checksum is wrong, or is missing where there has to be one.
    Checksum,
    /// It is not put together as lines are.
    Syntax,
}

impl<'a> Line<'a> {
    /// Takes `[#sequence] VERB [word ..] [*dddd]` apart.
    ///
    /// # Errors
    /// [`Damage`]; nothing that a damaged line says is to be believed, its number included.
    pub fn parse(text: &'a str, checksum_wanted: bool) -> Result<Self, Damage> {
        // A star is the checksum's mark and nothing else: one that lost its place or its digits must not pass for a line without.
        let (body, checked) = match text.split_once('*') {
            None if checksum_wanted => return Err(Damage::Checksum),
            None => (text, false),
            Some((before, digits)) => {
                let body = before.strip_suffix(' ').ok_or(Damage::Checksum)?;
                if read_digits(digits) != Some(checksum(body.as_bytes())) {
                    return Err(Damage::Checksum);
                }
                (body, true)
            }
        };
        // One space between words and none elsewhere: what lost its end to noise shows by the space that is left.
        if body.split(' ').any(str::is_empty) {
            return Err(Damage::Syntax);
        }
        let (sequence, body) = match body.strip_prefix('#') {
            None => (None, body),
            Some(numbered) => {
                let (digits, body) = numbered.split_once(' ').ok_or(Damage::Syntax)?;
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Damage::Syntax);
                }
                (Some(digits.parse().map_err(|_| Damage::Syntax)?), body)
            }
        };
        let end = body.find(' ').unwrap_or(body.len());
        let (verb, rest) = body.split_at(end);
        Ok(Self { sequence, checked, verb, rest })
    }

    /// The words behind the verb.
    pub fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.rest.split(' ').skip(1)
    }
}

/// A checksum as it is written: four digits of sixteen, the most significant first.
///
/// The digits are the characters from `0` to `?`, which continue where `9` ends, and not those of hexadecimal: between `B` and `C` one flipped bit of
/// the line is three flipped bits of the checksum, and with one more in the line that can pass. With these a bit of a digit is a bit of the
/// checksum or makes the digit invalid, and so any three flipped bits are found out, as CRC-16 promises for so short a line.
pub fn digits(checksum: u16) -> String {
    [12, 8, 4, 0].map(|shift| char::from(b'0' + (checksum >> shift & 15) as u8)).iter().collect()
}

fn read_digits(digits: &str) -> Option<u16> {
    let sound = digits.len() == 4 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'?'));
    sound.then(|| digits.bytes().fold(0, |sum, byte| sum << 4 | u16::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(bytes: &[u8]) -> Vec<String> {
        let mut assembler = Assembler::default();
        bytes.iter().filter_map(|&byte| assembler.take(byte).map(|heard| format!("{heard:?}"))).collect()
    }

    #[test]
    fn lines_are_found_in_bytes() {
        let exact = [&[b'a'; LINE_BYTES_MAX][..], b"\r\n"].concat();
        let long = [&[b'a'; LINE_BYTES_MAX + 1][..], b"bcd\nGET\n"].concat();
        let exact_line = format!("Line({:?})", "a".repeat(LINE_BYTES_MAX));
        let cases: [(&[u8], &[&str]); 10] = [
            (b"GET\nLIST\r\n", &["Line(\"GET\")", "Line(\"LIST\")"]),
            (b"\n\r\n", &["Line(\"\")", "Line(\"\")"]),
            (b"??GET ?\n", &["Question", "Question", "Line(\"GET ?\")"]),
            (b"GET\rX\nGET\n", &["NotText", "Line(\"GET\")"]),
            (b"GET\r\r\n", &["NotText"]),
            (b"G\0T\nG\xC3\xA4T\nG\tT\n", &["NotText", "NotText", "NotText"]),
            (b"\0?\nGET\n", &["NotText", "Line(\"GET\")"]),
            (&exact, &[&exact_line]),
            (&long, &["TooLong", "Line(\"GET\")"]),
            (b"GET", &[]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(heard(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_half_line_is_forgotten_when_nobody_goes_on() {
        let (mut assembler, start) = (Assembler::default(), Instant::now());
        for (after_ms, bytes, expected) in
            [(0, "GE", None), (499, "T", None), (499, "\n", Some("GET")), (0, "GET mi", None), (500, "LIST\n", Some("LIST"))]
        {
            assembler.last_byte_at = assembler.last_byte_at.map(|_| start);
            assembler.woken(start + Duration::from_millis(after_ms));
            let found: Vec<_> = bytes.bytes().filter_map(|byte| assembler.take(byte).map(|heard| format!("{heard:?}"))).collect();
            assert_eq!(found, expected.iter().map(|line| format!("Line({line:?})")).collect::<Vec<_>>(), "{bytes:?}");
        }
    }

    #[test]
    fn lines_are_taken_apart() {
        // The catalog's check value of CRC-16/MODBUS.
        assert_eq!(checksum(b"123456789"), 0x4B37);
        let line = Line::parse("#17 SET mix=1 hue=3", false).unwrap();
        assert_eq!(
            (line.sequence, line.checked, line.verb, line.words().collect::<Vec<_>>()),
            (Some(17), false, "SET", vec!["mix=1", "hue=3"])
        );
        assert_eq!(Line::parse("LIST", false).unwrap().words().count(), 0);
        let checked = |text: &str| format!("{text} *{}", digits(checksum(text.as_bytes())));
        assert!(Line::parse(&checked("GET"), true).unwrap().checked);
        assert_eq!(Line::parse(&checked("#65535 GET"), false).unwrap().sequence, Some(65535));
        assert_eq!((digits(0x09AF), read_digits("09:?")), ("09:?".into(), Some(0x09AF)));
        let cases = [
            ("GET", true, Damage::Checksum),
            ("GET *0000", false, Damage::Checksum),
            ("GET *", false, Damage::Checksum),
            (&checked("GET").replace(" *", "*"), false, Damage::Checksum),
            (&format!("{} ", checked("GET")), false, Damage::Checksum),
            ("GET *09:@", false, Damage::Checksum),
            ("GET *09AF", false, Damage::Checksum),
            ("GET ", false, Damage::Syntax),
            (" GET", false, Damage::Syntax),
            ("SET  mix=1", false, Damage::Syntax),
            ("#17", false, Damage::Syntax),
            ("#65536 GET", false, Damage::Syntax),
            ("#+7 GET", false, Damage::Syntax),
            ("# GET", false, Damage::Syntax),
        ];
        for (text, wanted, expected) in cases {
            assert_eq!(Line::parse(text, wanted), Err(expected), "{text:?}");
        }
    }
}
