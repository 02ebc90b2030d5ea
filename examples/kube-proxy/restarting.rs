//! The configuration file while the proxier runs: when it changes, the process ends to be started anew, as with kube-proxy.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use ipvs_proxier::{Control, FollowedFile, Notice, Polled, Source};

use crate::command_line;
use crate::config_file::AT_MOST;
use crate::flags::Flags;

/// A source that ends when there is another good configuration. One that cannot be used is told of, and the running one
/// stays: a proxier that ended for it would not start again.
pub(crate) struct Restarting {
    source: Box<dyn Source>,
    file: Option<Configuration>,
    /// What the source and the file have, while the file has something.
    problems: Vec<String>,
}

/// The file that is followed.
struct Configuration {
    file: FollowedFile,
    path: PathBuf,
    /// What the running configuration was read from.
    contents: Vec<u8>,
    /// The words of the command line.
    words: Vec<OsString>,
}

impl Restarting {
    /// Follows the file of these flags, if they come from one.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn new(
        source: Box<dyn Source>,
        flags: &Flags,
        words: Vec<OsString>,
        control: &Control,
    ) -> Result<Self> {
        let follow = |path: PathBuf| {
            let file = FollowedFile::start(path.clone(), AT_MOST, control.waker());
            anyhow::Ok(Configuration {
                file: file.context("--config")?,
                path,
                contents: flags.config_contents.clone(),
                words,
            })
        };
        Ok(Self {
            source,
            file: flags.config_file.clone().map(follow).transpose()?,
            problems: Vec::new(),
        })
    }
}

impl Configuration {
    /// Takes in what is new: what to log, and why to end.
    fn poll(&mut self) -> (Vec<String>, Option<String>) {
        let ended = self.file.ended();
        let ended = ended.map(|why| format!("nobody follows the configuration file: {why}"));
        let new = self.file.poll(|contents| {
            let is_other = *contents != *self.contents;
            if is_other {
                command_line::check(&self.words, &self.path, contents)
                    .map_err(|error| format!("{error:#}"))?;
            }
            Ok::<_, String>(is_other)
        });
        let changed = "the configuration file has changed: ending, to be started anew";
        let changed = (new.values.last() == Some(&true)).then(|| changed.to_owned());
        (new.problems, changed.or(ended))
    }
}

impl Source for Restarting {
    fn poll(&mut self) -> Polled {
        let Some(file) = &mut self.file else {
            return self.source.poll();
        };
        let (problems, ended) = file.poll();
        if ended.is_some() {
            return Polled {
                ended,
                ..Polled::default()
            };
        }
        let mut polled = self.source.poll();
        polled.problems.extend(problems);
        self.problems = file.file.problems().to_vec();
        if !self.problems.is_empty() {
            self.problems.extend_from_slice(self.source.problems());
        }
        polled
    }

    fn is_complete(&self) -> bool {
        self.source.is_complete()
    }

    fn wakes(&self) -> bool {
        self.source.wakes()
    }

    fn problems(&self) -> &[String] {
        if self.problems.is_empty() {
            return self.source.problems();
        }
        &self.problems
    }

    fn reload(&mut self) {
        self.source.reload();
        if let Some(file) = &self.file {
            file.file.reload();
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.source.tell(notice);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    struct Nothing;

    impl Source for Nothing {
        fn poll(&mut self) -> Polled {
            Polled::default()
        }

        fn is_complete(&self) -> bool {
            true
        }
    }

    const GOOD: &str =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";

    fn replace(path: &Path, text: &str) {
        let other = path.with_extension("new");
        std::fs::write(&other, text).unwrap();
        std::fs::rename(other, path).unwrap();
    }

    #[test]
    fn it_ends_for_another_good_configuration_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.conf");
        replace(&path, GOOD);
        let words = [
            "kube-proxy".to_owned(),
            format!("--config={}", path.display()),
        ];
        let words: Vec<OsString> = words.map(OsString::from).into();
        let flags = command_line::parse(words.clone()).unwrap();
        let control = Control::new();
        let source = Box::new(Nothing);
        let mut source = Restarting::new(source, &flags, words, &control).unwrap();
        let mut until = |is_it: &dyn Fn(&Restarting, &Polled) -> bool| {
            loop {
                let polled = source.poll();
                if is_it(&source, &polled) {
                    break polled.ended;
                }
                assert_eq!(polled.ended, None);
                control.wait(Duration::MAX);
            }
        };
        let says = |words: &'static str| {
            move |source: &Restarting, _: &Polled| {
                source
                    .problems()
                    .iter()
                    .any(|problem| problem.contains(words))
            }
        };
        let is_well = |source: &Restarting, _: &Polled| source.problems().is_empty();
        replace(&path, "mode: iptables\n");
        until(&says(
            "config.conf: apiVersion: , kind: : no KubeProxyConfiguration",
        ));
        replace(&path, &format!("{GOOD}clusterCIDR: nowhere\n"));
        until(&says("nowhere"));
        std::fs::remove_file(&path).unwrap();
        until(&says(
            "config.conf: cannot find it: No such file or directory",
        ));
        replace(&path, "# head\rmode: ipvs\r");
        until(&says("line 1 ends in a carriage return alone"));
        replace(&path, GOOD);
        until(&is_well);
        replace(&path, &format!("{GOOD}ipvs: {{scheduler: lc}}\n"));
        let ended = until(&|_, polled| polled.ended.is_some()).unwrap();
        assert!(
            ended.starts_with("the configuration file has changed"),
            "{ended}"
        );
    }
}
