//! Line charts as SVG, written where documents show them.

use crate::steps::Error;
use plotters::prelude::*;
use std::path::Path;

/// One chart.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    /// Lines with their names, from left to right.
    pub(super) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const SIZE: (u32, u32) = (560, 340);
const COLORS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x50, 0x50, 0x50),
];

/// Draws charts, two beside each other.
pub(super) fn draw(file: &Path, charts: &[Chart]) -> Result<(), Error> {
    let columns = charts.len().clamp(1, 2);
    let rows = charts.len().div_ceil(columns).max(1);
    let size = (SIZE.0 * columns as u32, SIZE.1 * rows as u32);
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, chart) in area.split_evenly((rows, columns)).iter().zip(charts) {
        one(panel, chart)?;
    }
    area.present()?;
    Ok(())
}

fn one(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    chart: &Chart,
) -> Result<(), Error> {
    let points = || chart.lines.iter().flat_map(|(_, points)| points);
    let (mut left, mut right, mut top) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
    for (x, y) in points() {
        (left, right, top) = (left.min(*x), right.max(*x), top.max(*y));
    }
    if points().next().is_none() {
        return Err("there is nothing to draw".into());
    }
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(left..right.max(left + 1e-9), 0.0..top * 1.1 + 1e-9)?;
    context
        .configure_mesh()
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(0xe0, 0xe0, 0xe0))
        .draw()?;
    for ((name, points), color) in chart.lines.iter().zip(COLORS.iter().cycle()) {
        context
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    context.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}
