//! The command line. Every option is also an environment variable.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::{Parser, builder::FalseyValueParser};

use crate::duration::HumanDuration;

/// The test backend: answers HTTP and gRPC, misbehaves on request, and keeps a journal of what reached it.
#[derive(Clone, Debug, Parser)]
// Of an option given twice the last word counts, so a script can add to a base of options.
#[command(version, args_override_self = true)]
pub struct Options {
    /// Address of the HTTP port (HTTP/1 and h2c); port 0 takes a free one, which the journal's `ready` line names
    #[arg(long, env = "UPSTREAM_HTTP", default_value = "127.0.0.1:50001")]
    pub http: SocketAddr,

    /// Address of the gRPC port (h2c)
    #[arg(long, env = "UPSTREAM_GRPC", default_value = "127.0.0.1:50002")]
    pub grpc: SocketAddr,

    /// Name that `/` and the journal say
    #[arg(long, env = "UPSTREAM_NAME", default_value = "upstream")]
    pub name: String,

    /// Answer paths that are unknown as `/json` does, in place of 404: an echo server for processors
    #[arg(long, env = "UPSTREAM_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,

    /// Append the journal to this file, one JSON object a line
    #[arg(long, env = "UPSTREAM_JOURNAL", value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Wait so long before the main ports listen
    #[arg(
        long,
        env = "UPSTREAM_START_DELAY",
        value_name = "DURATION",
        default_value = "0s"
    )]
    pub start_delay: HumanDuration,

    /// Answer 200 at `/ready` of this address at once, long before the main ports listen; 503 after SIGTERM
    #[arg(long, env = "UPSTREAM_READY_LISTEN", value_name = "ADDRESS")]
    pub ready_listen: Option<SocketAddr>,

    /// Crash instead of listening, after the start delay
    #[arg(long, env = "UPSTREAM_CRASH", value_parser = FalseyValueParser::new())]
    pub crash: bool,

    /// Crash instead of listening, after the start delay, if this file exists then
    #[arg(long, env = "UPSTREAM_CRASH_WHILE_EXISTS", value_name = "FILE")]
    pub crash_while_exists: Option<PathBuf>,

    /// Say NOT_SERVING in `grpc.health.v1` from the start for as long as this file exists
    #[arg(long, env = "UPSTREAM_NOT_SERVING_WHILE_EXISTS", value_name = "FILE")]
    pub not_serving_while_exists: Option<PathBuf>,

    /// Exit code of the crash
    #[arg(long, env = "UPSTREAM_CRASH_CODE", value_name = "CODE", default_value_t = 3)]
    pub crash_code: u8,

    /// What the crash says on stderr
    #[arg(
        long,
        env = "UPSTREAM_CRASH_MESSAGE",
        value_name = "TEXT",
        default_value = "upstream: crashing as told"
    )]
    pub crash_message: String,

    /// Go on serving, new connections included, for so long after SIGTERM
    #[arg(long, env = "UPSTREAM_DRAIN", value_name = "DURATION", default_value = "0s")]
    pub drain: HumanDuration,

    /// After the drain time, wait at most so long for open requests to end
    #[arg(long, env = "UPSTREAM_GRACE", value_name = "DURATION", default_value = "10s")]
    pub grace: HumanDuration,

    /// Serve at most so many requests at a time over both ports, and answer 503 (gRPC: UNAVAILABLE) beyond
    #[arg(long, env = "UPSTREAM_MAX_CONCURRENCY", value_name = "N")]
    pub max_concurrency: Option<NonZeroU32>,
}
