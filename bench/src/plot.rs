//! Plots as SVG: horizontal bars with their values, in groups.

use std::fmt::Write;

use crate::measure::short;

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) value: f64,
    /// Whether it is the one that the plot is about.
    pub(crate) ours: bool,
}

/// Draws bars on one linear scale from zero, so that lengths may be compared.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let mut body = String::new();
    let mut y = 44.0;
    let mut group = "";
    for bar in bars {
        if bar.group != group {
            group = bar.group;
            let _ = writeln!(
                body,
                r##"<text x="16" y="{}" font-weight="bold">{}</text>"##,
                y + 14.0,
                escaped(group)
            );
            y += 24.0;
        }
        let width = (bar.value / most * WIDTH).max(1.0);
        let color = if bar.ours { "#d9480f" } else { "#868e96" };
        let name = escaped(&bar.name);
        let _ = writeln!(
            body,
            r##"<text x="{}" y="{}" text-anchor="end">{name}</text>
<rect x="{LEFT}" y="{y}" width="{width:.1}" height="16" rx="2" fill="{color}"/>
<text x="{:.1}" y="{}">{} {unit}</text>"##,
            LEFT - 8.0,
            y + 13.0,
            LEFT + width + 6.0,
            y + 13.0,
            short(bar.value),
        );
        y += 22.0;
    }
    let height = y + 12.0;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" font-family="sans-serif" font-size="13" role="img">
<title>{title}</title>
<rect width="640" height="{height}" fill="#ffffff"/>
<g fill="#212529">
<text x="16" y="26" font-size="15">{title}</text>
{body}</g>
</svg>
"##,
        title = escaped(title),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const LEFT: f64 = 140.0;
const WIDTH: f64 = 400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_as_long_as_the_plot_and_the_others_in_proportion() {
        let bar = |name: &str, value| Bar { group: "<g>", name: name.to_owned(), value, ours: false };
        let plot = bars("a & b", "ms", &[bar("one", 1.0), bar("four", 4.0)]);
        assert!(plot.contains(r#"width="400.0""#) && plot.contains(r#"width="100.0""#), "{plot}");
        assert!(plot.contains("a &amp; b") && plot.contains("&lt;g>"), "{plot}");
    }
}
