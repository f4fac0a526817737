//! What the API server wrote down: every request, its client, what it was for, and the answer; writes with their bodies.
//!
//! Left out by the policy: leases and events in `kube-system`, health checks. The server writes a line before it answers;
//! a watch has a line from its beginning on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// First match wins. Bodies: of all writes but those of the controllers and the harness's own kubelet and mesh.
pub(super) const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ['/readyz*', '/healthz*', '/livez*']
  - level: None
    namespaces: [kube-system]
    resources:
      - {group: '', resources: [events]}
      - {group: events.k8s.io, resources: [events]}
      - {group: coordination.k8s.io, resources: [leases]}
  - level: Metadata
    userGroups: ['system:serviceaccounts:kube-system']
  - level: Metadata
    users: ['system:kube-controller-manager', 'system:apiserver', e2e-kubelet, e2e-mesh]
  - level: Metadata
    verbs: [get, list, watch]
  - level: RequestResponse
    userGroups: ['system:serviceaccounts']
  - level: Request
";

/// One request. Fields that the kind of request does not have are empty.
#[derive(Clone, Debug)]
pub struct Request {
    /// `system:serviceaccount:NAMESPACE:NAME`, or the name in the client's certificate.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural, such as `deployments`.
    pub resource: String,
    /// Such as `scale` or `status`.
    pub subresource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status of the answer; 0 if it has not been answered.
    pub code: u16,
    /// `user-agent`.
    pub user_agent: String,
    /// When it came in, on the clock of [`harness::unix_ms`].
    pub received_ms: u64,
    /// When it was answered (a watch: when it began), on the same clock.
    pub answered_ms: u64,
    /// What was sent, where the policy records it.
    pub body: Option<Value>,
    /// What was answered, where the policy records it.
    pub answer: Option<Value>,
}

impl Request {
    /// True for everything that is not get, list or watch.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str()) && !self.verb.is_empty()
    }

    /// `resource` or `resource/subresource`.
    pub fn what(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// `spec.replicas` (an omitted one is 0) of a write to a `scale` subresource: as sent, else as answered. The server
    /// logs neither of a PUT to those of `apps/v1`: see [`super::Scales`]. `None` for a refusal that was logged alone.
    pub fn replicas(&self) -> Option<i64> {
        (self.subresource == "scale").then_some(())?;
        let scale = self.body.as_ref().or(self.answer.as_ref())?;
        (scale["kind"] != "Status").then_some(())?;
        Some(scale["spec"]["replicas"].as_i64().unwrap_or(0))
    }
}

/// All requests up to the last [`Audit::read`], in the order in which they were answered.
pub struct Audit {
    dir: PathBuf,
    /// Bytes of each file that were taken in.
    offsets: BTreeMap<PathBuf, u64>,
    /// By the server's own id of a request: a watch has two lines.
    seen: BTreeMap<String, usize>,
    /// Read so far.
    pub requests: Vec<Request>,
}

impl Audit {
    pub(super) fn read_all(dir: &Path) -> Self {
        let mut audit = Self {
            dir: dir.to_owned(),
            offsets: BTreeMap::new(),
            seen: BTreeMap::new(),
            requests: Vec::new(),
        };
        audit.read();
        audit
    }

    /// Takes in what was written since.
    pub fn read(&mut self) {
        let entries = std::fs::read_dir(&self.dir).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for path in files {
            let offset = self.offsets.entry(path.clone()).or_default();
            let mut file = File::open(&path).unwrap();
            file.seek(SeekFrom::Start(*offset)).unwrap();
            let mut new = Vec::new();
            file.read_to_end(&mut new).unwrap();
            // The last line may be half written.
            let whole = new
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            *offset += whole as u64;
            for line in new[..whole]
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                self.take(serde_json::from_slice(line).expect("an audit event in a line"));
            }
        }
    }

    /// The requests of one user.
    pub fn of(&self, user: &str) -> Vec<&Request> {
        self.requests
            .iter()
            .filter(|request| request.user == user)
            .collect()
    }

    /// The requests of one service account.
    pub fn of_service_account(&self, namespace: &str, name: &str) -> Vec<&Request> {
        self.of(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// Every successful write to the `scale` subresource of one object, by any client.
    pub fn scale_writes(&self, namespace: &str, name: &str) -> Vec<&Request> {
        let of_it = |request: &&Request| {
            request.subresource == "scale"
                && request.is_write()
                && request.code < 300
                && (request.namespace.as_str(), request.name.as_str()) == (namespace, name)
        };
        self.requests.iter().filter(of_it).collect()
    }

    fn take(&mut self, event: Event) {
        let id = event.audit_id.clone();
        let request = event.into_request();
        if let Some(at) = self.seen.get(&id) {
            self.requests[*at].code = request.code;
            return;
        }
        self.seen.insert(id, self.requests.len());
        self.requests.push(request);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    user: User,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
    request_object: Option<Value>,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    /// Empty in an API server that is ending: it turns requests away before it knows their client.
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl Event {
    fn into_request(self) -> Request {
        let object = self.object_ref;
        Request {
            user: self.user.username,
            verb: self.verb,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            uri: self.uri,
            code: self.response_status.map_or(0, |status| status.code),
            user_agent: self.user_agent,
            received_ms: millis(self.request_received_timestamp),
            answered_ms: millis(self.stage_timestamp),
            body: self.request_object,
            answer: self.response_object,
        }
    }
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap()
}
