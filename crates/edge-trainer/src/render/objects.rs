//! Scenes of one object: a clock, a balloon and an umbrella. Anyone, and a network that knows photographs, recognises them.

use std::f32::consts::{PI, TAU};

use super::noise::{rough, smooth, value};
use super::scenes::{Colour, SceneFrame, inside, mix, shade};

/// A station clock on a plastered wall.
pub(super) fn clock(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let plaster = rough(frame.seed, u * 9.0, v * 9.0, 5);
    let wall = shade([0.74, 0.66, 0.55], 0.85 + 0.2 * plaster - 0.12 * v);
    let (x, y) = (u - 0.5 * frame.aspect, v - 0.5);
    let radius = x.hypot(y);
    let shadow = smooth(0.06, -0.02, (x - 0.025).hypot(y - 0.04) - 0.4);
    let mut colour = shade(wall, 1.0 - 0.45 * shadow);
    let lit = 0.75 + 0.35 * ((x - y) / 0.8).clamp(-0.5, 0.5);
    colour = mix(colour, shade([0.25, 0.16, 0.1], lit), inside(frame, radius - 0.4));
    colour = mix(colour, shade([0.97, 0.96, 0.92], 1.0 - 0.12 * radius), inside(frame, radius - 0.36));
    // Clockwise from twelve, in turns.
    let turn = (x.atan2(-y) / TAU).rem_euclid(1.0);
    for (marks, inner, half_width) in [(60.0, 0.325, 0.0025), (12.0, 0.29, 0.0065)] {
        let off = (turn * marks - (turn * marks).round()) / marks * TAU;
        let across = (radius * off.sin()).abs() - half_width;
        colour = mix(colour, [0.08; 3], inside(frame, across.max(inner - radius).max(radius - 0.345)));
    }
    for (at, length, half_width) in [(10.15 / 12.0, 0.18, 0.013), (9.0 / 60.0, 0.28, 0.008)] {
        let (sin, cos) = (TAU * at).sin_cos();
        let (along, across) = (x * sin - y * cos, x * cos + y * sin);
        let hand = (across.abs() - half_width).max(along - length).max(-0.05 - along);
        colour = mix(colour, [0.06; 3], inside(frame, hand));
    }
    mix(colour, [0.6, 0.1, 0.08], inside(frame, radius - 0.018))
}

/// A striped hot-air balloon in the sky.
pub(super) fn balloon(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let sky = mix([0.2, 0.45, 0.8], [0.78, 0.88, 0.97], smooth(0.0, 1.0, v));
    let cloud = smooth(0.5, 0.8, rough(frame.seed + 20, u * 2.0, v * 4.0, 5)) * smooth(0.25, 0.9, v);
    let mut colour = mix(sky, [0.98, 0.98, 0.99], 0.8 * cloud);
    let (x, y) = ((u - 0.5 * frame.aspect) / 0.29, (v - 0.37) / 0.29);
    // The half width of the envelope: a half circle above, narrowing to its mouth below.
    let width = if y < 0.0 { (1.0 - y * y).max(0.0).sqrt() } else { (1.0 - y / 1.55).max(0.0).powf(0.6) };
    let outside = (x.abs() - width).max(y - 1.38).max(-1.0 - y) * 0.29;
    let around = (x / width.max(1e-3)).clamp(-1.0, 1.0).asin();
    let gore = ((around / PI + 0.5) * 12.0).floor() as i64;
    let dye = if gore % 2 == 0 { [0.86, 0.13, 0.12] } else { [0.98, 0.8, 0.15] };
    let band = f32::from(u8::from((y - 0.05).abs() < 0.09));
    let seam = ((around / PI + 0.5) * 12.0).fract();
    let bulge = 0.9 + 0.1 * (PI * seam).sin();
    let lit = bulge * (0.55 + 0.5 * (around + 0.5).cos()) * (1.0 - 0.18 * y);
    let cloth = shade(mix(dye, [0.15, 0.25, 0.6], band), lit);
    for side in [-1.0, 1.0] {
        let rope = ((x - side * (0.17 - 0.05 * (y - 1.38))).abs() - 0.008).max(1.36 - y).max(y - 1.68) * 0.29;
        colour = mix(colour, [0.25, 0.18, 0.12], inside(frame, rope));
    }
    let weave = 0.8 + 0.3 * value(frame.seed + 3, x * 60.0, y * 60.0);
    let basket = (x.abs() - 0.15).max((y - 1.76).abs() - 0.12) * 0.29;
    colour = mix(colour, shade([0.5, 0.32, 0.16], weave), inside(frame, basket));
    mix(colour, cloth, inside(frame, outside))
}

/// An open umbrella in front of a grey sky.
pub(super) fn umbrella(frame: &SceneFrame, u: f32, v: f32) -> Colour {
    let sky = mix([0.5, 0.55, 0.62], [0.82, 0.84, 0.85], smooth(0.0, 1.0, v));
    let mut colour = shade(sky, 0.92 + 0.16 * rough(frame.seed + 9, u * 2.0, v * 3.0, 5));
    let (x, y) = ((u - 0.5 * frame.aspect) / 0.36, (v - 0.52) / 0.36);
    let stick = (x.abs() - 0.016).max(-1.06 - y).max(y - 0.85) * 0.36;
    colour = mix(colour, shade([0.3, 0.28, 0.27], 1.0 - 12.0 * x), inside(frame, stick));
    let hook = (((x - 0.11).hypot(y - 0.85) - 0.11).abs() - 0.028).max(0.85 - y) * 0.36;
    colour = mix(colour, [0.42, 0.24, 0.11], inside(frame, hook));
    // The umbrella has eight panels, and the viewer sees four of them. The lower edge of a panel is an arc between two ribs.
    let around = x.clamp(-1.0, 1.0).asin() / PI + 0.5;
    let panel = (around * 4.0).fract();
    let edge = -0.16 * (PI * panel).sin();
    let dome = (x.hypot(y) - 1.0).max(y - edge) * 0.36;
    let lit = (0.6 + 0.4 * (PI * panel).sin()) * (0.8 - 0.3 * x - 0.25 * y);
    let cloth = shade([0.88, 0.1, 0.13], lit * (0.95 + 0.1 * value(frame.seed, x * 80.0, y * 80.0)));
    mix(colour, cloth, inside(frame, dome))
}
