//! `noop`: lets everything pass unchanged, and is named in the chain header. The Python SDK's `BaseExtProcService`.

use std::borrow::Cow;

use extproc::Processor;

/// Lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

impl Processor for Noop {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("BaseExtProcService")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, STREAMED, Talk};

    #[tokio::test]
    async fn changes_nothing_but_the_chain_header() {
        for mode in [BUFFERED, STREAMED] {
            let talk = Talk::new(Noop)
                .modes(mode)
                .put("/a", "body")
                .reply(200, "answer")
                .await;
            assert_eq!(talk.upstream(), talk.sent(), "{mode:?}");
            assert_eq!(talk.upstream_body(), "body");
            assert_eq!(
                talk.client_header("x-ext-procs-applied"),
                Some("BaseExtProcService".into())
            );
            assert_eq!(talk.client_body(), "answer");
        }
    }
}
