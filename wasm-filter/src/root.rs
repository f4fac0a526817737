//! A root context: takes Envoy's callbacks and hands them to its [`Station`].

use std::rc::Rc;
use std::time::Duration;

use hold::{Config, StreamId};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::calls;
use crate::host;
use crate::station::Station;
use crate::stream::Stream;

/// Until the station has registered, which it does at the first tick: `on_configure` runs in VMs that are thrown away.
const FIRST_TICK: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Root {
    id: u32,
    station: Option<Rc<Station>>,
    /// The proxy's last word is to be sent at the next tick.
    owes_last_word: bool,
}

impl Root {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            station: None,
            owes_last_word: false,
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, body_size: usize, trailers: usize) {
        if let Some(station) = &self.station {
            if station.has_ended() {
                host::done();
                return;
            }
            let now = station.now();
            calls::answered(station, now, token, body_size, trailers);
            station.run(now);
        }
    }

    /// Asks for time if it is the last, to sign the proxy off at the next tick. Not here: when Envoy itself ends, its
    /// clusters are gone by now and a call would crash it. Then no tick follows.
    fn on_done(&mut self) -> bool {
        self.owes_last_word = self.station.as_ref().is_some_and(|station| station.sign_off());
        !self.owes_last_word
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Config::parse(&host::plugin_configuration()) {
            Ok(config) => {
                host::info(&format!("holdfast {} configured", env!("CARGO_PKG_VERSION")));
                self.station = Some(Rc::new(Station::new(self.id, config)));
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
        let Some(station) = &self.station else { return };
        if station.has_ended() {
            if std::mem::take(&mut self.owes_last_word) && !calls::leave(station) {
                host::done();
            }
        } else {
            let now = station.now();
            station.register(now);
            station.test_panic();
            station.beat(now);
            station.run(now);
        }
    }

    fn on_queue_ready(&mut self, _queue: u32) {
        if let Some(station) = &self.station
            && !station.has_ended()
        {
            let now = station.now();
            station.hear();
            station.run(now);
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(StreamId(context_id), self.station.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
