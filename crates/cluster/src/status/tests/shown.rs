//! Which ScaleTargets the watch is said to have changed.

use serde_json::json;

use super::super::Shown;
use crate::crd::ScaleTarget;
use crate::watches::WatchEvent::{self, Absent, Apply, Begin, Delete, End, Refused};

#[test]
fn tells_what_has_come_changed_and_gone_and_nothing_else() {
    let shown = Shown::default();
    let mut changes = shown.changes();
    let mut told = |events: Vec<WatchEvent<ScaleTarget>>| {
        events.iter().for_each(|event| shown.take(event));
        let ids = std::iter::from_fn(|| changes.try_recv().ok());
        ids.map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let both = || vec![Begin, Apply(mk_object("a", 1)), Apply(mk_object("b", 1)), End];
    assert_eq!(told(both()), ["shop/a", "shop/b"], "have come");
    assert_eq!(told(both()), [""; 0], "are as they were");
    assert_eq!(told(vec![Apply(mk_object("b", 2))]), ["shop/b"], "has changed");
    assert_eq!(told(vec![Delete(mk_object("a", 1))]), ["shop/a"], "is gone");
    assert_eq!(told(vec![Delete(mk_object("a", 1))]), [""; 0], "was gone");
    assert_eq!(told(vec![Refused("no".to_owned())]), [""; 0], "is not known");
    assert_eq!(told(vec![Begin, End]), ["shop/b"], "is no longer listed");
    assert_eq!(
        told(vec![Apply(mk_object("c", 1)), Absent]),
        ["shop/c", "shop/c"],
        "has come and gone"
    );
}

fn mk_object(name: &str, version: u32) -> ScaleTarget {
    let object = json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "ScaleTarget",
        "metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": version.to_string()},
        "spec": {},
    });
    serde_json::from_value(object).unwrap()
}
