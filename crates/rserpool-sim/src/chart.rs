//! Message sequence charts: who says what to whom, downwards in time, as text and as SVG.

use crate::net::NodeId;
use crate::trace::{Line, seconds};
use std::fmt::Write as _;

/// Columns from one lifeline to the next, in text.
const STEP: usize = 12;
/// Pixels from one lifeline to the next, and from one line to the next, in SVG.
const STEP_X: usize = 150;
const STEP_Y: usize = 22;
/// Pixels left of the first lifeline, for the times.
const MARGIN: usize = 110;

/// The nodes that a chart needs, in their order.
fn lifelines(lines: &[Line]) -> Vec<NodeId> {
    let mut nodes: Vec<_> = lines.iter().flat_map(|line| [line.from, line.to]).flatten().collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// A chart as text.
pub fn text(names: &[String], lines: &[Line]) -> String {
    let nodes = lifelines(lines);
    let column = |node| nodes.iter().position(|known| *known == node).unwrap_or(0) * STEP;
    let width = nodes.len() * STEP;
    let mut out = format!("{:14}", "");
    for node in &nodes {
        let name = names.get(*node).map_or("", String::as_str);
        let _ = write!(out, "{name:STEP$}");
    }
    out.push('\n');
    for line in lines {
        let mut row = vec![' '; width];
        for node in &nodes {
            row[column(*node)] = '|';
        }
        let mut text = line.text.clone();
        match (line.from, line.to) {
            (Some(from), Some(to)) if from != to => {
                let (a, b) = (column(from), column(to));
                for cell in &mut row[a.min(b) + 1..a.max(b)] {
                    *cell = '-';
                }
                let (tip, at) = if a < b { ('>', b - 1) } else { ('<', b + 1) };
                row[at] = tip;
            }
            (Some(at), _) => row[column(at)] = '*',
            _ => text = format!("== {text}"),
        }
        let row: String = row.into_iter().collect();
        let _ = writeln!(out, "{}  {row}{text}", seconds(line.at));
    }
    out
}

/// A chart as a drawing.
pub fn svg(names: &[String], lines: &[Line]) -> String {
    let nodes = lifelines(lines);
    let x = |node| {
        MARGIN + nodes.iter().position(|known| *known == node).unwrap_or(0) * STEP_X + STEP_X / 2
    };
    let (width, height) = (MARGIN + nodes.len() * STEP_X + 200, (lines.len() + 3) * STEP_Y);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <defs><marker id=\"tip\" markerWidth=\"9\" markerHeight=\"8\" refX=\"9\" refY=\"4\" \
         orient=\"auto\"><path d=\"M0,0 L9,4 L0,8 z\"/></marker></defs>\n"
    );
    for node in &nodes {
        let (x, name) = (x(*node), names.get(*node).map_or("", String::as_str));
        let name = escape(name);
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"{STEP_Y}\" x2=\"{x}\" y2=\"{height}\" stroke=\"silver\"/>\
             <text x=\"{x}\" y=\"15\" text-anchor=\"middle\" font-weight=\"bold\">{name}</text>"
        );
    }
    for (row, line) in lines.iter().enumerate() {
        let y = (row + 2) * STEP_Y;
        let (time, text) = (seconds(line.at), escape(&line.text));
        let _ = writeln!(out, "<text x=\"4\" y=\"{y}\" fill=\"gray\">{time}</text>");
        let _ = match (line.from, line.to) {
            (Some(from), Some(to)) if from != to => {
                let (a, b) = (x(from), x(to));
                let (middle, above) = ((a + b) / 2, y - 4);
                writeln!(
                    out,
                    "<line x1=\"{a}\" y1=\"{y}\" x2=\"{b}\" y2=\"{y}\" stroke=\"black\" \
                     marker-end=\"url(#tip)\"/>\
                     <text x=\"{middle}\" y=\"{above}\" text-anchor=\"middle\">{text}</text>"
                )
            }
            (Some(at), _) => {
                let (at, beside) = (x(at), x(at) + 8);
                writeln!(
                    out,
                    "<circle cx=\"{at}\" cy=\"{y}\" r=\"3\"/>\
                     <text x=\"{beside}\" y=\"{y}\" fill=\"navy\">{text}</text>"
                )
            }
            _ => writeln!(out, "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"crimson\">{text}</text>"),
        };
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: usize, to: Option<usize>, text: &str) -> Line {
        Line { at: 1_000_500, from: Some(from), to, text: text.to_owned() }
    }

    #[test]
    fn a_chart_has_a_lifeline_for_everybody_in_it_and_an_arrow_for_every_message() {
        let names = ["a".to_owned(), "unseen".to_owned(), "b".to_owned()];
        let lines = [line(0, Some(2), "hello"), line(2, None, "thinks <&>")];
        let text = text(&names, &lines);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows[0].split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(rows[1], "   1.000500  |---------->|           hello");
        assert_eq!(rows[2], "   1.000500  |           *           thinks <&>");
        let svg = svg(&names, &lines);
        assert!(svg.contains("thinks &lt;&amp;&gt;") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("marker-end").count(), 1);
    }
}
