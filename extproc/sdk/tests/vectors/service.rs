//! The name of the service and the path of its method, as a client that is generated from the whole interface calls them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::ext_proc::v3 as theirs;
use extproc::wire;
use theirs::external_processor_client::ExternalProcessorClient;
use theirs::external_processor_server::SERVICE_NAME;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

/// Answers every call with an error, and keeps its path.
#[derive(Clone, Default)]
struct Paths(Arc<Mutex<Vec<String>>>);

impl Service<http::Request<Body>> for Paths {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.lock().unwrap().push(request.uri().path().to_owned());
        ready(Ok(Status::aborted("seen").into_http()))
    }
}

#[tokio::test]
async fn the_service_and_its_method_have_the_published_names() {
    assert_eq!(wire::SERVICE, SERVICE_NAME);
    let paths = Paths::default();
    let mut client = ExternalProcessorClient::new(paths.clone());
    let status = client
        .process(futures_util::stream::empty::<theirs::ProcessingRequest>())
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted);
    assert_eq!(*paths.0.lock().unwrap(), [wire::METHOD]);
}

#[test]
fn the_descriptors_name_the_service_and_its_messages() {
    use prost::Message as _;
    let files = prost_types::FileDescriptorSet::decode(wire::DESCRIPTORS).unwrap();
    let services: Vec<String> = files
        .file
        .iter()
        .flat_map(|file| {
            file.service
                .iter()
                .map(|service| format!("{}.{}", file.package(), service.name()))
        })
        .collect();
    assert_eq!(services, [wire::SERVICE]);
}
