//! Looks for traps in a configuration of Envoy: what Envoy takes, and what then goes wrong, often without a word.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_norway::Value;

use super::rules;

/// Something that goes wrong with this configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The name of the trap, such as `full-duplex-trailers`.
    pub lint: &'static str,
    /// The filter or cluster that it is in.
    pub at: String,
    /// What happens, and what to set.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.at, self.text, self.lint)
    }
}

/// The text is not YAML.
#[derive(Debug, thiserror::Error)]
#[error("not YAML: {0}")]
pub struct NotYaml(#[from] serde_norway::Error);

/// The traps in `yaml`: a configuration of Envoy, a part of one, or an object that has one in it (`EnvoyFilter`). Several documents
/// are looked at as one. What is not about external processors is not looked at.
///
/// # Errors
/// When it is not YAML.
pub fn lint(yaml: &str) -> Result<Vec<Warning>, NotYaml> {
    let mut found = Found::default();
    for document in serde_norway::Deserializer::from_str(yaml) {
        let mut value = Value::deserialize(document)?;
        value.apply_merge()?;
        walk(&value, Around::default(), &mut found);
    }
    let mut warnings = Vec::new();
    for filter in &found.filters {
        rules::filter(filter, &mut warnings);
        let clusters = found
            .clusters
            .iter()
            .filter(|cluster| cluster.name == filter.cluster);
        for cluster in clusters {
            rules::cluster(cluster, filter, &mut warnings);
        }
    }
    let mut seen: BTreeMap<(String, &str), ()> = BTreeMap::new();
    // A cluster of several filters is told once.
    warnings.retain(|warning: &Warning| seen.insert((warning.at.clone(), warning.lint), ()).is_none());
    Ok(warnings)
}

/// What stands around a filter.
#[derive(Clone, Copy, Default)]
struct Around<'a> {
    manager: Option<&'a Value>,
    listener: Option<&'a Value>,
    name: Option<&'a str>,
}

/// An external processor in the configuration.
pub(super) struct FoundFilter {
    pub(super) name: String,
    pub(super) config: Value,
    /// Of its cluster, or nothing.
    pub(super) cluster: String,
    /// The HTTP connection manager and the listener around it.
    pub(super) manager: Option<Value>,
    pub(super) listener: Option<Value>,
    /// It is the override of a route: what is not said in it is as in the filter.
    pub(super) is_override: bool,
}

pub(super) struct FoundCluster {
    pub(super) name: String,
    pub(super) config: Value,
}

#[derive(Default)]
struct Found {
    filters: Vec<FoundFilter>,
    clusters: Vec<FoundCluster>,
}

const FILTER: &str = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor";
const ROUTE: &str = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute";
const MANAGER: &str = ".http_connection_manager.v3.HttpConnectionManager";

fn walk(value: &Value, around: Around<'_>, found: &mut Found) {
    match value {
        Value::Sequence(items) => items.iter().for_each(|item| walk(item, around, found)),
        Value::Tagged(tagged) => walk(&tagged.value, around, found),
        Value::Mapping(fields) => {
            let mut inner = around;
            if let Some(name) = text(value, "name") {
                inner.name = Some(name);
            }
            if value.get("filter_chains").is_some() {
                inner.listener = Some(value);
            }
            if value.get("load_assignment").is_some() {
                found.clusters.push(FoundCluster {
                    name: inner.name.unwrap_or_default().to_owned(),
                    config: value.clone(),
                });
            }
            let kind = text(value, "@type").unwrap_or_default();
            if kind.ends_with(MANAGER) {
                inner.manager = Some(value);
            }
            if kind.ends_with(FILTER) {
                found.filters.push(found_filter(value, inner, false));
            }
            if kind.ends_with(ROUTE)
                && let Some(overrides) = value.get("overrides")
            {
                found.filters.push(found_filter(overrides, inner, true));
            }
            for (key, field) in fields {
                let mut inner = inner;
                // In the settings of a route, the key is the name of the filter.
                if field.get("@type").is_some() && key.as_str() != Some("typed_config") {
                    inner.name = key.as_str().or(inner.name);
                }
                walk(field, inner, found);
            }
        }
        _ => {}
    }
}

fn found_filter(config: &Value, around: Around<'_>, is_override: bool) -> FoundFilter {
    let cluster = at(config, &["grpc_service", "envoy_grpc", "cluster_name"]);
    FoundFilter {
        name: around.name.unwrap_or("ext_proc").to_owned(),
        config: config.clone(),
        cluster: cluster.and_then(Value::as_str).unwrap_or_default().to_owned(),
        manager: around.manager.cloned(),
        listener: around.listener.cloned(),
        is_override,
    }
}

/// The value at the end of a path of keys.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key))
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
