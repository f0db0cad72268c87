//! Figures of estimates: lines with what is known of each point, published points beside them.

use super::sweep::Estimate;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

/// One panel of a figure.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What goes to the right.
    pub x: String,
    /// What goes up, in percent.
    pub y: String,
    /// Whether equal factors are equal distances to the right.
    pub logarithmic: bool,
    /// Whether all from nothing to everything is shown, and not only where points are.
    pub whole: bool,
    /// Lines.
    pub series: Vec<Series>,
}

/// A line.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is of.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, Estimate)>,
    /// Published points, drawn as crosses.
    pub published: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (520, 380);
const COLORS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x50, 0x50, 0x50),
    RGBColor(0x8c, 0x56, 0x4b),
];

/// Draws panels, `columns` beside each other, as SVG.
///
/// # Errors
/// What cannot be drawn, in words.
pub fn svg(panels: &[Panel], columns: usize) -> Result<String, String> {
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let mut text = String::new();
    let size = (SIZE.0 * columns as u32, SIZE.1 * rows as u32);
    let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    for (panel, area) in panels.iter().zip(root.split_evenly((rows, columns))) {
        let xs = || panel.series.iter().flat_map(|one| one.points.iter().map(|(x, _)| *x));
        let (low, high) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
        let ends = || {
            panel.series.iter().flat_map(|one| {
                let points = one.points.iter().map(|(_, y)| y.mean);
                points.chain(one.published.iter().map(|(_, y)| *y))
            })
        };
        let (bottom, top) = match panel.whole {
            true => (0.0, 1.0),
            false => (ends().fold(f64::MAX, f64::min), ends().fold(f64::MIN, f64::max)),
        };
        if low > high || bottom > top {
            return Err(format!("{}: nothing to draw", panel.title));
        }
        let room = ((top - bottom) * 0.05).max(0.005);
        let ys = (bottom - room).max(0.0) * 100.0..(top + room) * 100.0;
        let mut builder = ChartBuilder::on(&area);
        builder.caption(&panel.title, ("sans-serif", 17)).margin(12);
        builder.x_label_area_size(38).y_label_area_size(52);
        let scale = |x: f64| if panel.logarithmic { x.max(f64::MIN_POSITIVE).ln() } else { x };
        let corner = emptiest(panel, |x, y| {
            let right = (scale(x) - scale(low)) / (scale(high) - scale(low)).max(1e-9);
            (right, (y - bottom) / (top - bottom).max(1e-9))
        });
        let drawn = match panel.logarithmic {
            true => builder
                .build_cartesian_2d((low..high.max(low * 1.01)).log_scale(), ys)
                .map_err(|error| error.to_string())
                .and_then(|chart| draw(chart, panel, corner)),
            false => builder
                .build_cartesian_2d(low..high.max(low + 0.01), ys)
                .map_err(|error| error.to_string())
                .and_then(|chart| draw(chart, panel, corner)),
        };
        drawn?;
    }
    root.present().map_err(|error| error.to_string())?;
    drop(root);
    Ok(text)
}

/// The corner in which a legend hides the fewest points; `place` gives where a point is, both ways
/// from 0 to 1.
fn emptiest(panel: &Panel, place: impl Fn(f64, f64) -> (f64, f64)) -> SeriesLabelPosition {
    let corners = [
        (SeriesLabelPosition::LowerRight, true, false),
        (SeriesLabelPosition::UpperRight, true, true),
        (SeriesLabelPosition::LowerLeft, false, false),
        (SeriesLabelPosition::UpperLeft, false, true),
    ];
    let points = || panel.series.iter().flat_map(|one| &one.points).map(|(x, y)| place(*x, y.mean));
    let hidden = |right: bool, upper: bool| {
        let is_in = |(x, y): &(f64, f64)| {
            (if right { *x > 0.5 } else { *x < 0.5 }) && (if upper { *y > 0.55 } else { *y < 0.45 })
        };
        points().filter(is_in).count()
    };
    let fewest = corners.into_iter().min_by_key(|(_, right, upper)| hidden(*right, *upper));
    fewest.map_or(SeriesLabelPosition::LowerRight, |(corner, ..)| corner)
}

type Chart<'a, 'b, X> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>;

fn draw<'a, 'b: 'a, X>(
    mut chart: Chart<'a, 'b, X>,
    panel: &Panel,
    corner: SeriesLabelPosition,
) -> Result<(), String>
where
    X: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let wrong = |error: DrawingAreaErrorKind<std::io::Error>| error.to_string();
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(&panel.x).y_desc(&panel.y).light_line_style(WHITE);
    mesh.x_label_formatter(&|x| format!("{}", (x * 1000.0).round() / 1000.0));
    mesh.y_label_formatter(&|y| format!("{y:.0}")).axis_desc_style(("sans-serif", 14));
    mesh.draw().map_err(wrong)?;
    for (number, series) in panel.series.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let points = || series.points.iter().map(|(x, y)| (*x, 100.0 * y.mean));
        let line = LineSeries::new(points(), color.stroke_width(2));
        chart
            .draw_series(line)
            .map_err(wrong)?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        let known = series.points.iter().filter(|(_, y)| y.within.is_finite());
        let bars = known.map(|(x, y)| {
            let (mean, within) = (100.0 * y.mean, 100.0 * y.within);
            ErrorBar::new_vertical(*x, mean - within, mean, mean + within, color.filled(), 6)
        });
        chart.draw_series(bars).map_err(wrong)?;
        let published = series.published.iter();
        let crosses = published.map(|(x, y)| Cross::new((*x, 100.0 * y), 5, BLACK));
        chart.draw_series(crosses).map_err(wrong)?;
    }
    let mut labels = chart.configure_series_labels();
    labels.position(corner).border_style(BLACK.mix(0.3));
    labels.background_style(WHITE.mix(0.85)).label_font(("sans-serif", 13));
    labels.draw().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_its_lines_bars_and_names() {
        let estimate = |mean| Estimate { mean, within: 0.01 };
        let series = Series {
            name: "least used".into(),
            points: vec![(1.0, estimate(0.5)), (10.0, estimate(0.8))],
            published: vec![(1.0, 0.51)],
        };
        let panel = Panel { title: "a title".into(), series: vec![series], ..Panel::default() };
        let logarithmic = Panel { logarithmic: true, ..panel.clone() };
        let text = svg(&[panel, logarithmic], 2).unwrap();
        assert!(text.starts_with("<svg") && text.contains("least used"), "{text}");
        assert!(svg(&[Panel::default()], 1).is_err());
    }
}
