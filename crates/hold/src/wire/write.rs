use protocol::{Problem, Report, Revision, SyncRequest};

use crate::json::Writer;

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
    if let Some(module) = &request.module {
        out.key("module").string(module);
    }
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
    if !report.unreached.is_empty() {
        out.key("unreached").open_list();
        for unreached in &report.unreached {
            out.open();
            out.key("target").string(unreached.target.as_str());
            out.key("cluster").string(&unreached.cluster);
            out.key("saw").string(&unreached.saw);
            out.key("for_ms").number(unreached.for_ms);
            out.close();
        }
        out.close_list();
    }
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

fn write_revision(out: &mut Writer, revision: &Revision) {
    out.open();
    out.key("instance").string(&revision.instance);
    out.key("n").number(revision.n).close();
}
