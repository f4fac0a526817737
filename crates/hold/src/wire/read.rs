use protocol::{Confirm, Hold, Ignore, LossPolicy, Release, Revision, State, SyncResponse, Target, TargetId};

use crate::json::{Error, Reader, missing};

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

pub(super) fn target(reader: &mut Reader<'_>) -> Result<Target, Error> {
    let (mut id, mut state, mut hold, mut release, mut confirm) = (None, None, None, None, None);
    let (mut reason, mut reason_class, mut retry_after_ms) = (None, None, None);
    let (mut epoch, mut found, mut ready_endpoints) = (0, false, 0);
    let (mut hosts, mut clusters, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
    let mut ignore = Ignore::default();
    reader.object(&mut |reader, name| {
        match name {
            "id" => id = Some(reader.string()?),
            "state" => state = Some(self::state(reader)?),
            "reason" if !reader.null() => reason = Some(reader.string()?),
            "reason_class" if !reader.null() => reason_class = Some(reader.string()?),
            "retry_after_ms" if !reader.null() => retry_after_ms = Some(reader.u64()?),
            "reason" | "reason_class" | "retry_after_ms" => {}
            "epoch" => epoch = reader.u64()?,
            "found" => found = reader.bool()?,
            "ready_endpoints" => ready_endpoints = reader.u32()?,
            "hosts" => hosts = reader.strings()?,
            "clusters" => clusters = reader.strings()?,
            "leaving" => leaving = reader.strings()?,
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
        reason_class,
        retry_after_ms,
        epoch,
        found,
        ready_endpoints,
        hosts,
        clusters,
        leaving,
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
        _ => State::Unknown,
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
                    _ => LossPolicy::Unknown,
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
    let (mut kind, mut path, mut authority) = (None, None, None);
    let (mut timeout_ms, mut give_up_ms, mut settle_ms) = (None, None, None);
    reader.object(&mut |reader, name| {
        match name {
            "kind" => kind = Some(reader.string()?),
            "path" => path = Some(reader.string()?),
            "authority" if !reader.null() => authority = Some(reader.string()?),
            "authority" => {}
            "timeout_ms" => timeout_ms = Some(reader.u64()?),
            "give_up_ms" => give_up_ms = Some(reader.u64()?),
            "settle_ms" => settle_ms = Some(reader.u64()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    // What is no known word is none of an error's: only the target that it is said of is held for.
    let timeout_ms = timeout_ms.ok_or_else(|| missing("timeout_ms"));
    let give_up_ms = give_up_ms.ok_or_else(|| missing("give_up_ms"));
    Ok(match kind.as_deref() {
        Some("http") => Confirm::Http {
            path: path.ok_or_else(|| missing("path"))?,
            authority,
            timeout_ms: timeout_ms?,
            give_up_ms: give_up_ms?,
        },
        Some("grpc") => Confirm::Grpc {
            authority,
            timeout_ms: timeout_ms?,
            give_up_ms: give_up_ms?,
        },
        Some("off") => Confirm::Off {
            settle_ms: settle_ms.ok_or_else(|| missing("settle_ms"))?,
        },
        Some(_) => Confirm::Unknown,
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
