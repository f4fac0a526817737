//! `warm`: what the filter costs a request to a workload that is up.

use anyhow::bail;

use crate::args::Size;
use crate::report::Report;

/// Measures.
#[expect(clippy::unused_async, reason = "not written yet")]
pub(crate) async fn measure(_size: Size, _report: &mut Report) -> anyhow::Result<()> {
    bail!("not written yet")
}
