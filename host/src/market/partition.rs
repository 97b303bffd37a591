//! Which partition a symbol belongs to: the same one that Kafka's own Java clients choose for that key.

/// The partition of a symbol where a topic has `partitions` of them.
///
/// # Panics
/// Where `partitions` is 0.
#[must_use]
pub fn partition_of(symbol: &str, partitions: u32) -> u32 {
    // Kafka's `toPositive` clears the sign; it does not negate.
    (murmur2(symbol.as_bytes()) & 0x7fff_ffff) % partitions
}

/// `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's array lengths are 32 bits wide.
    let mut h = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, &byte) in rest.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_what_kafkas_own_tests_expect() {
        // From `UtilsTest.testMurmur2` of Apache Kafka.
        for (key, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    #[test]
    fn murmur2_gives_what_librdkafkas_own_tests_expect() {
        // From `unittest_murmur2` of librdkafka: all lengths modulo 4, and the empty key.
        for (key, expected) in [
            ("kafka", 0xd067_cf64),
            ("giberish123456789", 0x8f55_2b0c),
            ("1234", 0x9fc9_7b14),
            ("234", 0xe7c0_09ca),
            ("34", 0x8739_30da),
            ("4", 0x5a4b_5ca1),
            ("PreAmbleWillBeRemoved,ThePrePartThatIs", 0x7842_4f1c),
            ("", 0x106e_08d9),
        ] {
            assert_eq!(murmur2(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn a_hash_with_the_sign_bit_is_made_positive_as_java_does() {
        assert!((murmur2(b"foobar") as i32) < 0);
        let to_positive = (-790_332_482_i32) & i32::MAX;
        assert_eq!(partition_of("foobar", 12), (to_positive % 12) as u32);
    }
}
