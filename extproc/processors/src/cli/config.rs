//! `extproc config`: prints the configuration that Envoy, or a gateway on it, needs for processors.

use std::io::{Write as _, stdout};

use clap::Args;
use extproc::{
    BodyMode, Needs,
    config::{Filter, Gateway, print},
};

use crate::catalog::{NoSuchProcessor, Wants, find};

/// What is printed, and for whom.
#[derive(Clone, Debug, Args)]
pub(super) struct Config {
    /// The processor, or NAME,NAME for several in one filter
    #[arg(short, long, value_name = "NAME[,NAME..]")]
    service: String,

    /// Whose configuration: envoy, envoy-gateway, kgateway or istio
    #[arg(long, default_value_t = Gateway::Envoy)]
    gateway: Gateway,

    /// Host of the processor: an address, or a name that Envoy resolves
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// Port of the processor
    #[arg(short, long, env = "GRPC_PORT", default_value_t = 50051)]
    port: u16,

    /// Let requests pass unprocessed where the processor is away or fails
    #[arg(long)]
    fail_open: bool,
}

impl Config {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        write!(stdout().lock(), "{}", print(&self.filter()?, self.gateway))?;
        Ok(())
    }

    fn filter(&self) -> Result<Filter, NoSuchProcessor> {
        let mut wants = Wants::default();
        let mut names = Vec::new();
        for name in self.service.split(',') {
            let entry = find(name)?;
            wants = wants.or(entry.wants);
            names.push(entry.name);
        }
        let is_duplex = |mode| mode == BodyMode::FullDuplex;
        Ok(Filter {
            host: self.host.clone(),
            port: self.port,
            request_body: wants.request,
            response_body: wants.response,
            request_trailers: is_duplex(wants.request),
            response_trailers: is_duplex(wants.response) || wants.response_trailers,
            fail_open: self.fail_open,
            ..Filter::new(names.join("-"), &Needs::default())
        })
    }
}

#[cfg(test)]
mod tests {
    use extproc::config::lint;

    use super::*;
    use crate::catalog::CATALOG;

    #[test]
    fn what_is_printed_has_none_of_the_known_traps() {
        for entry in CATALOG {
            let config = mk(entry.name);
            for gateway in Gateway::ALL {
                let printed = print(&config.filter().unwrap(), gateway);
                let warnings = lint(&printed).unwrap();
                assert_eq!(warnings, [], "{} for {gateway}: {printed}", entry.name);
            }
        }
    }

    #[test]
    fn several_in_one_filter_get_what_each_needs() {
        let filter = mk("timer,digest,compress,dedup").filter().unwrap();
        assert_eq!(filter.name, "timer-digest-compress-dedup");
        assert_eq!(filter.request_body, BodyMode::Buffered);
        assert_eq!(filter.response_body, BodyMode::FullDuplex);
        assert!(filter.response_trailers);
        assert!(mk("timer,nothing").filter().is_err());
    }

    fn mk(service: &str) -> Config {
        Config {
            service: service.to_owned(),
            gateway: Gateway::Envoy,
            host: "127.0.0.1".to_owned(),
            port: 50051,
            fail_open: false,
        }
    }
}
