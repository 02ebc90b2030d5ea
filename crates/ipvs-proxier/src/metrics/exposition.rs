use std::borrow::Cow;

/// A form in which metrics are told. `Text` is the one that kube-proxy uses, and every version of Prometheus reads.
///
/// ```
/// use ipvs_proxier::Exposition;
///
/// assert_eq!(Exposition::accepted([]), Exposition::Text);
/// let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
/// assert_eq!(Exposition::accepted([prometheus]), Exposition::OpenMetrics);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus's text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// The one that the values of an `Accept` header ask for most; text if they ask for no other.
    #[must_use]
    pub fn accepted<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges = values.into_iter().flat_map(|value| value.split(','));
        let (mut open_metrics, mut text) = (0.0, None);
        for (kind, quality) in ranges.filter_map(range) {
            let best = |known: Option<f32>| Some(known.map_or(quality, |known| known.max(quality)));
            match kind {
                Self::OpenMetrics => open_metrics = quality.max(open_metrics),
                Self::Text => text = best(text),
            }
        }
        if open_metrics > 0.0 && open_metrics >= text.unwrap_or(0.0) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// OpenMetrics in this form. O(text).
    pub(crate) fn of(self, open_metrics: String) -> String {
        match self {
            Self::Text => text(&open_metrics),
            Self::OpenMetrics => open_metrics,
        }
    }
}

/// One range of an `Accept` header, if it asks for a form that is known, and how much it is wanted, from 0 to 1.
fn range(text: &str) -> Option<(Exposition, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version) = (1.0, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            "q" => quality = value.trim().parse().ok()?,
            "version" => version = Some(value.trim().trim_matches('"')),
            _ => {}
        }
    }
    let kind = match (kind.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => Exposition::OpenMetrics,
        ("text/plain", None | Some("0.0.4")) => Exposition::Text,
        _ => return None,
    };
    Some((kind, quality))
}

/// Prometheus's text format says the same as OpenMetrics in other words: counters have their full names also where their
/// kind is told, bounds of buckets that are whole have no fraction, and it has no units and no end.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let line = match line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(' '))
        {
            Some(("HELP", rest)) => {
                help = Some(rest);
                continue;
            }
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let suffix = if kind == "counter" { "_total" } else { "" };
                let kind = if kind == "unknown" { "untyped" } else { kind };
                let told = help.take().and_then(|help| help.split_once(' '));
                if let Some((_, words)) = told {
                    text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
                continue;
            }
            _ if line.starts_with("# ") => continue,
            _ => whole_bound(line),
        };
        text.extend([&*line, "\n"]);
    }
    text
}

/// A bound is told as Go writes it: `1`, not `1.0`.
fn whole_bound(line: &str) -> Cow<'_, str> {
    let around = || {
        let (before, rest) = line.split_once("_bucket{le=\"")?;
        let (bound, after) = rest.split_once('"')?;
        Some((before, bound.strip_suffix(".0")?, after))
    };
    around().map_or(Cow::Borrowed(line), |(before, bound, after)| {
        format!("{before}_bucket{{le=\"{bound}\"{after}").into()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        use Exposition::{OpenMetrics, Text};
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            text/plain;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, wanted) in [
            (prometheus_2, OpenMetrics),
            (prometheus_3, OpenMetrics),
            ("Application/OpenMetrics-Text", OpenMetrics),
            ("", Text),
            ("*/*", Text),
            ("text/html, application/xhtml+xml, */*;q=0.8", Text),
            ("text/plain;version=0.0.4", Text),
            ("application/openmetrics-text;q=0.2, text/plain", Text),
            ("application/openmetrics-text; q=0", Text),
            ("application/openmetrics-text;q=much", Text),
            ("application/openmetrics-text;version=9", Text),
            (";;,,=;q=", Text),
        ] {
            assert_eq!(Exposition::accepted([accept]), wanted, "{accept}");
        }
        let lines = ["text/plain;q=0.1", "application/openmetrics-text;q=0.5"];
        assert_eq!(Exposition::accepted(lines), OpenMetrics);
    }

    #[test]
    fn text_is_open_metrics_in_the_words_of_old() {
        let open_metrics = "# HELP a_b Some things.\n# TYPE a_b counter\na_b_total{x=\"1.0\"} 3\n# HELP s Time.\n\
                            # TYPE s histogram\n# UNIT s seconds\ns_sum 1.5\ns_count 2\ns_bucket{le=\"0.5\",f=\"a_total\"} 1\n\
                            s_bucket{le=\"16.0\",f=\"x\"} 2\ns_bucket{le=\"+Inf\"} 2\n# HELP g_total Gauge.\n\
                            # TYPE g_total gauge\ng_total 1.0\n# EOF\n";
        let wanted = "# HELP a_b_total Some things.\n# TYPE a_b_total counter\na_b_total{x=\"1.0\"} 3\n# HELP s Time.\n\
                      # TYPE s histogram\ns_sum 1.5\ns_count 2\ns_bucket{le=\"0.5\",f=\"a_total\"} 1\n\
                      s_bucket{le=\"16\",f=\"x\"} 2\ns_bucket{le=\"+Inf\"} 2\n# HELP g_total Gauge.\n\
                      # TYPE g_total gauge\ng_total 1.0\n";
        assert_eq!(text(open_metrics), wanted);
        assert_eq!(
            Exposition::OpenMetrics.of(open_metrics.to_owned()),
            open_metrics
        );
        assert_eq!(text(""), "");
    }

    proptest! {
        /// Who asks is not known: whatever he writes is read without a panic.
        #[test]
        fn any_other_header_asks_for_text(values in prop::collection::vec("[a-z/*;,=. q0-9]{0,40}|\\PC{0,20}", 0..4)) {
            let names_it = |value: &String| value.to_lowercase().contains("openmetrics");
            let form = Exposition::accepted(values.iter().map(String::as_str));
            prop_assert!(form == Exposition::Text || values.iter().any(names_it));
        }

        #[test]
        fn any_text_has_a_form(open_metrics in "(# (HELP|TYPE) [a-z ]{0,9}\n|[a-z]_bucket\\{le=\"[0-9.]{0,4}\"?|\\PC{0,9}\n){0,9}") {
            prop_assert!(!text(&open_metrics).contains("# EOF"));
        }
    }
}
