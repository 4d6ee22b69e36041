//! Codecs that unpack until their bytes end, whatever the header of the page says: what comes out is counted first.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use parquet::basic::Compression;

/// How a page of brotli's "large window" begins, in its lowest seven bits: up to a gigabyte, and none of Parquet's writers asks for it.
const LARGE_WINDOW: u8 = 0x11;
/// Bytes that brotli reads at once.
const BUFFER_BYTES: usize = 4096;

/// Whether the library unpacks without a limit what this codec has packed. The others write into as many bytes as the header claims.
pub(crate) fn is_unlimited(codec: Compression) -> bool {
    matches!(codec, Compression::GZIP(_) | Compression::BROTLI(_) | Compression::LZ4)
}

/// Refuses packed bytes that unpack to more than `most`. What cannot be unpacked is left to the library, which says so.
pub(crate) fn check(codec: Compression, packed: &[u8], most: u64) -> Result<(), String> {
    let count = |unpacked: &mut dyn Read| match io::copy(&mut unpacked.take(most + 1), &mut io::sink()) {
        Ok(bytes) if bytes > most => Err(format!("unpacks to more than the {most} bytes that it claims")),
        _ => Ok(()),
    };
    match codec {
        Compression::GZIP(_) => count(&mut MultiGzDecoder::new(packed)),
        Compression::BROTLI(_) if packed.first().is_some_and(|first| first & 0x7f == LARGE_WINDOW) => {
            Err("wants a window of more than 16 MiB".to_owned())
        }
        Compression::BROTLI(_) => count(&mut brotli_decompressor::Decompressor::new(packed, BUFFER_BYTES)),
        // of old writers: where the bytes are no blocks as Hadoop has them, the library tries LZ4's own frames
        Compression::LZ4 => count(&mut FrameDecoder::new(packed)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use parquet::basic::{BrotliLevel, GzipLevel};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn refusal(codec: Compression, packed: &[u8]) -> String {
        check(codec, packed, MIB).expect("as long as it claims");
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            check(codec, &packed[..cut], MIB).expect("the library says what is wrong with these");
        }
        check(codec, packed, MIB - 1).expect_err("one byte too long")
    }

    #[test]
    fn what_unpacks_to_more_than_it_claims_is_refused_in_every_codec_without_a_limit() {
        let expected = "unpacks to more than the 1048575 bytes that it claims";
        let zeros = vec![0; MIB as usize];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        gzip.write_all(&zeros).expect("memory");
        let gzip = gzip.finish().expect("memory");
        assert_eq!(refusal(Compression::GZIP(GzipLevel::default()), &gzip), expected);
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&zeros).expect("memory");
        assert_eq!(refusal(Compression::LZ4, &lz4.finish().expect("memory")), expected);
        // python: pyarrow.compress(bytes(1 << 20), codec="brotli", asbytes=True)
        let brotli = [0x5b, 0xff, 0xff, 0x0f, 0x40, 0x02, 0x20, 0x1e, 0x0b, 0x24, 0xf7, 0xfe, 0x01];
        let codec = Compression::BROTLI(BrotliLevel::default());
        assert_eq!(refusal(codec, &brotli), expected);
        assert_eq!(
            check(codec, &[0x91, 30], MIB).expect_err("refused"),
            "wants a window of more than 16 MiB"
        );
    }
}
