//! The reference for users, in Markdown, from the schema of the definition.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps as Props, JSONSchemaPropsOrArray,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::crd::{CONDITIONS, schema};
use fleet::config::spec::Process;
use fleet::config::units::PositiveDuration;
use fleet::config::words::{AgentPrefix, Authority, GroupVersion, Name, ObjectKind, UrlPath};
use fleet::config::{ClusterKey, HostKey, HumanDuration, Size};

const HEAD: &str = "\
<!-- Made from the types in crates/fleet/src/config/spec.rs and crates/cluster/src/crd/:
     HOLDFAST_WRITE=1 cargo test -p cluster --lib crd::tests -->

# ScaleTarget

`apiVersion: holdfast.dev/v1alpha1`, `kind: ScaleTarget`, namespaced; `kubectl get stgt`, or `kubectl get holdfast`.
The workload and the Service are in the target's own namespace. The API server refuses a wrong value and names its field; what fields cannot mean together is refused by the
control plane, which says so in the condition `Invalid`.

```yaml
apiVersion: holdfast.dev/v1alpha1
kind: ScaleTarget
metadata: {name: web, namespace: shop}
spec:
  workload: {apiVersion: apps/v1, kind: Deployment, name: web}
  service: {name: web}
```
";

const SPEC_TABLE: &str = "\n| field | type | default | meaning |\n|---|---|---|---|\n";
const STATUS_TABLE: &str = "\n| field | type | meaning |\n|---|---|---|\n";

/// Has a section of its own: it is not in the definition.
const PROCESS: &str = "spec.workload.process";

/// The text of `kubernetes/REFERENCE.md`.
pub(super) fn reference() -> String {
    let mut page = Page(HEAD.to_owned());
    let root = schema::root();
    if let Some(spec) = child(&root, "spec") {
        page.sections("spec", spec);
    }
    page.heading(PROCESS, &format!("Only in files: it {}.", schema::ONLY_IN_FILES));
    page.0.push_str(SPEC_TABLE);
    page.tree(PROCESS, &schema_of::<Process>());
    if let Some(status) = child(&root, "status") {
        page.heading("status", &prose(status));
        page.0.push_str(STATUS_TABLE);
        page.tree("status", status);
    }
    page.conditions();
    page.forms();
    page.0
}

struct Page(String);

impl Page {
    /// A section for the object, and one for each object among its fields.
    fn sections(&mut self, path: &str, object: &Props) {
        self.heading(path, &prose(object));
        self.0.push_str(SPEC_TABLE);
        let fields = fields(object)
            .into_iter()
            .map(|(name, field, required)| (format!("{path}.{name}"), field, required));
        let fields: Vec<_> = fields.filter(|(path, ..)| path != PROCESS).collect();
        for (path, field, required) in &fields {
            self.row(path, field, *required);
        }
        for (path, field, _) in fields.iter().filter(|(_, field, _)| is_section(field)) {
            self.sections(path, field);
        }
    }

    /// Rows for all fields, however deep.
    fn tree(&mut self, path: &str, object: &Props) {
        for (name, field, required) in fields(object) {
            let path = format!("{path}.{name}");
            self.row(&path, field, required);
            self.tree(&path, field);
            if let Some(item) = item(field) {
                self.tree(&format!("{path}[]"), item);
            }
        }
    }

    fn row(&mut self, path: &str, field: &Props, required: bool) {
        let default = match &field.default {
            Some(_) if is_section(field) => "as below".to_owned(),
            Some(default) => format!("`{}`", plain(&default.0)),
            None if required => "must be set".to_owned(),
            None => "optional".to_owned(),
        };
        let (form, prose) = (form(field), prose(field));
        if path.starts_with("spec.") {
            self.line(&format!("| `{path}` | {form} | {default} | {prose} |"));
        } else {
            self.line(&format!("| `{path}` | {form} | {prose} |"));
        }
    }

    fn heading(&mut self, path: &str, meaning: &str) {
        self.line(&format!("\n## {path}\n\n{meaning}"));
    }

    fn conditions(&mut self) {
        self.line("\n## Conditions\n\n`Ready` is always there. Each of the others is there, and `True`, while it holds.");
        self.line("\n| type | when it holds |\n|---|---|");
        for (kind, meaning) in CONDITIONS {
            self.line(&format!("| `{kind}` | {meaning} |"));
        }
    }

    fn forms(&mut self) {
        self.line("\n## Forms\n\n| type | how it is written |\n|---|---|");
        for Form { name, meaning, .. } in forms() {
            self.line(&format!("| {name} | {meaning} |"));
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// How values of one pattern are called.
struct Form {
    pattern: Option<String>,
    name: &'static str,
    meaning: &'static str,
}

fn forms() -> Vec<Form> {
    fn form<T: JsonSchema>(name: &'static str, meaning: &'static str) -> Form {
        Form {
            pattern: schema_of::<T>().pattern,
            name,
            meaning,
        }
    }
    vec![
        form::<HumanDuration>(
            "duration",
            "A whole number and `ms`, `s`, `m` or `h`: `500ms`, `60s`, `5m`, `1h`. At most 365 days; `0s` is none.",
        ),
        form::<PositiveDuration>("positive duration", "A duration longer than zero."),
        form::<Size>(
            "size",
            "Bytes: a whole number, alone or with `Ki`, `Mi` or `Gi`: `65536`, `64Ki`, `64Mi`, `1Gi`.",
        ),
        form::<HostKey>(
            "host",
            "A host without port, upper or lower case, or `*.` and what all hosts below end with; an IPv6 address in brackets. At most 255 bytes.",
        ),
        form::<ClusterKey>(
            "cluster",
            "The name of an Envoy cluster: printable ASCII without white space. At most 512 bytes.",
        ),
        form::<UrlPath>(
            "path",
            "Begins with `/`; printable ASCII without white space. At most 2048 bytes.",
        ),
        form::<Authority>(
            "authority",
            "A host or an IP address, IPv6 in brackets, and perhaps `:` and a port: `web.example.com`, `web:8443`. At most 255 bytes.",
        ),
        form::<AgentPrefix>("prefix", "Printable ASCII, not empty. At most 256 bytes."),
        form::<Name>(
            "name",
            "A name of Kubernetes: lower-case letters, digits, `-` and `.`. At most 253 bytes.",
        ),
        form::<GroupVersion>("API version", "Group and version: `apps/v1`, or `v1` alone."),
        form::<ObjectKind>("kind", "Letters and digits; the first is a capital letter."),
    ]
}

fn form(field: &Props) -> String {
    if let Some(pattern) = &field.pattern {
        let known = forms()
            .into_iter()
            .find(|form| form.pattern.as_ref() == Some(pattern));
        return known.map_or_else(|| format!("text like `{pattern}`"), |form| form.name.to_owned());
    }
    if let Some(values) = &field.enum_ {
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", plain(&value.0)))
            .collect();
        return values.join(", ");
    }
    let name = match (field.type_.as_deref(), field.format.as_deref()) {
        (Some("string"), Some("date-time")) => "time",
        (Some("string"), Some("ip")) => "IP address",
        (Some("string"), _) => "text",
        (Some("array"), _) => {
            return format!(
                "list of {}s",
                item(field).map_or_else(|| "value".to_owned(), form)
            );
        }
        (Some("object"), _) if !is_section(field) => "map of text",
        (Some(name), _) => name,
        (None, _) => "value",
    };
    match (field.minimum, field.maximum) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
        (Some(least), None) => format!("{name}, at least {least}"),
        _ => name.to_owned(),
    }
}

/// Fields in the order of the page: what must be set first, and conditions last.
fn fields(object: &Props) -> Vec<(&str, &Props, bool)> {
    let required = object.required.iter().flatten().collect::<Vec<_>>();
    let mut fields: Vec<_> = object
        .properties
        .iter()
        .flatten()
        .map(|(name, field)| (name.as_str(), field, required.contains(&name)))
        .collect();
    fields.sort_by_key(|(name, _, required)| (!required, *name == "conditions", *name));
    fields
}

fn is_section(field: &Props) -> bool {
    field.properties.is_some()
}

fn child<'a>(object: &'a Props, name: &str) -> Option<&'a Props> {
    object.properties.as_ref()?.get(name)
}

fn item(field: &Props) -> Option<&Props> {
    match field.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// The description on one line.
fn prose(field: &Props) -> String {
    let text = field.description.as_deref().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The schema of a type that is not in the definition.
fn schema_of<T: JsonSchema>() -> Props {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut props = serde_json::from_value(schema.to_value()).unwrap_or_default();
    schema::conform(&mut props);
    props
}
