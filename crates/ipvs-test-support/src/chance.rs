/// What chance begins with: `cargo xtask test --seed N` gives it as `PROPTEST_RNG_SEED`, as for property tests; else it is
/// always the same.
#[must_use]
pub fn seed() -> u64 {
    let given = std::env::var("PROPTEST_RNG_SEED");
    given.ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}
