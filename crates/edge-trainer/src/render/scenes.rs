//! The scenes as colour functions of a point: u from 0 (left) to the aspect ratio, v from 0 (top) to 1 (bottom).

use super::noise::{hash, rough, smooth, to_unit, value};
use super::objects;

/// Subject of a drawn picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A sunset over the sea.
    Sunset,
    /// Several ridges, one behind the other.
    Mountains,
    /// Houses with lit windows and lamps above a wet street.
    NightStreet,
    /// A flower in front of leaves out of focus.
    Flower,
    /// Tree trunks in mist.
    Forest,
    /// Head and shoulders against a bright window.
    Portrait,
    /// A clock on a wall.
    Clock,
    /// A hot-air balloon in the sky.
    Balloon,
    /// An open umbrella.
    Umbrella,
}

impl Scene {
    /// All scenes.
    pub const ALL: [Self; 9] = [
        Self::Sunset,
        Self::Mountains,
        Self::NightStreet,
        Self::Flower,
        Self::Forest,
        Self::Portrait,
        Self::Clock,
        Self::Balloon,
        Self::Umbrella,
    ];

    /// Returns the tag of the scene.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Sunset => "sunset over the sea",
            Self::Mountains => "mountains",
            Self::NightStreet => "night street",
            Self::Flower => "flower",
            Self::Forest => "forest",
            Self::Portrait => "portrait",
            Self::Clock => "clock",
            Self::Balloon => "balloon",
            Self::Umbrella => "umbrella",
        }
    }

    /// Returns the colour function of the scene.
    pub(super) fn shader(self) -> Shader {
        match self {
            Self::Sunset => sunset,
            Self::Mountains => mountains,
            Self::NightStreet => night_street,
            Self::Flower => flower,
            Self::Forest => forest,
            Self::Portrait => portrait,
            Self::Clock => objects::clock,
            Self::Balloon => objects::balloon,
            Self::Umbrella => objects::umbrella,
        }
    }
}

/// Frame that a scene is drawn in.
#[derive(Debug, Clone, Copy)]
pub struct SceneFrame {
    /// Width of the picture divided by its height.
    pub aspect: f32,
    /// Height of a pixel, as a share of the picture's height.
    pub pixel: f32,
    /// Seed of the scene's random details.
    pub seed: u64,
}

pub(super) type Colour = [f32; 3];

/// Function that returns the colour of the point (u, v).
pub(super) type Shader = fn(&SceneFrame, f32, f32) -> Colour;

pub(super) fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * t)
}

fn add(a: Colour, b: Colour, strength: f32) -> Colour {
    std::array::from_fn(|c| a[c] + b[c] * strength)
}

pub(super) fn shade(a: Colour, by: f32) -> Colour {
    a.map(|v| v * by)
}

/// Returns 1 inside a shape and 0 outside, with a soft edge of one pixel. `distance` to the edge is negative inside.
pub(super) fn inside(frame: &SceneFrame, distance: f32) -> f32 {
    1.0 - smooth(-frame.pixel, frame.pixel, distance)
}

fn random(frame: &SceneFrame, x: i64, y: i64) -> f32 {
    to_unit(hash(frame.seed, x, y))
}

fn evening_sky(frame: &SceneFrame, u: f32, v: f32, sun: (f32, f32)) -> Colour {
    let sky = mix([0.16, 0.2, 0.42], [0.86, 0.5, 0.34], smooth(0.0, 0.6, v));
    let distance = ((u - sun.0).powi(2) + (v - sun.1).powi(2)).sqrt();
    let sky = add(sky, [0.9, 0.55, 0.2], 0.5 * (-distance * 4.0).exp());
    let cloud = smooth(0.48, 0.75, rough(frame.seed, u * 2.2, v * 8.0, 5)) * smooth(0.62, 0.3, v);
    let lit = mix([0.33, 0.24, 0.36], [1.0, 0.62, 0.4], (-distance * 2.0).exp() + 0.2 * v);
    let sky = mix(sky, lit, 0.75 * cloud);
    mix(sky, [1.0, 0.93, 0.7], inside(frame, distance - 0.055))
}

fn sunset(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let horizon = 0.6;
    let sun = (frame.aspect * (0.35 + 0.3 * random(frame, 1, 1)), 0.5);
    if v < horizon {
        let hill = 0.045 * rough(frame.seed + 7, u * 5.0, 0.5, 4) * smooth(0.9, 0.2, u / frame.aspect);
        let sky = evening_sky(frame, u, v, sun);
        return mix(sky, [0.13, 0.09, 0.13], inside(frame, horizon - hill - v));
    }
    let depth = (v - horizon) / (1.0 - horizon);
    let scale = 1.0 / (0.03 + depth);
    let wave = rough(frame.seed + 3, u * 3.0 * scale.sqrt() + 3.0, 14.0 * scale.ln() * 2.0, 4);
    let mirrored = evening_sky(frame, u + 0.04 * (wave - 0.5), (horizon - 0.9 * (v - horizon)).max(0.0), sun);
    let water = mix(shade(mirrored, 0.62), [0.06, 0.1, 0.18], 0.25 + 0.35 * depth);
    let water = shade(water, 0.7 + 0.6 * wave);
    let path = (-((u - sun.0) / (0.05 + 0.16 * depth)).powi(2)).exp();
    add(water, [1.0, 0.72, 0.4], path * smooth(0.45, 0.8, wave) * 0.9)
}

fn mountains(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let sky = mix([0.25, 0.47, 0.78], [0.82, 0.88, 0.93], smooth(0.0, 0.55, v));
    let cloud = smooth(0.5, 0.8, rough(frame.seed + 50, u * 2.5, v * 6.0, 5)) * smooth(0.5, 0.1, v);
    let mut colour = mix(sky, [0.97, 0.97, 0.98], cloud);
    for layer in 0..5u8 {
        let nearness = f32::from(layer) / 4.0;
        let seed = frame.seed + 11 * u64::from(layer);
        let along = u * (1.3 + 1.2 * nearness) + 5.0 * nearness;
        // Folding the noise turns its round maxima into sharp peaks.
        let peak = 1.0 - (2.0 * value(seed, along, 0.3) - 1.0).abs() + 0.5 * rough(seed, along * 3.0, 0.3, 6);
        let crest = 0.42 + 0.36 * nearness - (0.3 - 0.22 * nearness) * (peak - 0.4);
        let rock = rough(seed + 1, u * 14.0, (v + 0.4 * u) * 14.0, 5);
        let ground = mix([0.5, 0.6, 0.72], [0.11, 0.2, 0.1], smooth(0.1, 0.95, nearness));
        let ground = shade(ground, 0.65 + 0.7 * rock);
        let snow = smooth(0.13, 0.03, v - crest + 0.1 * (rock - 0.4)) * smooth(0.6, 0.2, nearness);
        let ground = mix(ground, [0.93, 0.95, 1.0], snow * (0.55 + 0.45 * rock));
        colour = mix(colour, ground, inside(frame, crest - v));
    }
    let meadow = rough(frame.seed + 77, u * 60.0, v * 25.0 / (v * v), 4);
    let grass = mix([0.14, 0.25, 0.06], [0.5, 0.56, 0.2], meadow);
    mix(colour, grass, inside(frame, 0.86 + 0.03 * value(frame.seed + 5, u * 3.0, 0.0) - v))
}

/// Houses and sky above the street.
fn facade(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let mut colour = mix([0.03, 0.04, 0.1], [0.13, 0.1, 0.16], v);
    for row in 0..2i64 {
        let width = if row == 0 { 0.16 } else { 0.24 };
        let house = (u / width + 0.3 * row as f32).floor();
        let top = 0.16 + 0.16 * row as f32 + 0.26 * random(frame, house as i64, 20 + row);
        if v < top {
            continue;
        }
        let wall = shade([0.12, 0.1, 0.1], 0.6 + 0.6 * random(frame, house as i64, 30 + row));
        colour = shade(wall, 0.8 + 0.4 * rough(frame.seed, u * 40.0, v * 40.0, 3));
        let (cell_u, cell_v) = (u / 0.03, (v - top) / 0.045);
        let (x, y) = (cell_u.fract(), cell_v.fract());
        let window = smooth(0.2, 0.26, x) * smooth(0.8, 0.74, x) * smooth(0.25, 0.3, y) * smooth(0.85, 0.8, y);
        let chance = random(frame, cell_u.floor() as i64 + 1000 * row, cell_v.floor() as i64);
        if chance > 0.55 {
            let warm = mix([1.0, 0.75, 0.38], [0.8, 0.9, 1.0], f32::from(u8::from(chance > 0.93)));
            colour = mix(colour, shade(warm, 0.5 + chance * 0.5), window);
        }
    }
    colour
}

fn lamps(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let mut light = [0.0; 3];
    for i in 0..7i64 {
        let at = frame.aspect * (i as f32 + 0.2 + 0.6 * random(frame, i, 40)) / 7.0;
        let height = 0.5 + 0.1 * random(frame, i, 41);
        let distance = ((u - at).powi(2) + (v - height).powi(2)).sqrt();
        let colour = match hash(frame.seed, i, 42) % 4 {
            0 => [1.0, 0.35, 0.25],
            1 => [0.6, 0.85, 1.0],
            _ => [1.0, 0.78, 0.42],
        };
        light = add(light, colour, inside(frame, distance - 0.014) + 0.45 * (-distance * 22.0).exp());
    }
    light
}

fn night_street(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let kerb = 0.7;
    if v < kerb {
        return add(facade(frame, u, v), lamps(frame, u, v), 1.0);
    }
    let depth = (v - kerb) / (1.0 - kerb);
    let ripple = rough(frame.seed + 9, u * 30.0, v * 9.0, 4) - 0.5;
    let mirrored = 2.0 * kerb - v + 0.06 * ripple;
    let mut sum = [0.0; 3];
    for k in 0..5u8 {
        let v = (mirrored - 0.05 * f32::from(k)).max(0.05);
        sum = add(sum, add(facade(frame, u + 0.015 * ripple, v), lamps(frame, u + 0.02 * ripple, v), 1.0), 0.2);
    }
    let asphalt = shade([0.07, 0.07, 0.085], 0.6 + 0.8 * rough(frame.seed + 2, u * 90.0, v * 90.0, 2));
    let mut colour = add(asphalt, sum, 0.75 * (1.0 - 0.5 * depth));
    let middle = (u - 0.5 * frame.aspect).abs() - 0.006 * (1.0 + 3.0 * depth);
    let dash = f32::from(u8::from((1.0 / (0.12 + depth) * 2.0).fract() > 0.5));
    colour = mix(colour, [0.6, 0.58, 0.5], 0.6 * dash * inside(frame, middle));
    colour
}

fn flower(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let leaf = value(frame.seed, u * 3.0, v * 3.0);
    let mut colour = mix([0.05, 0.15, 0.07], [0.42, 0.58, 0.2], smooth(0.15, 0.9, leaf));
    for i in 0..14i64 {
        let (x, y) = (frame.aspect * random(frame, i, 60), random(frame, i, 61));
        let size = 0.03 + 0.06 * random(frame, i, 62);
        let distance = ((u - x).powi(2) + (v - y).powi(2)).sqrt() - size;
        colour = add(colour, [0.35, 0.38, 0.2], 0.3 * smooth(0.008, -0.008, distance));
    }
    let (x, y) = (u - 0.5 * frame.aspect, v - 0.44);
    let stem = (x - 0.05 * (y * 4.0).sin()).abs() - 0.013;
    if y > 0.0 {
        colour =
            mix(colour, shade([0.25, 0.45, 0.15], 0.7 + 30.0 * (0.013 - stem.abs()).max(0.0)), inside(frame, stem));
    }
    let (radius, angle) = ((x * x + y * y).sqrt(), y.atan2(x));
    for ring in 0..2u8 {
        let turn = angle + 0.22 * f32::from(ring) + 0.1 * random(frame, 3, 63);
        let (petals, length) = (9.0, 0.33 - 0.08 * f32::from(ring));
        let across = (turn * petals / 2.0).sin().abs();
        let border = length * (0.45 + 0.55 * across.powf(0.6));
        let vein = value(frame.seed + 8, turn * 38.0, radius * 6.0);
        let tint = mix([0.98, 0.62, 0.78], [0.72, 0.1, 0.36], smooth(length, 0.05, radius));
        let petal = shade(tint, (0.55 + 0.45 * across) * (0.85 + 0.25 * vein));
        colour = mix(colour, petal, inside(frame, radius - border));
    }
    let seed_heads = rough(frame.seed + 4, x * 110.0, y * 110.0, 2);
    let centre = mix([0.45, 0.25, 0.03], [1.0, 0.86, 0.25], smooth(0.3, 0.75, seed_heads));
    mix(colour, shade(centre, 1.1 - 3.0 * radius), inside(frame, radius - 0.075))
}

fn forest(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let glow = (-((u - 0.55 * frame.aspect).powi(2) * 2.0 + (v - 0.25).powi(2) * 5.0)).exp();
    let mist = mix([0.42, 0.5, 0.42], [0.98, 0.96, 0.8], glow);
    let mut colour = mist;
    for layer in 0..5i64 {
        let nearness = (layer as f32 + 1.0) / 5.0;
        let spacing = 0.07 + 0.14 * nearness;
        let slot = (u / spacing + 0.37 * layer as f32).floor();
        for near in -1..=1 {
            let index = slot as i64 + near;
            let trunk_u = (index as f32 + 0.2 + 0.6 * random(frame, index, 70 + layer) - 0.37 * layer as f32) * spacing;
            let bend = 0.02 * (v * 3.0 + random(frame, index, 80) * 6.0).sin();
            let width = 0.008 + 0.03 * nearness * (0.5 + random(frame, index, 90 + layer)) + 0.02 * v.powi(6);
            let across = (u - trunk_u - bend) / width;
            let bark = rough(frame.seed + 2, across * 4.0 + 9.0 * index as f32, v * 30.0 * nearness, 4);
            let lit = 0.5 + 0.5 * (1.0 - across.abs()).max(0.0);
            let trunk = shade([0.2, 0.15, 0.1], (0.5 + bark) * lit);
            let trunk = mix(mist, trunk, nearness * (0.55 + 0.45 * nearness));
            colour = mix(
                colour,
                trunk,
                inside(frame, (across.abs() - 1.0) * width) * smooth(0.97, 0.8, v * (1.1 - 0.2 * nearness)),
            );
        }
        let leaves = rough(frame.seed + 31 * layer as u64, u * (10.0 + 12.0 * nearness), v * 16.0, 5);
        let cover = smooth(0.5, 0.62, leaves - 0.55 * (v - 0.12) * (1.4 - 0.4 * nearness));
        let green = mix([0.1, 0.24, 0.06], [0.55, 0.68, 0.22], leaves * glow + 0.2 * leaves);
        colour = mix(colour, mix(mist, green, 0.35 + 0.6 * nearness), 0.8 * cover);
    }
    let floor = rough(frame.seed + 99, u * 24.0, v * 40.0, 5);
    let moss = mix([0.12, 0.12, 0.05], [0.45, 0.5, 0.2], floor);
    let colour = mix(colour, moss, smooth(0.76, 0.86, v + 0.05 * floor));
    let ray = smooth(0.55, 0.8, value(frame.seed + 6, (u - 0.8 * v) * 9.0, 0.0)) * smooth(0.9, 0.1, v);
    add(colour, [1.0, 0.95, 0.7], 0.22 * ray * glow)
}

fn portrait(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let window = 0.5 + 0.5 * value(frame.seed, u * 1.3, v * 1.3);
    let mut colour = mix([0.4, 0.24, 0.16], [1.0, 0.86, 0.62], window * smooth(1.1, 0.0, v));
    for i in 0..18i64 {
        let (x, y) = (frame.aspect * random(frame, i, 10), 0.8 * random(frame, i, 11));
        let distance = ((u - x).powi(2) + (v - y).powi(2)).sqrt() - 0.025 - 0.05 * random(frame, i, 12);
        colour = add(colour, [0.4, 0.3, 0.16], 0.4 * smooth(0.006, -0.006, distance));
    }
    let x = u - 0.5 * frame.aspect;
    let head = ((x / 0.155).powi(2) + ((v - 0.37) / 0.205).powi(2)).sqrt() - 1.0;
    let hair =
        ((x / 0.19).powi(2) + ((v - 0.33) / 0.22).powi(2)).sqrt() - 1.0 + 0.05 * value(frame.seed, u * 20.0, v * 9.0);
    let neck = (x.abs() - 0.075).max(0.5 - v).max(v - 0.75);
    let shoulder = 0.67 + 0.8 * x * x + 0.5 * (x.abs() - 0.2).max(0.0).powi(2);
    let cloth = shade([0.16, 0.2, 0.3], 0.7 + 0.5 * rough(frame.seed + 1, u * 50.0, v * 50.0, 3));
    let skin = mix([0.62, 0.4, 0.3], [0.24, 0.14, 0.11], smooth(-0.12, 0.12, x));
    let skin = shade(skin, 0.92 + 0.12 * rough(frame.seed + 3, u * 60.0, v * 60.0, 3));
    let locks = shade([0.13, 0.08, 0.05], 0.6 + 0.9 * value(frame.seed + 2, (x / (0.3 + v)) * 140.0, v * 5.0));
    let layers =
        [(hair.max(v - 0.56) * 0.15, locks), (neck, shade(skin, 0.72)), (shoulder - v, cloth), (head * 0.15, skin)];
    for (distance, paint) in layers {
        let rim = smooth(-0.02, 0.0, distance) * smooth(0.1, -0.2, x);
        colour = mix(colour, add(paint, [0.7, 0.5, 0.3], 0.7 * rim), inside(frame, distance));
    }
    let fringe = (hair * 0.15).max(v - 0.27 - 0.25 * (x + 0.1).abs());
    colour = mix(colour, locks, inside(frame, fringe));
    face(frame, x, v, colour)
}

/// Eyes, brows, nose and mouth.
fn face(frame: &SceneFrame, x: f32, v: f32, mut colour: Colour) -> Colour {
    for side in [-1.0, 1.0] {
        let dx = x - side * 0.062;
        let eye = ((dx / 0.028).powi(2) + ((v - 0.365) / 0.013).powi(2)).sqrt() - 1.0;
        colour = mix(colour, [0.85, 0.82, 0.78], inside(frame, eye * 0.012));
        let iris = (dx * dx + (v - 0.365).powi(2)).sqrt() - 0.011;
        colour = mix(colour, [0.12, 0.09, 0.07], inside(frame, iris.max(eye * 0.012)));
        let brow = ((dx / 0.037).powi(2) + ((v - 0.328 - 2.0 * dx * dx) / 0.007).powi(2)).sqrt() - 1.0;
        colour = mix(colour, [0.14, 0.09, 0.06], 0.85 * inside(frame, brow * 0.006));
    }
    let nose = (((x - 0.012) / 0.02).powi(2) + ((v - 0.44) / 0.02).powi(2)).sqrt() - 1.0;
    colour = mix(colour, shade(colour, 0.72), smooth(0.5, -0.6, nose));
    let mouth = ((x / 0.045).powi(2) + ((v - 0.5 + 2.5 * x * x) / 0.013).powi(2)).sqrt() - 1.0;
    mix(colour, [0.5, 0.2, 0.18], inside(frame, mouth * 0.012))
}
