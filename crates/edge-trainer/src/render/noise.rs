//! Random textures that depend on a seed and a position only.

/// Returns 64 pseudo-random bits for a seed and a position (the finaliser of SplitMix64).
pub fn hash(seed: u64, x: i64, y: i64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add((x as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .wrapping_add((y as u64).wrapping_mul(0x94d0_49bb_1331_11eb));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Converts random bits to a number in 0..1.
pub fn to_unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

/// Returns 0 below `low`, 1 above `high`, and a smooth transition between.
pub fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Returns a smooth random surface in 0..1 with one hill or hollow per unit of length (value noise).
pub fn value(seed: u64, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (smooth(0.0, 1.0, x - x0), smooth(0.0, 1.0, y - y0));
    let at = |dx: i64, dy: i64| to_unit(hash(seed, x0 as i64 + dx, y0 as i64 + dy));
    let top = at(0, 0) + (at(1, 0) - at(0, 0)) * fx;
    let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * fx;
    top + (bottom - top) * fy
}

/// Returns a rough random surface in 0..1: the sum of `octaves` of [`value`], each twice as fine and half as strong.
pub fn rough(seed: u64, x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        sum += weight * value(seed + u64::from(octave) * 101, x * scale, y * scale);
        total += weight;
        weight *= 0.5;
        scale *= 2.03;
    }
    sum / total
}
