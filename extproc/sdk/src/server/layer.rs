//! A tower layer around the service of a server, whatever its type.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::server::NamedService;
use tower::Layer;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::service::ExternalProcessor;
use crate::wire::SERVICE;

/// Puts a layer around a service.
pub(super) type Wrap<P> = Box<dyn FnOnce(ExternalProcessor<P>) -> Layered + Send>;

/// A service in a layer.
#[derive(Clone)]
pub(super) struct Layered(BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>);

pub(super) fn wrap<P, L, B>(layer: L) -> Wrap<P>
where
    L: Layer<ExternalProcessor<P>> + Send + 'static,
    L::Service:
        Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    Box::new(move |service| {
        let service = layer
            .layer(service)
            .map_response(|response: Response<B>| response.map(Body::new));
        Layered(BoxCloneSyncService::new(service))
    })
}

impl NamedService for Layered {
    const NAME: &'static str = SERVICE;
}

impl Service<Request<Body>> for Layered {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        <BoxCloneSyncService<Request<Body>, Response<Body>, Infallible> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}
