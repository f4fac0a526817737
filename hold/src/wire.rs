//! The protocol's messages as JSON, as the relay reads and writes them. Fields that it does not know are skipped.
//!
//! The types and their format are the crate `protocol`'s; the tests hold this module against it, byte for byte.

use protocol::{
    Confirm, Hold, Ignore, LossPolicy, Problem, Release, Report, Revision, State, SyncRequest, SyncResponse,
    Target, TargetId,
};

use crate::json::{Error, Reader, Writer, missing};

/// Writes the body of a sync.
pub fn sync_request(request: &SyncRequest) -> Vec<u8> {
    let mut out = Writer::default();
    out.open();
    let proxy = &request.proxy;
    out.key("proxy").open();
    out.key("id").string(&proxy.id);
    out.key("incarnation").string(proxy.incarnation.as_str());
    out.key("term").number(proxy.term).close();
    if let Some(since) = &request.since {
        write_revision(out.key("since"), since);
    }
    out.key("wait_ms").number(request.wait_ms);
    out.close().finish()
}

/// Writes the body of a report.
pub fn report(report: &Report) -> Vec<u8> {
    let mut out = Writer::default();
    out.open();
    let proxy = &report.proxy;
    out.key("proxy").open();
    out.key("id").string(&proxy.id);
    out.key("incarnation").string(proxy.incarnation.as_str());
    out.key("term").number(proxy.term);
    out.key("seq").number(proxy.seq).close();
    if let Some(applied) = &report.applied {
        write_revision(out.key("applied"), applied);
    }
    out.key("targets").open();
    for (id, usage) in &report.targets {
        out.key(id.as_str()).open();
        out.key("held").number(u64::from(usage.held));
        out.key("in_flight").number(u64::from(usage.in_flight));
        if let Some(idle_ms) = usage.idle_ms {
            out.key("idle_ms").number(idle_ms);
        }
        out.close();
    }
    out.close();
    if report.leaving {
        out.key("leaving").bool(true);
    }
    out.close().finish()
}

/// Writes what a refused client is told.
pub(crate) fn problem(problem: &Problem) -> Vec<u8> {
    let mut out = Writer::default();
    out.open();
    out.key("type").string(&problem.kind);
    out.key("title").string(&problem.title);
    out.key("status").number(u64::from(problem.status));
    for (key, text) in [
        ("detail", &problem.detail),
        ("target", &problem.target),
        ("field", &problem.field),
    ] {
        if let Some(text) = text {
            out.key(key).string(text);
        }
    }
    out.close().finish()
}

/// Reads the answer to a sync.
///
/// # Errors
/// One line that names the field: it is no sync response.
pub fn read_sync_response(json: &[u8]) -> Result<SyncResponse, String> {
    let read = || {
        let mut reader = Reader::new(json)?;
        let response = sync_response(&mut reader)?;
        reader.end()?;
        Ok(response)
    };
    read().map_err(|error: Error| error.to_string())
}

fn write_revision(out: &mut Writer, revision: &Revision) {
    out.open();
    out.key("instance").string(&revision.instance);
    out.key("n").number(revision.n).close();
}

fn sync_response(reader: &mut Reader<'_>) -> Result<SyncResponse, Error> {
    let (mut at, mut full, mut heartbeat_ms, mut forget_after_ms) = (None, None, None, None);
    let (mut targets, mut removed) = (Vec::new(), Vec::new());
    reader.object(&mut |reader, name| {
        match name {
            "revision" => at = Some(revision(reader)?),
            "full" => full = Some(reader.bool()?),
            "targets" => reader.array(&mut |reader| {
                targets.push(target(reader)?);
                Ok(())
            })?,
            "removed" => removed = reader.strings()?,
            "heartbeat_ms" => heartbeat_ms = Some(reader.u64()?),
            "forget_after_ms" => forget_after_ms = Some(reader.u64()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(SyncResponse {
        revision: at.ok_or_else(|| missing("revision"))?,
        full: full.ok_or_else(|| missing("full"))?,
        targets,
        removed: removed.into_iter().map(TargetId::new).collect(),
        heartbeat_ms: heartbeat_ms.ok_or_else(|| missing("heartbeat_ms"))?,
        forget_after_ms: forget_after_ms.ok_or_else(|| missing("forget_after_ms"))?,
    })
}

fn revision(reader: &mut Reader<'_>) -> Result<Revision, Error> {
    let (mut instance, mut n) = (None, None);
    reader.object(&mut |reader, name| {
        match name {
            "instance" => instance = Some(reader.string()?),
            "n" => n = Some(reader.u64()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(Revision {
        instance: instance.ok_or_else(|| missing("instance"))?,
        n: n.ok_or_else(|| missing("n"))?,
    })
}

fn target(reader: &mut Reader<'_>) -> Result<Target, Error> {
    let (mut id, mut state, mut hold, mut release, mut confirm) = (None, None, None, None, None);
    let (mut reason, mut retry_after_ms) = (None, None);
    let (mut epoch, mut ready_endpoints) = (0, 0);
    let (mut hosts, mut clusters) = (Vec::new(), Vec::new());
    let mut ignore = Ignore::default();
    reader.object(&mut |reader, name| {
        match name {
            "id" => id = Some(reader.string()?),
            "state" => state = Some(self::state(reader)?),
            "reason" if !reader.null() => reason = Some(reader.string()?),
            "retry_after_ms" if !reader.null() => retry_after_ms = Some(reader.u64()?),
            "reason" | "retry_after_ms" => {}
            "epoch" => epoch = reader.u64()?,
            "ready_endpoints" => ready_endpoints = reader.u32()?,
            "hosts" => hosts = reader.strings()?,
            "clusters" => clusters = reader.strings()?,
            "hold" => hold = Some(self::hold(reader)?),
            "release" => release = Some(self::release(reader)?),
            "confirm" => confirm = Some(self::confirm(reader)?),
            "ignore" => ignore = self::ignore(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(Target {
        id: TargetId::new(id.ok_or_else(|| missing("id"))?),
        state: state.ok_or_else(|| missing("state"))?,
        reason,
        retry_after_ms,
        epoch,
        ready_endpoints,
        hosts,
        clusters,
        hold: hold.ok_or_else(|| missing("hold"))?,
        release: release.ok_or_else(|| missing("release"))?,
        confirm: confirm.ok_or_else(|| missing("confirm"))?,
        ignore,
    })
}

fn state(reader: &mut Reader<'_>) -> Result<State, Error> {
    Ok(match reader.string()?.as_str() {
        "asleep" => State::Asleep,
        "waking" => State::Waking,
        "ready" => State::Ready,
        "draining" => State::Draining,
        "failed" => State::Failed,
        "suspended" => State::Suspended,
        other => return Err(unknown(other)),
    })
}

fn hold(reader: &mut Reader<'_>) -> Result<Hold, Error> {
    let (mut timeout_ms, mut max_requests, mut max_bytes, mut unknown_body) = (None, None, None, None);
    let mut policy = None;
    reader.object(&mut |reader, name| {
        match name {
            "timeout_ms" => timeout_ms = Some(reader.u64()?),
            "max_requests" => max_requests = Some(reader.u32()?),
            "max_bytes" => max_bytes = Some(reader.u64()?),
            "unknown_body" => unknown_body = Some(reader.u64()?),
            "on_control_plane_loss" => {
                policy = Some(match reader.string()?.as_str() {
                    "hold" => LossPolicy::Hold,
                    "pass" => LossPolicy::Pass,
                    "refuse" => LossPolicy::Refuse,
                    other => return Err(self::unknown(other)),
                });
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(Hold {
        timeout_ms: timeout_ms.ok_or_else(|| missing("timeout_ms"))?,
        max_requests: max_requests.ok_or_else(|| missing("max_requests"))?,
        max_bytes: max_bytes.ok_or_else(|| missing("max_bytes"))?,
        unknown_body: unknown_body.ok_or_else(|| missing("unknown_body"))?,
        on_control_plane_loss: policy.ok_or_else(|| missing("on_control_plane_loss"))?,
    })
}

fn release(reader: &mut Reader<'_>) -> Result<Release, Error> {
    let mut concurrency = None;
    reader.object(&mut |reader, name| {
        match name {
            "concurrency_per_endpoint" => concurrency = Some(reader.u32()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(Release {
        concurrency_per_endpoint: concurrency.ok_or_else(|| missing("concurrency_per_endpoint"))?,
    })
}

fn confirm(reader: &mut Reader<'_>) -> Result<Confirm, Error> {
    let (mut kind, mut path) = (None, None);
    let (mut timeout_ms, mut give_up_ms, mut settle_ms) = (None, None, None);
    reader.object(&mut |reader, name| {
        match name {
            "kind" => kind = Some(reader.string()?),
            "path" => path = Some(reader.string()?),
            "timeout_ms" => timeout_ms = Some(reader.u64()?),
            "give_up_ms" => give_up_ms = Some(reader.u64()?),
            "settle_ms" => settle_ms = Some(reader.u64()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let timeout_ms = timeout_ms.ok_or_else(|| missing("timeout_ms"));
    let give_up_ms = give_up_ms.ok_or_else(|| missing("give_up_ms"));
    Ok(match kind.as_deref() {
        Some("http") => Confirm::Http {
            path: path.ok_or_else(|| missing("path"))?,
            timeout_ms: timeout_ms?,
            give_up_ms: give_up_ms?,
        },
        Some("grpc") => Confirm::Grpc {
            timeout_ms: timeout_ms?,
            give_up_ms: give_up_ms?,
        },
        Some("off") => Confirm::Off {
            settle_ms: settle_ms.ok_or_else(|| missing("settle_ms"))?,
        },
        Some(other) => return Err(unknown(other).within("kind")),
        None => return Err(missing("kind")),
    })
}

fn ignore(reader: &mut Reader<'_>) -> Result<Ignore, Error> {
    let mut ignore = Ignore::default();
    reader.object(&mut |reader, name| {
        match name {
            "paths" => ignore.paths = reader.strings()?,
            "user_agents" => ignore.user_agents = reader.strings()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(ignore)
}

fn unknown(word: &str) -> Error {
    Error::new(format!("`{word}` is not known"))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    /// The wire format, as the crate `protocol` keeps it.
    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../../protocol/tests/golden/", $name, ".json"))
        };
    }

    #[test]
    fn syncs_are_read_as_serde_reads_them() {
        for json in [
            golden!("sync-response-empty"),
            golden!("sync-response-one"),
            golden!("sync-response-many"),
            golden!("unknown/sync-response"),
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
        let json = golden!("sync-response-one").replace("\"http\"", "\"smoke\"");
        let error = read_sync_response(json.as_bytes()).unwrap_err();
        assert_eq!(error, "`targets.[0].confirm.kind`: `smoke` is not known");
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
}
