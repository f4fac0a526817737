//! `bench [NAME..]`: started by `cargo xtask bench`, which has built everything that is run.

use clap::Parser as _;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    bench::Args::parse().run().await
}
