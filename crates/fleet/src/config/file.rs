//! A targets file: one or more `ScaleTarget` documents, taken whole or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::nesting;
use super::spec::Document;
use super::target::{ScaleTarget, Workload};
use crate::line::one_line;

/// Most documents taken from one file; also the bound of targets in the local and manual backends.
pub const MAX_DOCUMENTS: usize = 10_000;
/// Largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 8 << 20;
/// Longest refusal, in bytes: what is refused may be as long as the file.
const MAX_REFUSAL: usize = 1_000;

/// What a backend cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Every document names a process.
    Process,
    /// Any document will do.
    Nothing,
}

/// Where the documents are and what they must hold.
#[derive(Clone, Debug)]
pub struct TargetsFile {
    /// Path of the file.
    pub path: PathBuf,
    /// What the backend needs of each document.
    pub needs: Needs,
}

/// Why a file was refused, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {what}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Document, field and reason.
    pub what: String,
}

impl TargetsFile {
    /// Reads `text`, which is the file's. The targets come in the order of their ids.
    ///
    /// # Errors
    /// One line that names file, document, field and reason.
    pub fn parse(&self, text: &str) -> Result<Vec<ScaleTarget>, FileError> {
        parse(text, self.needs).map_err(|what| self.refuse(&what))
    }

    /// The refusal of this file for the reason `what`, made one line of bounded length.
    pub fn refuse(&self, what: &str) -> FileError {
        FileError {
            path: self.path.clone(),
            what: one_line(what, MAX_REFUSAL),
        }
    }
}

fn parse(text: &str, needs: Needs) -> Result<Vec<ScaleTarget>, String> {
    if nesting::is_too_deep(text) {
        return Err(format!("is nested more than {} deep", nesting::MAX));
    }
    let mut targets = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let number = index + 1;
        if number > MAX_DOCUMENTS {
            return Err(format!("holds more than {MAX_DOCUMENTS} documents"));
        }
        // `None` is an empty document: a comment, or nothing after the last `---`.
        let document =
            Option::<Document>::deserialize(document).map_err(|e| format!("document {number}: {e}"))?;
        let Some(document) = document else { continue };
        let target = ScaleTarget::try_new(document.clone())
            .and_then(|target| target.meets(needs))
            .map_err(|e| format!("document {number} ({}): {e}", name(&document)))?;
        targets.push((number, target));
    }
    if targets.is_empty() {
        // A file caught half-written is often empty: taking it would wake and drop every target.
        return Err("holds no ScaleTarget document".to_owned());
    }
    refuse_duplicates(&targets)?;
    let mut targets: Vec<_> = targets.into_iter().map(|(_, target)| target).collect();
    targets.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(targets)
}

impl ScaleTarget {
    fn meets(self, needs: Needs) -> Result<Self, super::target::Refused> {
        let refuse = |field, reason: &str| {
            Err(super::target::Refused {
                field,
                reason: reason.to_owned(),
            })
        };
        if self.keys.is_empty() {
            return refuse(
                "spec.match",
                "names neither a host nor a cluster: no request could ever match",
            );
        }
        if needs == Needs::Process && !matches!(self.workload, Workload::Process(_)) {
            return refuse(
                "spec.workload.process",
                "is missing: the local backend starts a process",
            );
        }
        Ok(self)
    }
}

/// Two targets with one key: a request would have two owners.
fn refuse_duplicates(targets: &[(usize, ScaleTarget)]) -> Result<(), String> {
    let mut ids = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (number, target) in targets {
        let id = &target.id;
        if let Some(first) = ids.insert(id, number) {
            return Err(format!(
                "document {number} ({id}): metadata.name: document {first} has the same name"
            ));
        }
        let hosts = target
            .keys
            .hosts
            .iter()
            .map(|key| ("spec.match.hosts", key.as_str()));
        let clusters = target
            .keys
            .clusters
            .iter()
            .map(|key| ("spec.match.clusters", key.as_str()));
        for (field, key) in hosts.chain(clusters) {
            if let Some((first, other)) = keys.insert((field, key), (number, id)) {
                return Err(format!(
                    "document {number} ({id}): {field}: {key:?} already belongs to document {first} ({other})"
                ));
            }
        }
    }
    Ok(())
}

fn name(document: &Document) -> String {
    format!(
        "{}/{}",
        document.metadata.namespace.as_str(),
        document.metadata.name.as_str()
    )
}
