//! The options of a TCP header (RFC 9293, 3.1).
//!
//! Owns walking through them, and which of them are malformed. Refuses to know what they mean: who uses one reads its content.

/// Ends the list.
const END: u8 = 0;
/// Padding.
const NOP: u8 = 1;
/// Maximum segment size (RFC 9293, 3.7.1).
pub const MSS: u8 = 2;
/// Window scale (RFC 7323, 2).
pub const WINDOW_SCALE: u8 = 3;
/// Selective acknowledgment permitted (RFC 2018, 2).
pub const SACK_PERMITTED: u8 = 4;
/// Selective acknowledgment (RFC 2018, 3).
pub const SACK: u8 = 5;
/// Timestamps (RFC 7323, 3).
pub const TIMESTAMPS: u8 = 8;

/// One option.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Opt<'a> {
    /// What it is.
    pub kind: u8,
    /// Where it begins, from the start of the TCP header.
    pub at: usize,
    /// What follows its kind and length.
    pub content: &'a [u8],
}

impl Opt<'_> {
    /// Whether it is as long as its RFC says. Of the options that smoltcp does not know, and of timestamps, any length is.
    fn is_sound(&self) -> bool {
        match self.kind {
            MSS => self.content.len() == 2,
            WINDOW_SCALE => self.content.len() == 1,
            SACK_PERMITTED => self.content.is_empty(),
            SACK => !self.content.is_empty() && self.content.len().is_multiple_of(8),
            _ => true,
        }
    }
}

/// The options of a header in their order, without padding, up to the first that is cut short.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    header: &'a [u8],
    at: usize,
    cut: bool,
}

/// The options of a TCP header; none of one that is itself cut short.
pub fn of(header: &[u8]) -> Options<'_> {
    let len = header.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    Options { header: header.get(..len).unwrap_or_default(), at: 20, cut: false }
}

impl<'a> Iterator for Options<'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        loop {
            let at = self.at;
            let rest = self.header.get(at..)?;
            match *rest.first()? {
                END => {
                    self.at = self.header.len();
                    return None;
                }
                NOP => self.at += 1,
                kind => {
                    let len = rest.get(1).map_or(0, |len| usize::from(*len));
                    let Some(content) = rest.get(2..len) else {
                        (self.at, self.cut) = (self.header.len(), true);
                        return None;
                    };
                    self.at += len;
                    return Some(Opt { kind, at, content });
                }
            }
        }
    }
}

/// Whether none is malformed. smoltcp drops a segment for one that is, and so no part of such a segment may count.
#[cold]
pub fn are_sound(header: &[u8]) -> bool {
    let mut options = of(header);
    options.all(|option| option.is_sound()) && !options.cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::{IpAddress, TcpPacket, TcpRepr};

    /// A TCP header of an ACK with these options, padded with ends.
    fn header(options: &[u8]) -> Vec<u8> {
        let words = options.len().div_ceil(4);
        let mut header = vec![0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, (5 + words as u8) << 4, 16, 0, 0, 0, 0, 0, 0];
        header.extend_from_slice(options);
        header.resize(20 + words * 4, END);
        header
    }

    #[test]
    fn options_are_told_apart() {
        let header =
            header(&[NOP, MSS, 4, 5, 180, NOP, NOP, TIMESTAMPS, 10, 1, 2, 3, 4, 5, 6, 7, 8, 254, 2, END, MSS, 9]);
        let found: Vec<_> = of(&header).map(|option| (option.kind, option.at, option.content)).collect();
        let want: [(u8, usize, &[u8]); 3] =
            [(MSS, 21, &[5, 180]), (TIMESTAMPS, 27, &[1, 2, 3, 4, 5, 6, 7, 8]), (254, 37, &[])];
        assert_eq!(found, want);
        assert!(are_sound(&header), "nothing counts after the end");
    }

    #[test]
    fn a_header_cut_short_has_none() {
        let header = header(&[MSS, 4, 5, 180]);
        for len in 0..header.len() {
            assert_eq!(of(&header[..len]).count(), 0);
        }
        assert_eq!(of(&header).count(), 1);
    }

    #[test]
    fn malformed_options_are_found() {
        for options in [
            &[MSS, 3, 5][..],
            &[NOP, NOP, MSS, 4],
            &[WINDOW_SCALE, 4, 1, 0],
            &[SACK_PERMITTED, 3, 0],
            &[SACK, 2],
            &[SACK, 9, 0, 0, 0, 0, 0, 0, 0],
            &[254, 0],
            &[254, 1],
            &[254, 5, 0, 0],
            &[NOP, NOP, NOP, 254],
        ] {
            assert!(!are_sound(&header(options)), "{options:?}");
        }
    }

    proptest! {
        /// What passes here smoltcp takes, and the other way round.
        #[test]
        fn smoltcp_judges_alike(
            options in proptest::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..40),
            lens in proptest::collection::vec((0usize..40, prop_oneof![Just(2u8), Just(3), Just(4), Just(10), Just(18)]), 0..6),
        ) {
            let mut options = options;
            for (at, len) in lens {
                if let Some(byte) = options.get_mut(at) {
                    *byte = len;
                }
            }
            let mut header = header(&options);
            let any = IpAddress::v4(0, 0, 0, 0);
            TcpPacket::new_unchecked(&mut header[..]).fill_checksum(&any, &any);
            let packet = TcpPacket::new_checked(&header[..]).expect("a header");
            let judged = TcpRepr::parse(&packet, &any, &any, &Default::default());
            prop_assert_eq!(are_sound(&header), judged.is_ok());
        }
    }
}
