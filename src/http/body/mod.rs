//! The request body: which of the bytes are content, and where it ends (RFC 9112, 6 and 7).
//!
//! Owns the framing of bodies of known length and chunked ones. Refuses to buffer: content is pointed at where it lies, and
//! what is remembered between two pieces fits a few words.

mod chunk;
#[cfg(test)]
mod tests;
mod trailer;

use core::ops::Range;

use self::chunk::ChunkLine;
use self::trailer::Trailers;
use super::reject::Reject;
use crate::config::HttpLimits;
use crate::limits::CHUNK_OVERHEAD_MAX;

/// How a body is framed (RFC 9112, 6.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// So many bytes; never zero.
    Length(u64),
    /// Chunks of their own length each, and trailers.
    Chunked,
}

impl Framing {
    /// Refuses a length over `body_size` bytes before any of it is read. A chunked body is judged as it comes.
    pub fn check(self, body_size: u64) -> Result<(), Reject> {
        match self {
            Framing::Length(length) if length > body_size => Err(Reject::BodyTooLarge),
            _ => Ok(()),
        }
    }
}

/// What became of some input.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Those of them that are content; empty if none.
    pub data: Range<usize>,
    /// The body is complete. What follows `consumed` belongs to the next request.
    pub done: bool,
}

/// Framing each chunk may have free of charge, in bytes.
const OVERHEAD_PER_CHUNK: u64 = 16;

/// Takes a body apart as it arrives.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Content bytes that may still come.
    room: u64,
    overhead: u64,
}

//                 size line                 size 0
//   Chunk --------------------> Data   Chunk -------> Trailers -> Done
//     ^                          | left = 0
//     +------ DataCr, DataLf <---+
#[derive(Clone, Debug)]
enum State {
    Fixed { left: u64 },
    Chunk(ChunkLine),
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers(Trailers),
    Done,
}

impl Decoder {
    /// A decoder for one body of at most `limits.body_size` bytes of content; over it: 413.
    pub fn new(framing: Framing, limits: &HttpLimits) -> Decoder {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(left) => State::Fixed { left },
            Framing::Chunked => State::Chunk(ChunkLine::default()),
        };
        Decoder { state, room: limits.body_size, overhead: 0 }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes as much of `input` as leads to one contiguous run of content. Call again with the rest until the step is `done`
    /// or everything is consumed; without content or end, everything is. `limits` bounds the trailers as it does the head's
    /// fields (431).
    pub fn decode(&mut self, input: &[u8], limits: &HttpLimits) -> Result<Step, Reject> {
        let mut at = 0;
        while at < input.len() {
            match &mut self.state {
                State::Done => break,
                State::Fixed { left } => {
                    Framing::Length(*left).check(self.room)?;
                    let data = take(left, at, input);
                    self.room -= data.len() as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    return Ok(self.step(data));
                }
                State::Data { left } => {
                    let data = take(left, at, input);
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(self.step(data));
                }
                _ => {
                    self.framing_byte(input[at], limits)?;
                    at += 1;
                }
            }
        }
        Ok(Step { consumed: at, data: at..at, done: self.is_done() })
    }

    fn step(&self, data: Range<usize>) -> Step {
        Step { consumed: data.end, data, done: self.is_done() }
    }

    /// One byte that is not content.
    fn framing_byte(&mut self, byte: u8, limits: &HttpLimits) -> Result<(), Reject> {
        match &mut self.state {
            State::Chunk(line) => {
                if let Some(size) = line.push(byte)? {
                    let line_len = line.len();
                    self.begin_chunk(size, line_len)?;
                }
            }
            State::DataCr if byte == b'\r' => self.state = State::DataLf,
            State::DataLf if byte == b'\n' => self.state = State::Chunk(ChunkLine::default()),
            State::DataCr | State::DataLf => return Err(Reject::ChunkEnd),
            State::Trailers(trailers) => {
                if trailers.push(byte, limits)? {
                    self.state = State::Done;
                }
            }
            State::Fixed { .. } | State::Data { .. } | State::Done => {}
        }
        Ok(())
    }

    fn begin_chunk(&mut self, size: u64, line_len: u64) -> Result<(), Reject> {
        self.room = self.room.checked_sub(size).ok_or(Reject::BodyTooLarge)?;
        let earned = OVERHEAD_PER_CHUNK.saturating_add(size.saturating_mul(2));
        self.overhead = (self.overhead + line_len).saturating_sub(earned);
        if self.overhead > CHUNK_OVERHEAD_MAX as u64 {
            return Err(Reject::ChunkOverhead);
        }
        self.state = match size {
            0 => State::Trailers(Trailers::default()),
            left => State::Data { left },
        };
        Ok(())
    }
}

/// The part of `input` from `at` that belongs to the `left` bytes to come.
fn take(left: &mut u64, at: usize, input: &[u8]) -> Range<usize> {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - at);
    *left -= len as u64;
    at..at + len
}
