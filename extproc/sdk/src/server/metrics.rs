//! Metrics of a server: what the driver counted, as Prometheus reads it, and the listener that it reads from.

mod http;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::body::BodyMemory;
use crate::driver::stats::{BOUNDS, Phase, Stats};
use crate::modes::Direction;
use crate::processor::End;

pub(super) use http::Scrapes;

/// What one server counts. Metrics have the prefix `extproc_` and the label `processor`.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) processor: String,
    pub(super) stats: Arc<Stats>,
    pub(super) memory: Arc<BodyMemory>,
}

impl Counts {
    pub(super) fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

type Samples<'a> = Vec<(Option<(&'static str, Cow<'a, str>)>, u64)>;

/// How a metric is written.
#[derive(Clone, Copy)]
enum Kind {
    /// Its name gets `_total`.
    Counter,
    Gauge,
    /// A counter whose name without `_total` is the name of a gauge: its type has to be left open, or the two would be one.
    Total,
}

impl Counts {
    fn write(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        kind: Kind,
        samples: Samples<'_>,
    ) -> fmt::Result {
        let metric_type = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Total => MetricType::Unknown,
        };
        let mut encoder = encoder.encode_descriptor(name, help, None, metric_type)?;
        for (label, value) in samples {
            self.with_labels(&mut encoder, label.as_ref(), |mut sample| match kind {
                Kind::Counter => sample.encode_counter::<NoLabelSet, _, u64>(&value, None),
                Kind::Gauge | Kind::Total => sample.encode_gauge(&value),
            })?;
        }
        Ok(())
    }

    fn with_labels(
        &self,
        encoder: &mut MetricEncoder<'_>,
        label: Option<&(&'static str, Cow<'_, str>)>,
        write: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let own = ("processor", self.processor.as_str());
        match label {
            None => write(encoder.encode_family(&[own])?),
            Some((name, value)) => write(encoder.encode_family(&[own, (*name, &**value)])?),
        }
    }

    fn write_times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(
            "extproc_phase_seconds",
            "Times that handlers took, waiting included",
            None,
            MetricType::Histogram,
        )?;
        for phase in Phase::ALL {
            let (sum, count) = self.stats.handlers(phase);
            let bounds = BOUNDS.iter().map(|micros| micros_to_seconds(*micros));
            let mut buckets: Vec<(f64, u64)> = bounds.zip(self.stats.times(phase)).collect();
            let within: u64 = buckets.iter().map(|(_, calls)| calls).sum();
            let label = ("phase", phase.name().into());
            buckets.push((f64::INFINITY, count.saturating_sub(within)));
            self.with_labels(&mut encoder, Some(&label), |mut sample| {
                sample.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
            })?;
        }
        Ok(())
    }
}

fn micros_to_seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

fn by_phase<'a>(of: impl Fn(Phase) -> u64) -> Samples<'a> {
    let sample = |phase: Phase| (Some(("phase", phase.name().into())), of(phase));
    Phase::ALL.into_iter().map(sample).collect()
}

fn by<'a>(label: &'static str, of: impl IntoIterator<Item = (Cow<'a, str>, u64)>) -> Samples<'a> {
    of.into_iter()
        .map(|(value, count)| (Some((label, value)), count))
        .collect()
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (stats, to) = (&self.stats, &mut encoder);
        let open = u64::try_from(stats.open()).unwrap_or_default();
        self.write(
            to,
            "extproc_streams",
            "Exchanges that are open",
            Kind::Gauge,
            vec![(None, open)],
        )?;
        let ends = End::ALL.map(|end| (end.name().into(), stats.ended(end)));
        self.write(
            to,
            "extproc_streams_total",
            "Exchanges that ended",
            Kind::Total,
            by("end", ends),
        )?;
        let messages = by_phase(|phase| stats.messages(phase));
        self.write(
            to,
            "extproc_messages",
            "Messages of Envoy",
            Kind::Counter,
            messages,
        )?;
        self.write_times(to)?;
        let answers = stats.immediates();
        let answers = answers
            .into_iter()
            .map(|(status, count)| (status.to_string().into(), count));
        self.write(
            to,
            "extproc_immediate",
            "Answers to clients",
            Kind::Counter,
            by("status", answers),
        )?;
        let failures = stats.failures();
        let failures = failures.into_iter().map(|(kind, count)| (kind.into(), count));
        self.write(
            to,
            "extproc_failures",
            "Exchanges that failed",
            Kind::Counter,
            by("kind", failures),
        )?;
        let limits = stats.limits();
        let limits = limits.into_iter().map(|(limit, count)| (limit.into(), count));
        self.write(
            to,
            "extproc_limits_hit",
            "Limits that were reached",
            Kind::Counter,
            by("limit", limits),
        )?;
        let late = by_phase(|phase| stats.deadlines(phase));
        self.write(
            to,
            "extproc_deadlines",
            "Handlers over their time",
            Kind::Counter,
            late,
        )?;
        let bytes = [Direction::Request, Direction::Response];
        let bytes = bytes.map(|direction| (direction.name().into(), stats.body_bytes(direction)));
        self.write(
            to,
            "extproc_body_bytes",
            "Bytes of bodies from Envoy",
            Kind::Counter,
            by("direction", bytes),
        )?;
        let memory = u64::try_from(self.memory.used()).unwrap_or(u64::MAX);
        let help = "Bytes that collected and written bodies take, in steps of 64 KiB";
        self.write(
            to,
            "extproc_body_memory_bytes",
            help,
            Kind::Gauge,
            vec![(None, memory)],
        )?;
        let again = vec![(None, stats.duplicate_ends())];
        self.write(
            to,
            "extproc_duplicate_eos",
            "Ends of bodies that Envoy sent again",
            Kind::Counter,
            again,
        )?;
        self.write(
            to,
            "extproc_panics",
            "Handlers that panicked",
            Kind::Counter,
            vec![(None, stats.panics())],
        )
    }
}
