#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use protocol::{Problem, Report, SyncRequest, SyncResponse, Target};

use super::read::target;
use super::*;
use crate::json::Reader;

/// The wire format, as the crate `protocol` keeps it.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../protocol/tests/golden/", $name, ".json"))
    };
}

#[test]
fn syncs_are_read_as_serde_reads_them() {
    for json in [
        golden!("sync-response-empty"),
        golden!("sync-response-one"),
        golden!("sync-response-many"),
        golden!("unknown/sync-response"),
        golden!("future/sync-response"),
    ] {
        let theirs: SyncResponse = serde_json::from_str(json).unwrap();
        assert_eq!(read_sync_response(json.as_bytes()), Ok(theirs));
    }
}

#[test]
fn targets_are_read_as_serde_reads_them() {
    for json in [
        golden!("target-asleep"),
        golden!("target-waking"),
        golden!("target-ready"),
        golden!("target-found"),
        golden!("target-moved"),
        golden!("target-draining"),
        golden!("target-failed"),
        golden!("target-suspended"),
        golden!("defaults/target"),
    ] {
        let theirs: Target = serde_json::from_str(json).unwrap();
        let ours = target(&mut Reader::new(json.as_bytes()).unwrap());
        assert_eq!(ours, Ok(theirs));
    }
}

#[test]
fn what_is_no_sync_response_is_refused_as_serde_refuses_it() {
    let good: serde_json::Value = serde_json::from_str(golden!("sync-response-one")).unwrap();
    let mut places = Vec::new();
    places_in(&good, String::new(), &mut places);
    assert!(places.len() > 20, "must have found the fields: {places:?}");
    for place in places {
        for other in [
            serde_json::json!(null),
            serde_json::json!(-1),
            serde_json::json!("?"),
            serde_json::json!([true]),
            serde_json::json!({}),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(&place).unwrap() = other.clone();
            let json = serde_json::to_vec(&bad).unwrap();
            let theirs = serde_json::from_slice::<SyncResponse>(&json).ok();
            assert_eq!(read_sync_response(&json).ok(), theirs, "{other} at {place}");
        }
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut bad = good.clone();
        if let Some(object) = bad.pointer_mut(parent).and_then(|value| value.as_object_mut()) {
            object.remove(name);
            let json = serde_json::to_vec(&bad).unwrap();
            let theirs = serde_json::from_slice::<SyncResponse>(&json).ok();
            assert_eq!(read_sync_response(&json).ok(), theirs, "without {place}");
        }
    }
}

fn places_in(value: &serde_json::Value, at: String, out: &mut Vec<String>) {
    if let Some(object) = value.as_object() {
        object
            .iter()
            .for_each(|(name, value)| places_in(value, format!("{at}/{name}"), out));
    }
    if let Some(array) = value.as_array() {
        let items = array.iter().enumerate();
        items.for_each(|(n, value)| places_in(value, format!("{at}/{n}"), out));
    }
    if !at.is_empty() {
        out.push(at);
    }
}

#[test]
fn an_error_names_the_field() {
    let json = golden!("sync-response-one").replace("\"path\"", "\"way\"");
    let error = read_sync_response(json.as_bytes()).unwrap_err();
    assert_eq!(error, "`targets.[0].confirm.path`: it is missing");
    assert_eq!(
        read_sync_response(b"{}").unwrap_err(),
        "`revision`: it is missing"
    );
}

#[test]
fn syncs_and_reports_are_written_as_serde_writes_them() {
    for json in [golden!("sync-request-first"), golden!("sync-request-waiting")] {
        let message: SyncRequest = serde_json::from_str(json).unwrap();
        assert_eq!(sync_request(&message), serde_json::to_vec(&message).unwrap());
    }
    for json in [
        golden!("report-empty"),
        golden!("report-one"),
        golden!("report-many"),
        golden!("report-leaving"),
    ] {
        let message: Report = serde_json::from_str(json).unwrap();
        assert_eq!(report(&message), serde_json::to_vec(&message).unwrap());
    }
    for json in [golden!("problem-bare"), golden!("problem-full")] {
        let message: Problem = serde_json::from_str(json).unwrap();
        assert_eq!(problem(&message), serde_json::to_vec(&message).unwrap());
    }
}
