//! Why a request is refused: one table of reasons, each with its status, its counter and its words.
//!
//! Owns the answer to every violation and every limit of `http`. Refuses recoverable conditions: a reject always means an
//! error response and the end of the connection, because what follows on it cannot be told apart any more.

use crate::telemetry::Counter;

macro_rules! rejects {
    ($($(#[doc = $section:literal])* $variant:ident = $status:literal $counter:ident $reason:literal;)*) => {
        /// A refused request. The documentation of each variant is where the rule stands.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub enum Reject { $($(#[doc = $section])* $variant,)* }

        impl Reject {
            /// Every reason, in declaration order.
            pub const ALL: &'static [Reject] = &[$(Reject::$variant,)*];

            /// The status code of the answer.
            pub const fn status(self) -> u16 {
                match self { $(Reject::$variant => $status,)* }
            }

            /// What counts it.
            pub const fn counter(self) -> Counter {
                match self { $(Reject::$variant => Counter::$counter,)* }
            }

            /// What the client did, in words for its author.
            pub const fn reason(self) -> &'static str {
                match self { $(Reject::$variant => $reason,)* }
            }
        }
    };
}

rejects! {
    /// RFC 9112, 2.2.
    BareLf = 400 HttpMalformed "line feed without carriage return";
    /// RFC 9112, 2.2.
    BareCr = 400 HttpMalformed "carriage return without line feed";
    /// RFC 9110, 5.5.
    ControlByte = 400 HttpMalformed "control byte in the head";
    /// RFC 9112, 2.2: at least one empty line before a request is ignored, and here at most two.
    EmptyLines = 400 HttpMalformed "too many empty lines before the request";
    /// A TLS record where a request line should be.
    Tls = 400 HttpMalformed "TLS handshake on a plain HTTP port";
    /// RFC 9112, 3.
    RequestLine = 400 HttpMalformed "request line is not 'method SP target SP version'";
    /// RFC 9110, 9.1.
    MethodToken = 400 HttpMalformed "method is not a token";
    /// RFC 9112, 2.3.
    VersionSyntax = 400 HttpMalformed "version is not 'HTTP/' digit '.' digit";
    /// RFC 9112, 3.2.
    TargetSyntax = 400 HttpMalformed "invalid character in the request target";
    /// RFC 3986, 3.5: a fragment is never sent.
    TargetFragment = 400 HttpMalformed "fragment in the request target";
    /// RFC 3986, 2.1.
    TargetEscape = 400 HttpMalformed "'%' without two hexadecimal digits in the request target";
    /// RFC 9112, 3.2.
    TargetForm = 400 HttpMalformed "request target has the wrong form for the method";
    /// RFC 9110, 4.2: only http and https.
    TargetScheme = 400 HttpMalformed "request target is neither a path nor an http or https URI";
    /// RFC 9112, 3.2.
    HostMissing = 400 HttpMalformed "no Host field";
    /// RFC 9112, 3.2.
    HostRepeated = 400 HttpMalformed "more than one Host field";
    /// RFC 9110, 4.2.1, 4.2.4 and 7.2.
    HostSyntax = 400 HttpMalformed "invalid host or port";
    /// RFC 9112, 5.1.
    FieldNoColon = 400 HttpMalformed "field line without colon";
    /// RFC 9112, 5.1.
    FieldSpaceBeforeColon = 400 HttpMalformed "white space between field name and colon";
    /// RFC 9110, 5.1.
    FieldName = 400 HttpMalformed "field name is empty or not a token";
    /// RFC 9112, 5.2.
    FieldFolded = 400 HttpMalformed "folded field line";
    /// RFC 9112, 2.1: the head handed over was no whole head.
    HeadTruncated = 400 HttpMalformed "head ends early";
    /// RFC 9112, 6.3.
    LengthRepeated = 400 HttpMalformed "more than one Content-Length";
    /// RFC 9110, 8.6.
    LengthSyntax = 400 HttpMalformed "Content-Length is not a decimal number of at most 19 digits";
    /// RFC 9112, 6.1.
    LengthAndCoding = 400 HttpMalformed "both Content-Length and Transfer-Encoding";
    /// RFC 9112, 6.1.
    CodingSyntax = 400 HttpMalformed "Transfer-Encoding has an empty or malformed element";
    /// RFC 9112, 6.3.
    CodingNotFinal = 400 HttpMalformed "Transfer-Encoding does not end in chunked";
    /// RFC 9112, 6.1 and 7.1.
    CodingRepeated = 400 HttpMalformed "chunked more than once in Transfer-Encoding";
    /// RFC 9112, 6.1.
    CodingInHttp10 = 400 HttpMalformed "Transfer-Encoding in an HTTP/1.0 request";
    /// RFC 9112, 7.1.
    ChunkSize = 400 HttpMalformed "invalid chunk size";
    /// RFC 9112, 7.1.1.
    ChunkExtension = 400 HttpMalformed "invalid chunk extension";
    /// RFC 9112, 7.1.1.
    ChunkLineTooLong = 400 HttpMalformed "chunk size line too long";
    /// RFC 9112, 7.1.1: many tiny chunks with long extensions.
    ChunkOverhead = 400 HttpMalformed "chunk framing outweighs the content";
    /// RFC 9112, 7.1.
    ChunkEnd = 400 HttpMalformed "chunk data not followed by CRLF";
    /// RFC 9110, 6.5.1.
    TrailerForbidden = 400 HttpMalformed "Content-Length, Transfer-Encoding or Host in the trailers";
    /// RFC 9110, 15.6.6.
    Version = 505 HttpVersion "only HTTP/1.0 and HTTP/1.1 are spoken here";
    /// RFC 9110, 10.1.1.
    Expectation = 417 HttpExpectation "the only expectation known is 100-continue";
    /// RFC 9112, 6.1.
    CodingUnknown = 501 HttpNotImplemented "the only transfer coding implemented is chunked";
    /// RFC 9110, 15.5.14.
    BodyTooLarge = 413 HttpBodyTooLarge "content over the limit";
    /// RFC 9112, 3.
    RequestLineTooLong = 414 HttpTargetTooLong "request line over the limit";
    /// RFC 6585, 5.
    HeadTooLarge = 431 HttpHeadTooLarge "header section over the limit";
    /// RFC 6585, 5.
    TooManyFields = 431 HttpHeadTooLarge "too many header fields";
    /// RFC 6585, 5.
    TrailersTooLarge = 431 HttpHeadTooLarge "trailer section over the limit";
    /// RFC 9110, 15.5.9.
    HeadTimeout = 408 HttpHeadTimeout "the request head did not arrive in time";
    /// RFC 9110, 15.5.9.
    BodyTimeout = 408 HttpBodyTimeout "the request content stopped arriving";
    /// RFC 9110, 15.6.4.
    HeadBuffers = 503 HttpHeadBuffers "no buffer left for a large head";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_known_status_and_its_own_words() {
        for (i, reject) in Reject::ALL.iter().enumerate() {
            assert!(matches!(reject.status(), 400 | 408 | 413 | 414 | 417 | 431 | 501 | 503 | 505), "{reject:?}");
            assert_eq!(reject.counter().describe().0, "penstock_http_rejected_total", "{reject:?}");
            assert!(reject.reason().len() <= crate::http::response::REASON_MAX, "{reject:?}");
            assert!(Reject::ALL[..i].iter().all(|other| other.reason() != reject.reason()), "{reject:?}");
        }
    }
}
