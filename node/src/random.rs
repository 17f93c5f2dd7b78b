//! The only place where the node draws random numbers.

/// 128 bits from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give: nothing secure can be done then.
#[must_use]
pub fn bits() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u128::from_le_bytes(bytes)
}

/// Random text of so many hexadecimal digits, 32 at most.
#[must_use]
pub fn hex(digits: usize) -> String {
    let mut text = format!("{:032x}", bits());
    text.truncate(digits);
    text
}

/// At least 0 and less than 1.
#[must_use]
pub fn fraction() -> f64 {
    #[allow(clippy::cast_possible_truncation)] // 32 of the bits are enough.
    let bits = bits() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
