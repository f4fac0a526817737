//! Facts that must hold with the singleton service and with an elected relay.

/// Makes two tests of each function: with the singleton service, and with a relay elected among the workers.
///
/// ```ignore
/// both_relays! {
///     async fn a_request_wakes_the_workload(stack: StackBuilder) { .. }
/// }
/// ```
#[macro_export]
macro_rules! both_relays {
    ($($(#[$meta:meta])* async fn $name:ident($stack:ident: StackBuilder) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn check($stack: $crate::StackBuilder) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn with_the_singleton() {
                check($crate::Stack::builder()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn with_an_elected_relay() {
                check($crate::Stack::builder().singleton(false)).await;
            }
        }
    )*};
}
