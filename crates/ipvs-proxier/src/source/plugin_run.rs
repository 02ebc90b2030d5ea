//! A run of a plugin beside the requests: those that have good credentials do not wait for it.

use kube::config::ExecConfig;
use tokio::task::JoinSet;

use super::credential_files::FileRead;
use super::exec_plugin::{self, PluginCredential, PluginError};

type Given = Result<PluginCredential, PluginError>;

/// Has one plugin running at most. It is killed where this is dropped.
#[derive(Debug, Default)]
pub(super) struct PluginRun {
    /// The files that name it.
    of: Vec<FileRead>,
    running: JoinSet<Given>,
}

impl PluginRun {
    /// Starts it, unless it runs already. One that other files named is killed.
    pub(super) fn start(&mut self, plugin: &ExecConfig, of: &[FileRead]) {
        if self.of != of {
            self.running = JoinSet::new();
            of.clone_into(&mut self.of);
        }
        if self.running.is_empty() {
            let plugin = plugin.clone();
            self.running
                .spawn(async move { exec_plugin::run(&plugin).await });
        }
    }

    /// What it gave, if it has ended.
    pub(super) fn ended(&mut self) -> Option<Given> {
        self.running.try_join_next().map(given)
    }

    /// Waits for its end: for as long as it may take. It must have been started.
    pub(super) async fn end(&mut self) -> Given {
        match self.running.join_next().await {
            Some(result) => given(result),
            None => Err(PluginError::NoCommand),
        }
    }
}

fn given(result: Result<Given, tokio::task::JoinError>) -> Given {
    result.map_err(PluginError::Ended)?
}
