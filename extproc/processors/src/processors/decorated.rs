//! `decorated`: the same as `digest`, put together from closures, as the Python SDK's example is from decorators.

use extproc::{Body, Closures, Exchange, Headers};

use super::digest::{State, begin, complete, give_back};

/// A processor that does what [`Digest`](super::Digest) does.
pub fn decorated() -> Closures<State> {
    extproc::processor("DecoratedExtProcService")
        .on_request_headers(async |exchange: Exchange<State>, headers: Headers| {
            Ok(begin(&exchange, &headers))
        })
        .on_request_body(async |exchange: Exchange<State>, body: Body| complete(&exchange, body).await)
        .on_response_headers(async |exchange: Exchange<State>, _: Headers| Ok(give_back(&exchange)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::Digest;
    use crate::testing::{BUFFERED, Talk};

    #[tokio::test]
    async fn does_what_digest_does_under_its_own_name() {
        let digest = Talk::new(Digest)
            .modes(BUFFERED)
            .put("/a", "body")
            .reply(200, "x")
            .await;
        let same = Talk::new(decorated())
            .modes(BUFFERED)
            .put("/a", "body")
            .reply(200, "x")
            .await;
        assert_eq!(same.upstream(), digest.upstream());
        let name = same.client_header("x-ext-procs-applied");
        assert_eq!(name.as_deref(), Some("DecoratedExtProcService"));
    }
}
