//! `extproc call`: sends one request through a processor in any language, as Envoy 1.40 would, and shows what came of it. Without
//! Envoy and without an upstream: that is a mirror, which answers 200 with the body that it got.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, ValueEnum};
use extproc::{
    BodyMode,
    testing::{Envoy, Got, Seen, reply, request},
};

use crate::processors::Field;

/// The request, and how Envoy shows it.
#[derive(Clone, Debug, Args)]
pub(super) struct Call {
    /// Address of the processor, such as 127.0.0.1:50051
    address: String,

    /// Path of the request
    #[arg(default_value = "/")]
    path: String,

    /// Method; without it GET, or POST where there is a body
    #[arg(short = 'X', long)]
    method: Option<String>,

    /// A header, NAME: VALUE; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Field>,

    /// Body; @FILE reads it from a file
    #[arg(short, long, value_name = "TEXT")]
    data: Option<String>,

    /// How bodies of both directions are shown
    #[arg(long, default_value = "buffered")]
    mode: Mode,

    /// The most bytes of one chunk
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024)]
    chunk: usize,
}

/// Body modes by their names on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    None,
    Buffered,
    BufferedPartial,
    Streamed,
    FullDuplex,
}

impl From<Mode> for BodyMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::None => Self::None,
            Mode::Buffered => Self::Buffered,
            Mode::BufferedPartial => Self::BufferedPartial,
            Mode::Streamed => Self::Streamed,
            Mode::FullDuplex => Self::FullDuplex,
        }
    }
}

impl Call {
    /// Fails where the processor answers as Envoy would not take it, or cannot be reached.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        ensure!(self.chunk > 0, "--chunk has to be at least 1");
        let address = if self.address.contains("://") {
            self.address.clone()
        } else {
            format!("http://{}", self.address)
        };
        let reachable = address.trim_start_matches("http://").to_owned();
        tokio::net::TcpStream::connect(&reachable)
            .await
            .with_context(|| format!("cannot reach {reachable}"))?;
        let method = match (&self.method, &self.data) {
            (Some(method), _) => method,
            (None, Some(_)) => "POST",
            (None, None) => "GET",
        };
        let mut sent = request(method, &self.path);
        for Field(name, value) in &self.headers {
            sent = sent.header(name, value);
        }
        if let Some(data) = &self.data {
            sent = sent.body(match data.strip_prefix('@') {
                Some(file) => fs::read(file).with_context(|| file.to_owned())?,
                None => data.clone().into_bytes(),
            });
        }
        let got = Envoy::connect(address)
            .map_err(|error| anyhow!("{}: {error}", self.address))?
            .modes(self.mode.into())
            .chunk(self.chunk)
            .lenient()
            .request(sent)
            .upstream(|request| reply(200).body(request.body().clone()))
            .await;
        show(&got, &mut io::stdout().lock())?;
        let count = got.violations().len();
        ensure!(count == 0, "{count} answers are not as Envoy takes them");
        Ok(())
    }
}

fn show(got: &Got, out: &mut impl Write) -> io::Result<()> {
    if got.reached_upstream() {
        writeln!(out, "--> upstream")?;
        show_seen(got.upstream(), out)?;
    } else {
        writeln!(out, "--> upstream: nothing")?;
    }
    match got.immediate() {
        Some(_) => writeln!(out, "<-- client, answered by the processor")?,
        None => writeln!(out, "<-- client")?,
    }
    show_seen(got.client(), out)?;
    for violation in got.violations() {
        writeln!(out, "!!! {violation}")?;
    }
    Ok(())
}

fn show_seen(seen: &Seen, out: &mut impl Write) -> io::Result<()> {
    for (name, value) in seen.headers() {
        writeln!(out, "{name}: {}", String::from_utf8_lossy(value))?;
    }
    writeln!(out)?;
    if !seen.body().is_empty() {
        out.write_all(seen.body())?;
        writeln!(out)?;
    }
    if seen.is_reset() {
        writeln!(out, "(reset)")?;
    }
    Ok(())
}
