//! The command line, and what is run for it.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::report::Report;
use crate::{bodies, burst, churn, fleet, held, hop, idle, pages, release, size, wake, warm};

/// `bench [NAME..]`
#[derive(Debug, clap::Parser)]
#[command(bin_name = "cargo xtask bench")]
pub struct Args {
    /// Only these; all of them if none is named
    names: Vec<Name>,
    /// Only see that it works: little work, few rounds, figures that mean nothing
    #[arg(long)]
    quick: bool,
    /// Put the tables into bench/README.md and README.md
    #[arg(long, conflicts_with = "quick")]
    write: bool,
    /// Measure nothing: take what was measured last
    #[arg(long, requires = "write")]
    last: bool,
    /// Where NAME.json goes
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// How much work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What is published.
    Full,
    /// What shows that a benchmark works.
    Quick,
}

impl Size {
    /// One of two amounts.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }

    /// Interleaved rounds.
    pub(crate) fn rounds(self) -> usize {
        self.pick(7, 1)
    }
}

/// The benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Name {
    /// What the filter costs a request to a workload that is up
    Warm,
    /// The same against a second proxy in the path, and against a callout for each request
    Hop,
    /// What a held request costs: memory, and CPU while nothing happens
    Held,
    /// From ready to the last answer of many held requests, and their order
    Release,
    /// From the moment the workload accepts connections to the first byte at the client, in parts
    Wake,
    /// A step of load on a target that takes a second to start
    Burst,
    /// Envoy's memory while large uploads are held and let go
    Bodies,
    /// One Envoy that knows many targets and has no traffic
    Idle,
    /// The control plane with many targets and many proxies
    Fleet,
    /// What a change costs a worker and the relay
    Churn,
    /// The module's size, and the start of its VM
    Size,
}

impl Name {
    /// Runs it.
    ///
    /// # Errors
    /// If it could not be measured.
    pub async fn measure(self, size: Size) -> anyhow::Result<Report> {
        let mut report = Report::new(&self.to_string(), size == Size::Quick);
        match self {
            Self::Warm => warm::measure(size, &mut report).await?,
            Self::Hop => hop::measure(size, &mut report).await?,
            Self::Held => held::measure(size, &mut report).await?,
            Self::Release => release::measure(size, &mut report).await?,
            Self::Wake => wake::measure(size, &mut report).await?,
            Self::Burst => burst::measure(size, &mut report).await?,
            Self::Bodies => bodies::measure(size, &mut report).await?,
            Self::Idle => idle::measure(size, &mut report).await?,
            Self::Fleet => fleet::measure(size, &mut report).await?,
            Self::Churn => churn::measure(size, &mut report).await?,
            Self::Size => size::measure(size, &mut report).await?,
        }
        Ok(report)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("no benchmark is hidden");
        f.write_str(value.get_name())
    }
}

impl Args {
    /// Runs what is asked for, one after the other; prints each table as soon as it is there.
    ///
    /// # Errors
    /// If one of them could not be measured, or the results not be written. A goal that was missed is no error.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self {
            mut names,
            quick,
            write,
            last,
            out,
        } = self;
        if names.is_empty() {
            names = <Name as clap::ValueEnum>::value_variants().to_vec();
        }
        let size = if quick { Size::Quick } else { Size::Full };
        std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        for name in names {
            let path = out.join(format!("{name}.json"));
            if last {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let report = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
                pages::publish(&report)?;
                continue;
            }
            eprintln!("bench: {name}");
            let report = name
                .measure(size)
                .await
                .with_context(|| format!("bench {name}"))?;
            std::fs::write(&path, report.json()?).with_context(|| path.display().to_string())?;
            println!("\n## {name}\n\n{}", report.markdown());
            if write {
                pages::publish(&report)?;
            }
        }
        Ok(())
    }
}
