//! What is logged, and in which form: `-v` and `--logging-format`.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use support::log::{self, Flush};
use support::output::visible_json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoggingFormat {
    Text,
    Json,
}

/// From which verbosity on each operation is told, and from which on each request to the Kubernetes API.
const OPERATIONS: u32 = 4;
const REQUESTS: u32 = 6;

/// Logs to standard error from now on, without ever waiting for it. `RUST_LOG` has precedence over `verbosity`.
pub(crate) fn start(verbosity: u32, format: LoggingFormat) -> io::Result<Flush> {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(verbosity)));
    match format {
        LoggingFormat::Text => log::start(filter),
        LoggingFormat::Json => {
            let (lines, flush) = log::to_stderr()?;
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(lines)
                .log_internal_errors(false)
                .event_format(Json)
                .init();
            Ok(flush)
        }
    }
}

/// The client of the API says again what our own lines say of it.
const fn directives(verbosity: u32) -> &'static str {
    match verbosity {
        0..OPERATIONS => "info,kube_client=off,kube_runtime=off",
        OPERATIONS..REQUESTS => {
            "info,ipvs_proxier=debug,kube_proxy=debug,kube_client=off,kube_runtime=off"
        }
        REQUESTS.. => "debug",
    }
}

/// A line as the components of Kubernetes write it: `ts` in milliseconds since 1970, `caller`, `msg`, what belongs to it,
/// and `v` or, for what is wrong, `level`.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut fields = Fields::default();
        event.record(&mut fields);
        let place = event.metadata();
        let file = place.file().map(Path::new).and_then(Path::file_name);
        let caller = file.map(|file| {
            let line = place.line().unwrap_or_default();
            format!("{}:{line}", file.to_string_lossy())
        });
        let mut line = json!({
            "ts": since.unwrap_or_default().as_secs_f64() * 1e3,
            "caller": caller,
            "msg": fields.message,
        });
        match *place.level() {
            Level::ERROR => line["level"] = json!("error"),
            Level::WARN => line["level"] = json!("warning"),
            Level::INFO => line["v"] = json!(0),
            Level::DEBUG => line["v"] = json!(OPERATIONS),
            Level::TRACE => line["v"] = json!(REQUESTS),
        }
        for (name, value) in fields.others {
            line[name] = value;
        }
        writeln!(writer, "{}", visible_json(&line.to_string()))
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What two operations and two requests log.
    fn logged(verbosity: u32) -> Vec<Value> {
        let said = Said::default();
        let writer = said.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(directives(verbosity)))
            .event_format(Json)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!(operations = 2, took = ?"1ms", kinds = "2 add", "synced \"all\"");
            tracing::warn!("ipset: no room");
            tracing::debug!(target: "ipvs_proxier::run", "add member");
            tracing::error!(target: "kube_client::client", "HTTP");
            tracing::debug!(target: "hyper_util", "connected");
        });
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    #[test]
    fn lines_of_json_have_the_fields_that_kubernetes_gives_them() {
        let lines = logged(2);
        assert_eq!(lines.len(), 2);
        let first = &lines[0];
        assert_eq!(first["msg"], "synced \"all\"");
        assert_eq!(
            (&first["operations"], &first["kinds"]),
            (&json!(2), &json!("2 add"))
        );
        assert_eq!(first["v"], 0);
        assert!(first["ts"].as_f64().unwrap() > 1.7e12);
        assert!(first["caller"].as_str().unwrap().starts_with("logging.rs:"));
        assert_eq!(
            (&lines[1]["level"], &lines[1]["v"]),
            (&json!("warning"), &Value::Null)
        );
    }

    #[test]
    fn what_cannot_be_seen_is_escaped_and_not_lost() {
        let said = Said::default();
        let writer = said.clone();
        let log = tracing_subscriber::fmt()
            .event_format(Json)
            .with_writer(move || writer.clone())
            .finish();
        let forged = "5s\n{\"msg\":\"all is well\"}\u{202e}\u{2028}\u{7f}";
        tracing::subscriber::with_default(log, || tracing::warn!(forged, "told: {forged}"));
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(ipvs_model::Escaped::applies_to), "{line}");
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["msg"], format!("told: {forged}"));
        assert_eq!(line["forged"], forged);
    }

    #[test]
    fn more_is_told_the_higher_the_verbosity() {
        let messages = |verbosity| {
            let lines = logged(verbosity);
            let message = |line: &Value| line["msg"].as_str().unwrap().to_owned();
            lines.iter().map(message).collect::<Vec<_>>()
        };
        assert_eq!(messages(3).len(), 2);
        assert_eq!(messages(4)[2..], ["add member"]);
        assert_eq!(messages(6)[2..], ["add member", "HTTP", "connected"]);
    }
}
