//! Counter-based pseudo-random numbers: a value is a pure function of what it is for, never of what was drawn before.
//!
//! The finaliser is that of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).

/// A well-mixed 64-bit value of one word.
#[inline]
pub const fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A well-mixed value of two words.
#[inline]
pub const fn mix2(a: u64, b: u64) -> u64 {
    mix(mix(a) ^ b)
}

/// A well-mixed value of three words.
#[inline]
pub const fn mix3(a: u64, b: u64, c: u64) -> u64 {
    mix(mix2(a, b) ^ c)
}

/// The uniform value in the open interval (0, 1) that belongs to a word.
#[inline]
pub fn unit(word: u64) -> f64 {
    ((word >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}
