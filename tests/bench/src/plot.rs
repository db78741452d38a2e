//! A plot of the targets' ratios, as SVG by hand: bars, a mark where each target is, no library.

use std::fmt::Write as _;

use anyhow::Result;

use crate::targets::Verdict;

/// Pixels.
const WIDTH: f64 = 1080.0;
const LABELS: f64 = 580.0;
const ROW: f64 = 26.0;
const TOP: f64 = 54.0;
const BAR: f64 = 16.0;
/// Room for the number behind a bar.
const END: f64 = 60.0;
/// A bar that is longer is cut, and its number says how long it is.
const MAX: f64 = 5.0;
/// Colours of Okabe and Ito's palette: people who see few colours tell them apart.
const MET: &str = "#009e73";
const MISSED: &str = "#d55e00";

/// Bars for the targets that are ratios; memory, which is none, is left out.
pub fn draw(targets: &[Verdict]) -> Result<String> {
    let bars: Vec<&Verdict> = targets
        .iter()
        .filter(|verdict| !verdict.key.starts_with("memory."))
        .collect();
    let longest = bars
        .iter()
        .map(|verdict| verdict.value.max(verdict.limit))
        .fold(1.0, f64::max)
        .min(MAX);
    let scale = (WIDTH - LABELS - END) / longest;
    let rows = u32::try_from(bars.len())?;
    let height = TOP + ROW * f64::from(rows) + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">nodemesh, as a multiple of its peer</text>\n\
         <text x=\"12\" y=\"40\" fill=\"#555\">line: the target; \
         green: met; orange: missed</text>\n"
    );
    for (row, verdict) in (0..).zip(&bars) {
        let y = TOP + ROW * f64::from(row);
        let length = verdict.value.clamp(0.0, longest) * scale;
        let colour = if verdict.met { MET } else { MISSED };
        let mark = LABELS + verdict.limit.min(longest) * scale;
        writeln!(
            svg,
            "<g><title>{}</title>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} ({})</text>\n\
             <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <line x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"black\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text></g>",
            escape(&verdict.key),
            LABELS - 8.0,
            y + 12.5,
            escape(&verdict.what),
            escape(&verdict.bound),
            y - 2.0,
            y + BAR + 2.0,
            (LABELS + length).max(mark) + 6.0,
            y + 12.5,
            verdict.value
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(key: &str, value: f64, met: bool) -> Verdict {
        Verdict {
            what: "a <b> & c".to_owned(),
            key: key.to_owned(),
            bound: "≥ 2".to_owned(),
            limit: 2.0,
            value,
            met,
        }
    }

    #[test]
    fn draws_a_bar_and_a_mark_for_each_ratio() {
        let targets = [
            verdict("one.requests_vs_envoy", 3.0, true),
            verdict("two.requests_vs_envoy", 1.0, false),
            verdict("memory.nodemesh.rest_mb", 20.0, true),
        ];
        let svg = draw(&targets).unwrap();
        assert_eq!(svg.matches("<line ").count(), 2);
        assert_eq!((svg.matches(MET).count(), svg.matches(MISSED).count()), (1, 1));
        assert!(svg.contains("a &lt;b&gt; &amp; c"), "{svg}");
        // The longest bar ends before the numbers' room does.
        assert!(svg.contains(&format!("width=\"{:.1}\" height", WIDTH - LABELS - END)));
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_bar_that_is_too_long_is_cut() {
        let svg = draw(&[verdict("one.requests_vs_envoy", 400.0, true)]).unwrap();
        assert!(svg.contains(&format!("width=\"{:.1}\" height", WIDTH - LABELS - END)));
        assert!(svg.contains(">400.00</text>"));
    }
}
