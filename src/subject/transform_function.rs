//! The functions of a transform's destination: their grammar, and what each makes of a subject's tokens.

use super::transform::TransformError;

/// A function of a destination token. A `usize` is the position of a token in the source once [`Function::resolve`]d, and
/// before that the number of a wildcard from 1 on; numbers are kept as nats-server keeps them, negative ones too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function<I = usize> {
    Wildcard(I),
    /// A bucket among so many, by the hash of these tokens (of the whole subject if there are none).
    Partition(i32, Vec<I>),
    Cut(Cut, I, i32),
    /// The token in pieces, at each separator.
    Split(I, Box<str>),
    Random(i32),
}

/// Functions of one token and a length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    SplitFromLeft,
    SplitFromRight,
    SliceFromLeft,
    SliceFromRight,
    Left,
    Right,
}

const CUTS: [(&str, Cut); 6] = [
    ("splitfromleft", Cut::SplitFromLeft),
    ("splitfromright", Cut::SplitFromRight),
    ("slicefromleft", Cut::SliceFromLeft),
    ("slicefromright", Cut::SliceFromRight),
    ("right", Cut::Right),
    ("left", Cut::Left),
];

impl Function<i64> {
    /// The wildcards it takes.
    pub fn indexes(&self) -> &[i64] {
        match self {
            Function::Wildcard(index) | Function::Cut(_, index, _) | Function::Split(index, _) => {
                std::slice::from_ref(index)
            }
            Function::Partition(_, indexes) => indexes,
            Function::Random(_) => &[],
        }
    }

    /// With the positions of wildcards in the source in place of their numbers; the number if there is no such wildcard.
    /// Numbers below 1 stand for the first token, whatever that is.
    pub fn resolve(self, stars: &[usize]) -> Result<Function, i64> {
        let position = |index: i64| match usize::try_from(index) {
            Ok(index) if index > stars.len() => Err(index as i64),
            Ok(index) if index > 0 => Ok(stars[index - 1]),
            _ => Ok(0),
        };
        Ok(match self {
            Function::Wildcard(index) => Function::Wildcard(position(index)?),
            Function::Partition(buckets, indexes) => {
                Function::Partition(buckets, indexes.into_iter().map(position).collect::<Result<_, _>>()?)
            }
            Function::Cut(cut, index, length) => Function::Cut(cut, position(index)?, length),
            Function::Split(index, separator) => Function::Split(position(index)?, separator),
            Function::Random(ceiling) => Function::Random(ceiling),
        })
    }

    /// What it is for a source without wildcards: a partition is of the whole subject then.
    pub fn without_wildcards(self) -> Option<Function> {
        match self {
            Function::Partition(buckets, _) => Some(Function::Partition(buckets, Vec::new())),
            Function::Random(ceiling) => Some(Function::Random(ceiling)),
            _ => None,
        }
    }
}

impl Function {
    /// The function that a destination token calls; `None` if the token is literal.
    pub fn parse(token: &str) -> Result<Option<Function<i64>>, TransformError> {
        if let Some(number) = token.strip_prefix('$') {
            // Other things rely on tokens that start with `$`, so that what is no number is no error.
            return Ok(number.parse().ok().map(Function::Wildcard));
        }
        if token.len() <= 4 || !token.starts_with("{{") || !token.ends_with("}}") {
            return Ok(None);
        }
        let invalid = || TransformError::InvalidArgument(token.to_owned());
        let index = |text: &str| text.trim_matches(' ').parse::<i64>().map_err(|_| invalid());
        // As large as an `int` where nats-server wants no more than 32 bits of it.
        let number = |text: &str| match index(text)? {
            n if n > i64::from(i32::MAX) => Err(invalid()),
            n => Ok(n as i32),
        };
        let two = |args: &[&str]| match args.len() {
            0 | 1 => Err(TransformError::NotEnoughArguments(token.to_owned())),
            2 => Ok(()),
            _ => Err(TransformError::TooManyArguments(token.to_owned())),
        };
        if let Some(args) = arguments(token, "wildcard") {
            return match args[..] {
                [""] => Err(TransformError::NotEnoughArguments(token.to_owned())),
                [one] => Ok(Some(Function::Wildcard(index(one)?))),
                _ => Err(TransformError::TooManyArguments(token.to_owned())),
            };
        }
        if let Some(args) = arguments(token, "partition") {
            let indexes = args[1..].iter().map(|text| index(text));
            let buckets = number(args[0])?;
            return Ok(Some(Function::Partition(buckets, indexes.collect::<Result<_, _>>()?)));
        }
        for (name, cut) in CUTS {
            if let Some(args) = arguments(token, name) {
                two(&args)?;
                let length = args[1].trim_matches(' ').parse().map_err(|_| invalid());
                return Ok(Some(Function::Cut(cut, index(args[0])?, length?)));
            }
        }
        if let Some(args) = arguments(token, "split") {
            two(&args)?;
            let index = index(args[0])?;
            if args[1].contains([' ', '.']) {
                return Err(invalid());
            }
            return Ok(Some(Function::Split(index, args[1].into())));
        }
        if let Some(args) = arguments(token, "random") {
            return match args[..] {
                [one] => Ok(Some(Function::Random(number(one)?))),
                _ => Err(TransformError::NotEnoughArguments(token.to_owned())),
            };
        }
        Err(TransformError::UnknownFunction(token.to_owned()))
    }

    /// Appends what it makes of `subject`, whose `tokens` are given as well.
    pub fn write(&self, subject: &str, tokens: &[&str], out: &mut Vec<u8>) {
        let token = |at: &usize| tokens.get(*at).copied().unwrap_or("");
        match self {
            Function::Wildcard(at) => out.extend_from_slice(token(at).as_bytes()),
            Function::Partition(buckets, positions) => {
                let hash = match positions.is_empty() {
                    true => fnv1a(std::iter::once(subject)),
                    false => fnv1a(positions.iter().map(token)),
                };
                // A negative number counts as the unsigned one of the same bits, as in nats-server.
                let bucket = hash.checked_rem(*buckets as u32).unwrap_or(0);
                out.extend_from_slice(bucket.to_string().as_bytes());
            }
            Function::Cut(cut, at, length) => {
                let token = token(at).as_bytes();
                match usize::try_from(*length) {
                    Ok(length) if length > 0 && length < token.len() => cut.write(token, length, out),
                    _ => out.extend_from_slice(token),
                }
            }
            Function::Split(at, separator) => split(token(at), separator, out),
            Function::Random(ceiling) => {
                let drawn = match ceiling.unsigned_abs() {
                    0 => 0,
                    ceiling => fastrand::u32(..ceiling),
                };
                out.extend_from_slice(drawn.to_string().as_bytes());
            }
        }
    }
}

impl Cut {
    /// `length` is more than 0 and less than that of the token.
    fn write(self, token: &[u8], length: usize, out: &mut Vec<u8>) {
        let from_end = token.len() - length;
        let remainder = token.len() % length;
        match self {
            Cut::Left => out.extend_from_slice(&token[..length]),
            Cut::Right => out.extend_from_slice(&token[from_end..]),
            Cut::SplitFromLeft => join([&token[..length], &token[length..]].into_iter(), out),
            Cut::SplitFromRight => join([&token[..from_end], &token[from_end..]].into_iter(), out),
            Cut::SliceFromLeft => join(token.chunks(length), out),
            Cut::SliceFromRight if remainder == 0 => join(token.chunks(length), out),
            Cut::SliceFromRight => {
                join(std::iter::once(&token[..remainder]).chain(token[remainder..].chunks(length)), out)
            }
        }
    }
}

fn join<'a>(pieces: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (n, piece) in pieces.enumerate() {
        if n > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
    }
}

/// The pieces of `token` without the empty ones. As nats-server, which looks one piece ahead only: where the separator
/// begins the token no dot is written, also not behind an empty second piece.
fn split(token: &str, separator: &str, out: &mut Vec<u8>) {
    let pieces: Vec<&str> = match separator.is_empty() {
        true => token.split("").filter(|piece| !piece.is_empty()).collect(),
        false => token.split(separator).collect(),
    };
    for (n, piece) in pieces.iter().enumerate() {
        out.extend_from_slice(piece.as_bytes());
        let more = pieces.get(n + 1).is_some_and(|next| !next.is_empty());
        if more && !(n == 0 && piece.is_empty()) {
            out.push(b'.');
        }
    }
}

/// FNV-1a, 32 bits, of all `parts` in a row.
fn fnv1a<'a>(parts: impl Iterator<Item = &'a str>) -> u32 {
    parts.flat_map(str::bytes).fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The arguments if `token` calls `name` somewhere: `{{ name ( a, b ) }}`. At least one, which may be empty. As in
/// nats-server's expressions white space may stand around the name and the parentheses, and of the name's words each may begin with a
/// capital.
fn arguments<'a>(token: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let inner = token.match_indices("{{").find_map(|(at, _)| {
        let rest = called(trim_start(&token[at + 2..]), name)?;
        let rest = trim_start(rest).strip_prefix('(')?;
        rest.rmatch_indices(')')
            .find(|(end, _)| trim_start(&rest[end + 1..]).starts_with("}}"))
            .map(|(end, _)| &rest[..end])
    })?;
    Some(inner.split(',').enumerate().map(|(n, arg)| if n == 0 { arg } else { trim_start(arg) }).collect())
}

/// What follows `name` in `text`, if it begins with it.
fn called<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (have, rest) = text.split_at_checked(name.len())?;
    let word_start = |at: usize| {
        at == 0 || name[..at].ends_with("split") || name[..at].ends_with("slice") || name[..at].ends_with("from")
    };
    let same = have
        .bytes()
        .zip(name.bytes())
        .enumerate()
        .all(|(at, (have, want))| have == want || word_start(at) && have == want.to_ascii_uppercase());
    same.then_some(rest)
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches(['\t', '\n', '\x0c', '\r', ' '])
}
