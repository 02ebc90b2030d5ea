//! Files that are followed: manifests, configurations, certificates, tokens.
//!
//! [`file`] says when what is seen of a file counts, [`follower`] which files there are and when each is looked at. They get
//! stamps and a time and have no input or output of their own; [`linux`] looks and reads, [`watches`] hears from the kernel,
//! and [`following`] is the thread.

mod disk;
mod file;
mod follower;
mod following;
mod linux;
mod one;
mod other_folder;
mod problem;
mod stamp;
#[cfg(test)]
mod tests;
mod text;
mod watches;

pub use file::FileState;
pub use follower::{FileNews, FollowedPath};
pub use following::FollowedFiles;
pub use linux::read_file;
pub use one::{FollowedFile, NewContents};
pub use problem::FileProblem;
pub use text::{TextProblem, file_text};
