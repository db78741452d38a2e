//! Why a client's bytes are refused: a closed list, with the status and the words for each.

use http::StatusCode;

/// Why a client's bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A control character, a NUL, or CR without LF in a head or in chunk framing.
    ControlCharacter,
    /// A line that ends with LF alone.
    BareLf,
    /// More than one empty line before a request.
    EmptyLines,
    /// The first line is not `method SP target SP version`.
    RequestLine,
    /// The method is not a token.
    Method,
    /// The version is not one of HTTP/1's.
    Version,
    /// The target has a form that the method does not allow, or a character that a URI does not have.
    Target,
    /// The first line is larger than a head may be.
    TargetTooLong,
    /// A line of the head begins with white space (obs-fold).
    Fold,
    /// A header field without a colon.
    Colon,
    /// A header field's name is empty or not a token; white space before the colon is part of this.
    FieldName,
    /// White space around a field's value in HTTP/2.
    FieldValue,
    /// The head is larger than allowed.
    HeadTooLarge,
    /// There are more header fields than allowed.
    TooManyFields,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostTwice,
    /// Host is empty or not `host[:port]`.
    Host,
    /// Host, or `:authority`, names another authority than the target.
    HostDiffers,
    /// Content-Length is not one number.
    ContentLength,
    /// Content-Length occurs twice.
    ContentLengthTwice,
    /// Content-Length and Transfer-Encoding together.
    TwoFramings,
    /// Transfer-Encoding in HTTP/1.0.
    CodingInHttp10,
    /// Transfer-Encoding is not exactly `chunked`.
    Coding,
    /// Transfer-Encoding occurs twice.
    CodingTwice,
    /// Connection is no list of tokens, or names a field that belongs to the whole way.
    Connection,
    /// Upgrade occurs twice.
    UpgradeTwice,
    /// Content where the method has none: CONNECT and TRACE.
    Content,
    /// A chunk's size line is malformed or too large.
    ChunkSize,
    /// A chunk does not end where its size says.
    ChunkEnd,
    /// Chunk extensions beyond all measure.
    ChunkOverhead,
    /// The trailer section is malformed, or has a field that must not be there.
    Trailers,
    /// The trailer section is larger than allowed.
    TrailersTooLarge,
    /// The head was not complete in time.
    Slow,
    /// More bytes after a request that was to be the last one.
    AfterClose,
    /// The connection ended within a request.
    Truncated,
    /// A header field that belongs to one connection of HTTP/1 (RFC 9113 §8.2.2).
    ConnectionField,
    /// TE other than `trailers` in HTTP/2.
    Te,
    /// `:path` is empty, or `:authority` is missing.
    PseudoHeader,
    /// HTTP/2 whose first frame is not SETTINGS.
    Preface,
    /// A frame of HTTP/2 with a size that its kind does not have.
    FrameSize,
    /// A frame of HTTP/2 that costs more than it carries, too many times: PING or SETTINGS.
    ControlFlood,
    /// PRIORITY, too many times.
    PriorityFlood,
    /// WINDOW_UPDATE, too many times.
    WindowFlood,
    /// Frames without content, too many in a row.
    EmptyFlood,
    /// Streams that are reset as soon as they are opened.
    ResetFlood,
}

// === impl Refusal ===

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 45] = [
        Self::ControlCharacter,
        Self::BareLf,
        Self::EmptyLines,
        Self::RequestLine,
        Self::Method,
        Self::Version,
        Self::Target,
        Self::TargetTooLong,
        Self::Fold,
        Self::Colon,
        Self::FieldName,
        Self::FieldValue,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::HostMissing,
        Self::HostTwice,
        Self::Host,
        Self::HostDiffers,
        Self::ContentLength,
        Self::ContentLengthTwice,
        Self::TwoFramings,
        Self::CodingInHttp10,
        Self::Coding,
        Self::CodingTwice,
        Self::Connection,
        Self::UpgradeTwice,
        Self::Content,
        Self::ChunkSize,
        Self::ChunkEnd,
        Self::ChunkOverhead,
        Self::Trailers,
        Self::TrailersTooLarge,
        Self::Slow,
        Self::AfterClose,
        Self::Truncated,
        Self::ConnectionField,
        Self::Te,
        Self::PseudoHeader,
        Self::Preface,
        Self::FrameSize,
        Self::ControlFlood,
        Self::PriorityFlood,
        Self::WindowFlood,
        Self::EmptyFlood,
        Self::ResetFlood,
    ];

    /// The status that the client is answered with. `None`: the connection is closed without an answer to this.
    pub fn status(self) -> Option<StatusCode> {
        Some(match self {
            Self::HeadTooLarge | Self::TooManyFields | Self::TrailersTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::AfterClose
            | Self::Truncated
            | Self::Preface
            | Self::FrameSize
            | Self::ControlFlood
            | Self::PriorityFlood
            | Self::WindowFlood
            | Self::EmptyFlood
            | Self::ResetFlood => return None,
            _ => StatusCode::BAD_REQUEST,
        })
    }

    /// One word for metrics and logs.
    pub fn cause(self) -> &'static str {
        match self {
            Self::ControlCharacter => "control_character",
            Self::BareLf => "bare_lf",
            Self::EmptyLines => "empty_lines",
            Self::RequestLine => "request_line",
            Self::Method => "method",
            Self::Version => "version",
            Self::Target => "target",
            Self::TargetTooLong => "target_too_long",
            Self::Fold => "fold",
            Self::Colon => "colon",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::HostMissing => "host_missing",
            Self::HostTwice => "host_twice",
            Self::Host => "host",
            Self::HostDiffers => "host_differs",
            Self::ContentLength => "content_length",
            Self::ContentLengthTwice => "content_length_twice",
            Self::TwoFramings => "two_framings",
            Self::CodingInHttp10 => "coding_in_http10",
            Self::Coding => "coding",
            Self::CodingTwice => "coding_twice",
            Self::Connection => "connection",
            Self::UpgradeTwice => "upgrade_twice",
            Self::Content => "content",
            Self::ChunkSize => "chunk_size",
            Self::ChunkEnd => "chunk_end",
            Self::ChunkOverhead => "chunk_overhead",
            Self::Trailers => "trailers",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::Slow => "slow",
            Self::AfterClose => "after_close",
            Self::Truncated => "truncated",
            Self::ConnectionField => "connection_field",
            Self::Te => "te",
            Self::PseudoHeader => "pseudo_header",
            Self::Preface => "preface",
            Self::FrameSize => "frame_size",
            Self::ControlFlood => "control_flood",
            Self::PriorityFlood => "priority_flood",
            Self::WindowFlood => "window_flood",
            Self::EmptyFlood => "empty_flood",
            Self::ResetFlood => "reset_flood",
        }
    }

    /// A sentence for the client and the log.
    pub fn detail(self) -> &'static str {
        match self {
            Self::ControlCharacter => "a control character in the head or its framing",
            Self::BareLf => "a line ends with LF alone",
            Self::EmptyLines => "more than one empty line before the request",
            Self::RequestLine => "the first line is not: method, space, target, space, version",
            Self::Method => "the method is not a token",
            Self::Version => "HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::Target => "the target is not one that this method may have",
            Self::TargetTooLong => "the first line is too long",
            Self::Fold => "a header field goes on in another line",
            Self::Colon => "a header field has no colon",
            Self::FieldName => "a header field's name is not a token",
            Self::FieldValue => "a header field's value has white space around it",
            Self::HeadTooLarge => "the request's head is too large",
            Self::TooManyFields => "the request has too many header fields",
            Self::HostMissing => "Host is missing",
            Self::HostTwice => "there is more than one Host",
            Self::Host => "Host is not host[:port]",
            Self::HostDiffers => "Host names another authority than the target",
            Self::ContentLength => "Content-Length is not one number",
            Self::ContentLengthTwice => "there is more than one Content-Length",
            Self::TwoFramings => "Content-Length and Transfer-Encoding exclude each other",
            Self::CodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding",
            Self::Coding => "of transfer codings, only 'chunked' is known here",
            Self::CodingTwice => "there is more than one Transfer-Encoding",
            Self::Connection => "Connection names what it must not, or is no list",
            Self::UpgradeTwice => "there is more than one Upgrade",
            Self::Content => "this method has no content",
            Self::ChunkSize => "a chunk's size is malformed",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::ChunkOverhead => "the chunk extensions are too large",
            Self::Trailers => "the trailer section is malformed, or has a field that must not be there",
            Self::TrailersTooLarge => "the trailer section is too large",
            Self::Slow => "the request's head took too long",
            Self::AfterClose => "more bytes came after the last request of the connection",
            Self::Truncated => "the connection ended within a request's head",
            Self::ConnectionField => "a header field of HTTP/1 connections in HTTP/2",
            Self::Te => "TE may be 'trailers' only",
            Self::PseudoHeader => "a pseudo-header is missing or empty",
            Self::Preface => "the first frame is not SETTINGS",
            Self::FrameSize => "a frame has a size that its kind does not have",
            Self::ControlFlood => "too many PING or SETTINGS frames",
            Self::PriorityFlood => "too many PRIORITY frames",
            Self::WindowFlood => "too many WINDOW_UPDATE frames",
            Self::EmptyFlood => "too many frames without content",
            Self::ResetFlood => "too many streams reset as soon as they were opened",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_cause_and_its_status() {
        let document = include_str!("../../../../docs/http.md");
        for refusal in Refusal::ALL {
            let cause = format!("`{}`", refusal.cause());
            let mut rows = document
                .lines()
                .filter(|line| line.starts_with('|') && line.contains(&cause));
            let row = rows
                .next()
                .unwrap_or_else(|| panic!("docs/http.md does not have {cause}"));
            let status = refusal.status().map(|status| status.as_str().to_owned());
            assert!(status.is_none_or(|status| row.contains(&status)), "{row}");
        }
    }
}
