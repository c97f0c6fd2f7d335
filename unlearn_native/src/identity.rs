//! Keyed pseudo-random function and row tags: the only source of randomness in the library.
//!
//! BLAKE3 in keyed mode over `purpose || 0x00 || data`. Purposes hold no NUL, so no two (purpose, data) pairs collide.

use thiserror::Error;

/// A model's secret.
pub type PrfKey = [u8; 32];

/// Longest message that BLAKE3 compresses in one block; a tag of an int64 id takes 13 bytes.
const BLOCK: usize = 64;

/// What can be wrong with a purpose.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// A NUL would make two (purpose, data) pairs the same message.
    #[error("purpose must not contain a NUL character")]
    NulInPurpose,
}

/// BLAKE3 keyed hash of `purpose`, a NUL, and `data`.
///
/// # Errors
/// If `purpose` contains a NUL.
pub fn prf(key: &PrfKey, purpose: &str, data: &[u8]) -> Result<[u8; 32], IdentityError> {
    if purpose.contains('\0') {
        return Err(IdentityError::NulInPurpose);
    }
    Ok(keyed(key, &[purpose.as_bytes(), b"\0", data]))
}

/// Tag of a row with an int64 id: 128 bits of the PRF over `i` and the id, little-endian.
#[must_use]
pub fn int64_tag(key: &PrfKey, id: i64) -> u128 {
    tag(key, b'i', &id.to_le_bytes())
}

/// Tag of a row with a str id: 128 bits of the PRF over `s` and the id in UTF-8, not normalised.
#[must_use]
pub fn str_tag(key: &PrfKey, id: &[u8]) -> u128 {
    tag(key, b's', id)
}

fn tag(key: &PrfKey, kind: u8, id: &[u8]) -> u128 {
    let hash = keyed(key, &[b"row\0", &[kind], id]);
    let (low, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[])); // 32 bytes have a first 16
    u128::from_le_bytes(*low)
}

/// Keyed hash of the concatenated parts. Short messages skip the incremental hasher, whose set-up costs more than the hash.
fn keyed(key: &PrfKey, parts: &[&[u8]]) -> [u8; 32] {
    let total = parts.iter().map(|part| part.len()).sum::<usize>();
    if total > BLOCK {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for part in parts {
            hasher.update(part);
        }
        return hasher.finalize().into();
    }
    let mut message = [0; BLOCK];
    let mut end = 0;
    for part in parts {
        message[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    blake3::keyed_hash(key, &message[..total]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PrfKey = *b"0123456789abcdef0123456789abcdef";

    #[test]
    fn short_and_long_messages_agree_with_the_incremental_hasher() {
        for length in [0, 1, 59, 60, 61, 64, 200] {
            let data = vec![7; length];
            let mut hasher = blake3::Hasher::new_keyed(&KEY);
            hasher.update(b"row\0").update(&data);

            assert_eq!(prf(&KEY, "row", &data), Ok(hasher.finalize().into()));
        }
    }

    #[test]
    fn a_tag_is_the_first_half_of_the_prf() {
        let int = prf(
            &KEY,
            "row",
            &[b"i".as_slice(), &(-5_i64).to_le_bytes()].concat(),
        )
        .expect("no NUL");
        let text = prf(&KEY, "row", "sé".as_bytes()).expect("no NUL");

        assert_eq!(int64_tag(&KEY, -5).to_le_bytes(), int[..16]);
        assert_eq!(str_tag(&KEY, "é".as_bytes()).to_le_bytes(), text[..16]);
    }

    #[test]
    fn a_purpose_with_a_nul_is_refused() {
        assert_eq!(prf(&KEY, "a\0b", b""), Err(IdentityError::NulInPurpose));
    }
}
