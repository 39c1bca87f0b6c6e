//! The hash of the tables of words, features and n-grams, and of the checksums of files.

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd1b5_4a32_d192_ed03;

/// Both halves of the product of two numbers, mixed.
#[inline(always)]
pub(crate) fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    product as u64 ^ (product >> 64) as u64
}

/// Eight bytes as a number, the lowest first.
#[inline(always)]
pub(crate) fn little_endian(eight: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(eight);
    u64::from_le_bytes(bytes)
}

/// Multiplies eight bytes at a time into 128 bits and folds the halves.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = FIRST ^ bytes.len() as u64;
    let mut rest = bytes;
    while rest.len() > 8 {
        state = fold(state ^ little_endian(&rest[..8]), SECOND);
        rest = &rest[8..];
    }
    let byte = |at: usize| u64::from(rest[at]) << (8 * at);
    let four = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&rest[at..at + 4]);
        u64::from(u32::from_le_bytes(bytes)) << (8 * at)
    };
    // Parts may overlap, where they agree.
    let last = match rest.len() {
        0 => 0,
        length @ 1..=3 => byte(0) | byte(length / 2) | byte(length - 1),
        length => four(0) | four(length - 4),
    };
    finished(state, last)
}

/// The [`hash`] of at most eight bytes, which are those of a number from the lowest on.
#[inline(always)]
pub(crate) fn hash_short(length: usize, bytes: u64) -> u64 {
    finished(FIRST ^ length as u64, bytes)
}

#[inline(always)]
fn finished(state: u64, last: u64) -> u64 {
    fold(fold(state ^ last, SECOND) ^ FIRST, FIRST)
}
