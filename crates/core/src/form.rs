//! What a result can be written as, and what it can be compressed by on its way over HTTP.

/// What the rows of a `:many` are written as. Every other result, and every failure, is JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// One array of objects.
    #[default]
    Json,
    /// An object a line, each line ended by `\n`: <https://github.com/ndjson/ndjson-spec>.
    Ndjson,
    /// A line with the names of the columns, then a line a row:
    /// <https://www.rfc-editor.org/rfc/rfc4180>. NULL is nothing, an empty text is `""`.
    Csv,
}

impl Form {
    /// All of them, the one that nobody need ask for first.
    pub const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Csv];

    /// The word for it in a direct event's `format`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// The media type, by which HTTP asks for it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// What a reply's `Content-Type` says. JSON has no charset (RFC 8259, 8.1), text has one, or some readers take it
    /// for US-ASCII.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// What a reply's body is compressed by: a content coding of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `gzip`
    Gzip,
    /// `zstd`: <https://www.rfc-editor.org/rfc/rfc8878>
    Zstd,
}

impl Coding {
    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
