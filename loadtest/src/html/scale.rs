//! Axes: where a value lies between the ends of a picture, and which values are written beside it.

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 on.
    Linear { max: f64 },
    /// From one power of ten to another; 1-2-5 ticks where there are few powers.
    Log { min: f64, max: f64 },
    /// Shares of a whole, so that 90 %, 99 % and 99.9 % are equally far apart.
    Nines { nines: f64 },
}

/// Ticks that an axis has at most, more or less.
const TICKS: f64 = 6.0;

impl Scale {
    /// A linear one that has room for all values.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let highest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let step = round_step(highest / TICKS);
        // What is above a tick by a rounding error needs no further one.
        Self::Linear { max: (highest / step - 1e-9).ceil() * step }
    }

    /// A linear one that ends with the highest of all values.
    pub(super) fn span(values: impl Iterator<Item = f64>) -> Self {
        let max = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self::Linear { max: if max > 0.0 { max } else { 1.0 } }
    }

    /// A logarithmic one that has room for all values above zero.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = values
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self::Log { min: 0.1, max: 1.0 };
        }
        let min = 10f64.powf(low.log10().floor());
        let max = 10f64.powf(high.log10().ceil());
        Self::Log { min, max: if max > min { max } else { min * 10.0 } }
    }

    /// One for shares up to this one, which is below 1.
    pub(super) fn nines(highest: f64) -> Self {
        let nines = -(1.0 - highest.min(1.0 - 1e-9)).log10();
        Self::Nines { nines: nines.max(1.0) }
    }

    /// Where a value lies: 0 is the beginning of the axis, 1 its end.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { max } => value / max,
            Self::Log { min, max } => (value.max(min) / min).log10() / (max / min).log10(),
            Self::Nines { nines } => -(1.0 - value).max(1e-12).log10() / nines,
        };
        place.clamp(0.0, 1.0)
    }

    /// Values to be written beside the axis, and how.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Self::Linear { max } => {
                let step = round_step(max / TICKS);
                let values = counted().map(|n| n * step).take_while(|v| *v <= max * 1.0001);
                values.map(|value| (value, written(value, step))).collect()
            }
            Self::Log { min, max } => {
                let powers = (max / min).log10().round();
                let between: &[f64] = if powers <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let decades = counted().map(|n| min * 10f64.powf(n));
                let decades = decades.take_while(|decade| *decade <= max * 1.0001);
                let values = decades.flat_map(|d| between.iter().map(move |factor| d * factor));
                let values = values.filter(|value| *value <= max * 1.0001);
                values.map(|value| (value, written(value, value))).collect()
            }
            Self::Nines { nines } => {
                let values = counted().take_while(|n| *n <= nines + 1e-6);
                values.map(|n| 1.0 - 10f64.powf(-n)).map(|share| (share, percent(share))).collect()
            }
        }
    }
}

/// 0, 1, 2 and so on; nobody takes more.
fn counted() -> impl Iterator<Item = f64> {
    (0..100).map(f64::from)
}

/// 1, 2 or 5 of some power of ten, not below `about`.
fn round_step(about: f64) -> f64 {
    let power = 10f64.powf(about.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= about * 0.9999);
    factor.unwrap_or(10.0) * power
}

/// A number with as many digits behind the point as its step has, and thousands set apart.
fn written(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 6.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let text = format!("{value:.*}", digits as usize);
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn percent(share: f64) -> String {
    let text = format!("{:.6}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_linear_axis_has_round_ticks_and_room_for_all() {
        let scale = Scale::linear([3.0, 1_234.0, f64::NAN].into_iter());
        assert_eq!(scale, Scale::Linear { max: 1_500.0 });
        assert_eq!(shown(scale), ["0", "500", "1,000", "1,500"]);
        assert_eq!(shown(Scale::linear([0.31].into_iter())), ["0.0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(Scale::linear([10.0 / (2.9 - 2.5)].into_iter()), Scale::Linear { max: 25.0 });
        assert_eq!(shown(Scale::linear(std::iter::empty())).last().unwrap(), "1.0");
        assert!((scale.place(750.0) - 0.5).abs() < 1e-9);
        assert_eq!(
            shown(Scale::span([2.9].into_iter())),
            ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]
        );
    }

    #[test]
    fn a_logarithmic_axis_begins_and_ends_with_powers_of_ten() {
        let scale = Scale::log([0.0, 0.25, 31.0].into_iter());
        assert_eq!(scale, Scale::Log { min: 0.1, max: 100.0 });
        assert_eq!(shown(scale), ["0.1", "1", "10", "100"]);
        assert!((scale.place(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(scale.place(0.0), 0.0);
        let narrow = Scale::log([2.0, 3.0].into_iter());
        assert_eq!(shown(narrow), ["1", "2", "5", "10"]);
    }

    #[test]
    fn every_nine_is_equally_far_from_the_next() {
        let scale = Scale::nines(0.999);
        assert_eq!(shown(Scale::nines(0.9985)), ["0 %", "90 %", "99 %"]);
        assert_eq!(shown(scale), ["0 %", "90 %", "99 %", "99.9 %"]);
        assert!((scale.place(0.99) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(scale.place(1.0), 1.0);
    }
}
