//! A body that is compressed while it is written, so that what was written need not be kept.

use std::fmt;
use std::io::{self, Write as _};

use flate2::write::GzEncoder;

use crate::error::{Error, Fault, Result};
use crate::form::Coding;

/// Takes a body piece by piece and keeps it compressed.
pub(crate) struct Compressor {
    coding: Coding,
    encoder: Encoder,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    /// # Errors
    /// [`Fault::Internal`], where there is no memory for it.
    pub(crate) fn new(coding: Coding) -> Result<Self> {
        let encoder = match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            Coding::Zstd => {
                Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(failed)?)
            }
        };
        Ok(Self { coding, encoder })
    }

    /// # Errors
    /// [`Fault::Internal`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder.write_all(bytes),
            Encoder::Zstd(encoder) => encoder.write_all(bytes),
        }
        .map_err(failed)
    }

    /// How many bytes there are by now; more may be held back.
    pub(crate) fn length(&self) -> usize {
        match &self.encoder {
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// Gives what there is by now, which it does not hold any more; with `all`, what is held back as well.
    ///
    /// # Errors
    /// [`Fault::Internal`].
    pub(crate) fn hand_over(&mut self, all: bool) -> Result<Vec<u8>> {
        if all {
            match &mut self.encoder {
                Encoder::Gzip(encoder) => encoder.flush(),
                Encoder::Zstd(encoder) => encoder.flush(),
            }
            .map_err(failed)?;
        }
        Ok(std::mem::take(match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        }))
    }

    /// # Errors
    /// [`Fault::Internal`].
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        match self.encoder {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
        .map_err(failed)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("coding", &self.coding).field("length", &self.length()).finish()
    }
}

/// Compresses all of a body that is there already.
///
/// # Errors
/// [`Fault::Internal`].
pub(crate) fn whole(coding: Coding, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(coding)?;
    compressor.write(bytes)?;
    compressor.finish()
}

/// How many bytes these take in a reply, which has them in base64.
pub(crate) fn encoded(length: usize) -> usize {
    length.div_ceil(3) * 4
}

#[cold]
fn failed(error: io::Error) -> Error {
    Error::new(Fault::Internal, format!("the body cannot be compressed: {error}"))
}

/// Less than this gains nothing: a packet is a packet.
pub(crate) const LEAST: usize = 1024;
/// So much is compressed at once.
pub(crate) const PIECE: usize = 32 * 1024;
/// What a compressor may hold back, compressed.
pub(crate) const HELD: usize = 128 * 1024;
/// The fast ones: at a few percent more bytes they cost a fraction, and a small function has a fraction of a processor.
const GZIP_LEVEL: u32 = 2;
const ZSTD_LEVEL: i32 = 1;
