//! A stamp: what is known of one file after a workflow, and the unit that the reducer adds up.
//!
//! It is sent to [`REDUCER_STAMP`](super::subjects::REDUCER_STAMP) as JSON until the reducer confirms it, so the reducer
//! may see one twice: the id tells.

use super::hops::Hop;
use serde::{Deserialize, Serialize};

/// What is known of a file. Absent fields are read as empty, so that a stamp may be made by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// What makes it itself; a stamp with the same id is the same stamp, however often it comes.
    pub id: String,
    /// The workflow that made it.
    #[serde(default)]
    pub workflow: String,
    /// Whom the file belongs to.
    #[serde(default)]
    pub namespace: String,
    /// Name of the file.
    #[serde(default)]
    pub file: String,
    /// BLAKE3 of the content, 64 hexadecimal digits.
    #[serde(default)]
    pub hash: String,
    /// Length of the content; zero if only its hash is known.
    #[serde(default)]
    pub bytes: u64,
    /// Media type of the content, as in `application/json`.
    #[serde(default)]
    pub content_type: String,
    /// The client's own mark, opaque to all services, at most 64 characters; the reducer keeps it in the column `tag`.
    #[serde(default)]
    pub tag: String,
    /// When the workflow was accepted, in milliseconds since 1970: the event time of windows.
    #[serde(default)]
    pub event_ms: u64,
}

/// What the reducer answers once the row of a stamp is committed, or was already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The reducer's own hops, each beginning where the last ended: from the receipt of the stamp to just before the
    /// reply. The orchestrator puts the ways there and back around them.
    #[serde(default)]
    pub hops: Vec<Hop>,
    /// Whether the stamp had been stored before, so that it changed nothing.
    #[serde(default)]
    pub duplicate: bool,
}
