#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod activity;
mod api_observer;
mod clean_up;
mod clock;
mod control;
mod controller;
mod dataplane;
mod error;
mod files;
mod health;
#[cfg(feature = "health")]
mod health_server;
mod kernel_event;
mod linux;
mod lock_holder;
#[cfg(feature = "health")]
mod metrics;
mod monitor;
mod news;
mod own_processes;
#[cfg(any(feature = "health", feature = "kube"))]
mod platform;
mod reading;
mod report;
mod run;
#[cfg(feature = "health")]
mod served;
mod simulated;
mod source;
mod step_error;
mod thread;

pub use activity::Activity;
pub use api_observer::{ApiObserver, ApiRequest};
pub use clean_up::{CleanUpPlane, clean_up, clean_up_other_filters, rehearse_clean_up};
pub use clock::{Clock, Moment, SystemClock};
pub use control::Control;
pub use controller::{Controller, Pace, Stage, Status, Step};
pub use dataplane::{Connections, DataPlane, Outcome, Part, Progress};
pub use error::{Failure, PlaneError};
pub use files::{
    FileNews, FileProblem, FileState, FollowedFile, FollowedFiles, FollowedPath, NewContents,
    TextProblem, file_text, read_file,
};
pub use health::{Health, HealthAnswer};
#[cfg(feature = "health")]
pub use health_server::{HealthServer, ListenFailure, Listener, Serve, ServerEnded};
pub use kernel_event::{ChangedBy, Concern, DriftCause, KernelEvent, SetSign, Signs};
pub use linux::{FilterBackend, IptablesBackend, Linux, LinuxCleanUp};
pub use lock_holder::LockHolder;
#[cfg(feature = "health")]
pub use metrics::{Build, Exposition, Measured, Metrics, Program};
pub use monitor::{Monitor, MonitorError};
pub use news::News;
pub use own_processes::end_programs;
pub use reading::{Section, Unread, observe};
pub use report::{Ended, Report};
pub use run::{RunError, load, run, run_once};
#[cfg(feature = "health")]
pub use served::Served;
pub use simulated::Simulated;
pub use source::{
    About, ApiObject, ListEnd, ListError, ListReader, ManifestError, Manifests, Notice, Polled,
    Refusal, Source, Trigger, WatchEvent, WatchReader, read_manifest,
};
#[cfg(feature = "kube")]
pub use source::{Access, Cluster, ClusterError, Nodes, without_user};
pub use step_error::StepError;
