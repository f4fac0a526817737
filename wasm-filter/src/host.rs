//! Makes the host calls, in our own types. No other module does.
//!
//! Header values are bytes: the SDK's string getters panic on anything that is not UTF-8.

use std::time::Duration;

use hold::{Refusal, Reply, StreamId, Weight};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status};

/// Sent by [`call`], and by nothing else.
pub(crate) const USER_AGENT: &str = concat!("holdfast-confirm/", env!("CARGO_PKG_VERSION"));

/// As a missing key accepts any compare-and-swap, this one creates and never overwrites.
pub(crate) const CREATE: u32 = u32::MAX;

pub(crate) fn info(message: &str) {
    let _ = hostcalls::log(LogLevel::Info, message);
}

/// True if Envoy's log shows the module's lines at debug level.
pub(crate) fn logs_debug() -> bool {
    matches!(hostcalls::get_log_level(), Ok(LogLevel::Trace | LogLevel::Debug))
}

pub(crate) fn debug(message: &str) {
    let _ = hostcalls::log(LogLevel::Debug, message);
}

pub(crate) fn warn(message: &str) {
    let _ = hostcalls::log(LogLevel::Warn, message);
}

pub(crate) fn error(message: &str) {
    let _ = hostcalls::log(LogLevel::Error, message);
}

/// The configuration of the plugin that is being configured.
pub(crate) fn plugin_configuration() -> Vec<u8> {
    buffer(BufferType::PluginConfiguration, usize::MAX)
}

pub(crate) fn set_tick_period(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

/// The name of the cluster that the route leads to; empty if the route leads to none (redirect, direct response).
pub(crate) fn route_cluster() -> Vec<u8> {
    property(vec!["xds", "cluster_name"]).unwrap_or_default()
}

/// Envoy's node id.
pub(crate) fn node_id() -> String {
    property(vec!["xds", "node", "id"])
        .map(|id| String::from_utf8_lossy(&id).into_owned())
        .unwrap_or_default()
}

/// The `vm_id` of the VM's configuration; empty if there is none.
pub(crate) fn vm_id() -> String {
    property(vec!["plugin_vm_id"])
        .map(|id| String::from_utf8_lossy(&id).into_owned())
        .unwrap_or_default()
}

fn property(path: Vec<&str>) -> Option<Vec<u8>> {
    hostcalls::get_property(path).ok().flatten()
}

/// A request header of the current stream, as it came; empty if there is none. Only from `on_http_request_headers`.
pub(crate) fn request_header(name: &str) -> Vec<u8> {
    map_value(MapType::HttpRequestHeaders, name).unwrap_or_default()
}

/// What Envoy says of the current request: two calls, for those that are to be held. At the headers all of it that has come is headers.
pub(crate) fn request_weight() -> Weight {
    let size = property(vec!["request", "total_size"]);
    let size = size.and_then(|bytes| Some(i64::from_le_bytes(*bytes.first_chunk()?)));
    let protocol = property(vec!["request", "protocol"]).unwrap_or_default();
    Weight {
        head: size.and_then(|size| size.try_into().ok()).unwrap_or(0),
        multiplexed: protocol.starts_with(b"HTTP/2") || protocol.starts_with(b"HTTP/3"),
    }
}

/// `:authority` of a paused request. From the root only; empty if the stream is no more.
pub(crate) fn authority_of(stream: StreamId, root: u32) -> Vec<u8> {
    let known = hostcalls::set_effective_context(stream.0).is_ok();
    let authority = if known {
        request_header(":authority")
    } else {
        Vec::new()
    };
    let _ = hostcalls::set_effective_context(root);
    authority
}

pub(crate) fn add_response_header(name: &str, value: &str) {
    let _ = hostcalls::add_map_value(MapType::HttpResponseHeaders, name, value);
}

/// A value of shared data and its compare-and-swap number; `None` if the key was never written.
pub(crate) fn shared_get(key: &str) -> Option<(Vec<u8>, u32)> {
    match hostcalls::get_shared_data(key) {
        Ok((value, Some(cas))) => Some((value.unwrap_or_default(), cas)),
        Ok((_, None)) | Err(_) => None,
    }
}

/// Writes if no other VM has since `cas` was read; [`CREATE`] if the key was missing.
pub(crate) fn shared_cas(key: &str, value: &[u8], cas: u32) -> bool {
    hostcalls::set_shared_data(key, Some(value), Some(cas)).is_ok()
}

/// Writes whatever was there. For keys with one writer.
pub(crate) fn shared_put(key: &str, value: &[u8]) {
    let _ = hostcalls::set_shared_data(key, Some(value), None);
}

pub(crate) fn queue_register(name: &str) -> Option<u32> {
    hostcalls::register_shared_queue(name).ok()
}

pub(crate) fn queue_resolve(vm_id: &str, name: &str) -> Option<u32> {
    hostcalls::resolve_shared_queue(vm_id, name).ok().flatten()
}

pub(crate) fn queue_push(queue: u32) -> bool {
    hostcalls::enqueue_shared_queue(queue, Some(b"!")).is_ok()
}

/// Takes every message off a queue. Its messages say no more than "look".
pub(crate) fn queue_drain(queue: u32) {
    while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(queue) {}
}

/// Lets a paused stream go on. From the root only; false if the stream is no more.
///
/// For a stale id `set_effective_context` fails, but a following resume would act on the previous context and say Ok.
pub(crate) fn resume(stream: StreamId, root: u32) -> bool {
    let known = hostcalls::set_effective_context(stream.0).is_ok();
    if known {
        let _ = hostcalls::resume_http_request();
    }
    let _ = hostcalls::set_effective_context(root);
    known
}

/// Answers a paused stream. From the root only; false if the stream is no more.
pub(crate) fn refuse(stream: StreamId, reply: &Reply, root: u32) -> bool {
    let known = hostcalls::set_effective_context(stream.0).is_ok();
    if known {
        answer(reply);
    }
    let _ = hostcalls::set_effective_context(root);
    known
}

/// Answers the current stream. A gRPC call has no body in its answer, whatever Envoy takes it for: see [`answer_in_grpcs_way`].
pub(crate) fn answer(reply: &Reply) {
    let retry_after = reply.retry_after.to_string();
    let _ = match reply.grpc_status {
        Some(status) => {
            let message = reply.grpc_message();
            let mut headers = vec![("retry-after", retry_after.as_bytes())];
            if !message.is_empty() {
                headers.push(("grpc-message", message.as_bytes()));
            }
            hostcalls::send_grpc_response(grpc_status(status), None, headers)
        }
        None => hostcalls::send_http_response(
            u32::from(reply.status),
            vec![
                ("content-type", protocol::Problem::CONTENT_TYPE),
                ("retry-after", &retry_after),
            ],
            Some(&reply.body),
        ),
    };
}

/// From `on_http_response_headers` of the answer to a call that was refused in gRPC's way. Envoy answers so of itself if the call has
/// come as gRPC; of what a filter before this one has made into gRPC (`grpc_web`) it thinks as HTTP, and that filter
/// makes the client's own form only of what is gRPC.
pub(crate) fn answer_in_grpcs_way(refusal: Refusal, end_of_stream: bool) {
    if end_of_stream {
        set_response_header("content-type", "application/grpc");
        set_response_header("grpc-status", &refusal.grpc_status().to_string());
    } else {
        // Envoy's `local_reply_config` has made a body, which is none of gRPC's: those filters go by the HTTP status then.
        set_response_header(":status", &refusal.status().to_string());
    }
}

fn set_response_header(name: &str, value: &str) {
    let _ = hostcalls::set_map_value(MapType::HttpResponseHeaders, name, Some(value));
}

fn grpc_status(status: u32) -> proxy_wasm::types::GrpcStatusCode {
    use proxy_wasm::types::GrpcStatusCode as Code;
    match status {
        4 => Code::DeadlineExceeded,
        8 => Code::ResourceExhausted,
        12 => Code::Unimplemented,
        _ => Code::Unavailable,
    }
}

/// Why a call was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The cluster has no endpoint that may be used.
    NoEndpoint,
    /// There is no such cluster.
    NoCluster,
}

/// Sends a request through a cluster. From the root only: the answer reaches the context that is active now.
pub(crate) fn call(
    cluster: &str,
    headers: Vec<(&str, &str)>,
    body: Option<&[u8]>,
    timeout: Duration,
) -> Result<u32, NotSent> {
    hostcalls::dispatch_http_call(cluster, headers, body, vec![], timeout).map_err(|status| match status {
        Status::BadArgument => NotSent::NoCluster,
        _ => NotSent::NoEndpoint,
    })
}

/// The answer to a call, for as long as Envoy's callback lasts. Reads nothing that the callback has not announced: where
/// there is no header map, or are no trailers, Envoy refuses to read any, and the SDK panics.
#[derive(Debug)]
pub(crate) struct CallAnswer {
    body_size: usize,
    has_trailers: bool,
}

/// The only way to an answer: turns the numbers of `proxy_on_http_call_response` into one, or into `None` for a call that
/// failed. Envoy says that with no headers: the answer did not come to its end, or the cluster was changed or removed meanwhile.
pub(crate) fn with_answer<T>(
    headers: usize,
    body_size: usize,
    trailers: usize,
    read: impl FnOnce(Option<&CallAnswer>) -> T,
) -> T {
    let answer = CallAnswer {
        body_size,
        has_trailers: trailers > 0,
    };
    read(Some(&answer).filter(|_| headers > 0))
}

impl CallAnswer {
    /// `:status`.
    pub(crate) fn status(&self) -> Option<u16> {
        number(&self.header(":status")?)
    }

    /// A header, as it came.
    pub(crate) fn header(&self, name: &str) -> Option<Vec<u8>> {
        map_value(MapType::HttpCallResponseHeaders, name)
    }

    /// `grpc-status`, of the trailers or, in an answer without a body, of the headers.
    pub(crate) fn grpc_status(&self) -> Option<u32> {
        let in_trailers = || {
            self.has_trailers
                .then(|| map_value(MapType::HttpCallResponseTrailers, "grpc-status"))
                .flatten()
        };
        number(&self.header("grpc-status").or_else(in_trailers)?)
    }

    /// The whole body.
    pub(crate) fn body(&self) -> Vec<u8> {
        if self.body_size == 0 {
            return Vec::new();
        }
        buffer(BufferType::HttpCallResponseBody, self.body_size)
    }

    /// True if the upstream sent it. Answers that Envoy makes lack this header; answers of the upstream have it, whatever their status.
    pub(crate) fn is_of_upstream(&self) -> bool {
        self.header("x-envoy-upstream-service-time").is_some()
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place: callers know that the map is there"
)]
fn map_value(map: MapType, name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(map, name).ok().flatten()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place: a buffer that is not there is `NotFound`"
)]
fn buffer(buffer: BufferType, size: usize) -> Vec<u8> {
    hostcalls::get_buffer(buffer, 0, size)
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// The kinds of Envoy's stats.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stat {
    Counter,
    Gauge,
    Histogram,
}

pub(crate) fn define_stat(stat: Stat, name: &str) -> Option<u32> {
    let kind = match stat {
        Stat::Counter => MetricType::Counter,
        Stat::Gauge => MetricType::Gauge,
        Stat::Histogram => MetricType::Histogram,
    };
    hostcalls::define_metric(kind, name).ok()
}

pub(crate) fn increment(stat: u32, by: u64) {
    let _ = hostcalls::increment_metric(stat, i64::try_from(by).unwrap_or(i64::MAX));
}

pub(crate) fn record(stat: u32, value: u64) {
    let _ = hostcalls::record_metric(stat, value);
}

/// 64 random bits, from WASI's `random_get`. Different at every call; Envoy never fails it. Not by way of the standard
/// library's hasher, which brings the names of all errors of WASI along: 4 KB.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
