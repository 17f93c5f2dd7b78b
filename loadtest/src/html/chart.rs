//! A picture of lines over two axes, as SVG. Colours come from the page, so that they follow the
//! reader's light or dark mode; the legend is text beside the picture and covers nothing.

use std::fmt::Write as _;

use super::scale::Scale;
use super::text::escape;

/// Size of a picture in its own units; the page scales it.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 280.0;
/// Room for what is written beside the axes.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;

/// An axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) label: String,
    pub(super) scale: Scale,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// Which of the page's colours.
    pub(super) colour: usize,
    pub(super) is_dashed: bool,
    /// Where there is no value, the line is interrupted.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A picture.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What a reader has to know to read it.
    pub(super) note: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

impl Chart {
    /// The picture with its heading, or nothing if no line has a point.
    pub(super) fn draw(&self) -> String {
        let has_points = |line: &Line| line.points.iter().any(|(_, y)| y.is_some());
        if !self.lines.iter().any(has_points) {
            return String::new();
        }
        let (title, note) = (escape(&self.title), escape(&self.note));
        let mut out = format!("<figure>\n<figcaption><h3>{title}</h3><p>{note}</p></figcaption>\n");
        out += "<ul class=\"legend\">";
        for line in self.lines.iter().filter(|line| has_points(line)) {
            let dashed = if line.is_dashed { " dashed" } else { "" };
            let (colour, label) = (line.colour % super::COLOURS, escape(&line.label));
            write!(out, "<li><i class=\"c{colour}{dashed}\"></i>{label}</li>").expect(TAKES);
        }
        out += "</ul>\n";
        writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">")
            .expect(TAKES);
        self.draw_axes(&mut out);
        for line in &self.lines {
            self.draw_line(&mut out, line);
        }
        out += "</svg>\n</figure>\n";
        out
    }

    fn draw_axes(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in self.y.scale.ticks() {
            let (y, x) = (self.y(value), LEFT - 8.0);
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{x}\" y=\"{:.1}\">{text}</text>",
                y + 4.0
            )
            .expect(TAKES);
        }
        for (value, text) in self.x.scale.ticks() {
            let (x, below) = (self.x(value), bottom + 5.0);
            writeln!(
                out,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{below}\"/>\
                 <text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
                bottom + 19.0
            )
            .expect(TAKES);
        }
        let (x, y) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let (below, across, up) = (HEIGHT - 10.0, escape(&self.x.label), escape(&self.y.label));
        writeln!(
            out,
            "<path class=\"axis\" d=\"M{LEFT},{TOP}V{bottom}H{right}\"/>\n\
             <text class=\"middle name\" x=\"{x}\" y=\"{below}\">{across}</text>\n\
             <text class=\"middle name\" transform=\"translate(14,{y}) rotate(-90)\">{up}</text>"
        )
        .expect(TAKES);
    }

    fn draw_line(&self, out: &mut String, line: &Line) {
        let mut path = String::new();
        let (mut is_drawing, mut length) = (false, 0);
        for &(x, y) in &line.points {
            let Some(y) = y else {
                is_drawing = false;
                continue;
            };
            let (x, y) = (self.x(x), self.y(y));
            let step = if is_drawing { 'L' } else { 'M' };
            // A line of no length is a dot, thanks to its round ends.
            let dot = if is_drawing { "" } else { "h0" };
            write!(path, "{step}{x:.1},{y:.1}{dot}").expect(TAKES);
            is_drawing = true;
            length += 1;
        }
        if length == 0 {
            return;
        }
        let dashed = if line.is_dashed { " dashed" } else { "" };
        let (colour, label) = (line.colour % super::COLOURS, escape(&line.label));
        writeln!(
            out,
            "<path class=\"line c{colour}{dashed}\" d=\"{path}\"><title>{label}</title></path>"
        )
        .expect(TAKES);
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - TOP - BOTTOM;
        TOP + (1.0 - self.y.scale.place(value)) * height
    }
}

const TAKES: &str = "a String takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>) -> Chart {
        let axis = |label: &str, max| Axis { label: label.into(), scale: Scale::Linear { max } };
        let line = Line { label: "<b>".into(), colour: 1, is_dashed: true, points };
        Chart {
            title: "Memory".into(),
            note: String::new(),
            x: axis("seconds", 10.0),
            y: axis("MiB", 4.0),
            lines: vec![line],
        }
    }

    #[test]
    fn a_line_goes_through_its_points_and_stops_where_there_is_none() {
        let drawn =
            chart(vec![(0.0, Some(0.0)), (5.0, Some(4.0)), (6.0, None), (10.0, Some(2.0))]).draw();
        let path = "class=\"line c1 dashed\" d=\"M76.0,228.0h0L321.0,14.0M566.0,121.0h0\"";
        assert!(drawn.contains(path), "{drawn}");
        for part in [">seconds<", ">MiB<", "<h3>Memory</h3>", "<title>&lt;b&gt;</title>"] {
            assert!(drawn.contains(part), "{part} is not in {drawn}");
        }
        assert!(!drawn.contains("<b>"));
    }

    #[test]
    fn a_picture_of_nothing_is_not_drawn() {
        assert_eq!(chart(vec![(1.0, None)]).draw(), "");
    }
}
