//! Takes Envoy's callbacks of one root context and hands them to its [`FilterRoot`].

use std::rc::Rc;
use std::time::Duration;

use hold::{Config, StreamId};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::filter_root::FilterRoot;
use crate::host::{self, CallAnswer};
use crate::stream::Stream;
use crate::test_panic;

/// Until the root context has registered, which it does at the first tick: `on_configure` runs in VMs that are thrown away.
const FIRST_TICK: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Root {
    id: u32,
    /// `None` until it is configured.
    filter: Option<Rc<FilterRoot>>,
}

impl Root {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, filter: None }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, trailers: usize) {
        if let Some(filter) = &self.filter {
            let now = filter.now();
            let of_upstream = host::with_answer(headers, body_size, trailers, |answer| {
                filter.on_answer(now, token, answer);
                answer.is_some_and(CallAnswer::is_of_upstream)
            });
            // At Envoy's own end the open calls are cancelled after the clusters have gone: one more would crash it. So
            // what follows from an answer that Envoy made itself, or from none, waits for the next tick; at the end there
            // is none.
            if of_upstream && !filter.has_ended() {
                filter.run(now);
            }
        }
    }
}

impl Drop for Root {
    /// Envoy's last word to a root context is `proxy_on_delete`. There is no `on_done`: Envoy would enter the VM for that at
    /// the end of every request as well.
    ///
    /// No call from here: the VM is about to go, and at Envoy's own end the clusters have gone already, so that a call
    /// crashes Envoy.
    fn drop(&mut self) {
        if let Some(filter) = &self.filter {
            filter.sign_off();
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Config::parse(&host::plugin_configuration()) {
            Ok(config) => {
                host::info(&format!("holdfast {} configured", env!("CARGO_PKG_VERSION")));
                self.filter = Some(Rc::new(FilterRoot::new(self.id, config)));
                host::set_tick_period(FIRST_TICK);
                true
            }
            Err(error) => {
                host::error(&format!("holdfast: {error}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(filter) = &self.filter
            && !filter.has_ended()
        {
            test_panic::on_tick(filter);
            filter.on_tick(filter.now());
        }
    }

    fn on_queue_ready(&mut self, _queue: u32) {
        if let Some(filter) = &self.filter
            && !filter.has_ended()
        {
            filter.on_notified(filter.now());
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(StreamId(context_id), self.filter.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
