//! The gRPC port: `holdfast.echo.v1.Echo`, `grpc.health.v1.Health` and reflection (v1 and v1alpha).

use std::{pin::Pin, process, time::Duration};

use axum::{Router, middleware};
use futures_util::{Stream, StreamExt, future, stream};
use tokio::time;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::{Builder, Error};

use crate::{
    admit,
    app::App,
    duration::HumanDuration,
    echo::{
        self, EchoRequest, EchoResponse, ServerStreamRequest,
        echo_server::{Echo, EchoServer},
    },
};

/// Tells clients of `grpc.health.v1` how the backend is.
#[derive(Clone, Debug)]
pub(crate) struct Health(HealthReporter);

type Answer = Result<EchoResponse, Status>;
type Answers = Pin<Box<dyn Stream<Item = Answer> + Send>>;

struct EchoService {
    app: App,
}

/// Every gRPC service, with the journal in front, and healthy.
///
/// # Errors
/// When the descriptors that reflection serves cannot be read.
pub async fn router(app: App) -> Result<Router, Error> {
    Ok(with_health(app).await?.0)
}

/// The same, with the means to become unhealthy.
pub(crate) async fn with_health(app: App) -> Result<(Router, Health), Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<EchoServer<EchoService>>().await;
    let echo = EchoServer::new(EchoService { app: app.clone() });
    let routes = Routes::new(echo)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let router = routes
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn_with_state(app, admit::admit));
    Ok((router, Health(reporter)))
}

impl Health {
    /// From now on every service says SERVING.
    pub(crate) async fn serve(&self) {
        self.0.set_service_status("", ServingStatus::Serving).await;
        self.0.set_serving::<EchoServer<EchoService>>().await;
    }

    /// From now on every service says NOT_SERVING.
    pub(crate) async fn fail(&self) {
        self.0.set_service_status("", ServingStatus::NotServing).await;
        self.0.set_not_serving::<EchoServer<EchoService>>().await;
    }
}

fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(echo::DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[tonic::async_trait]
impl Echo for EchoService {
    type ServerStreamStream = Answers;
    type BidirectionalStream = Answers;

    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        Ok(Response::new(answer(request.into_inner(), 0).await?))
    }

    async fn server_stream(
        &self,
        request: Request<ServerStreamRequest>,
    ) -> Result<Response<Answers>, Status> {
        let ServerStreamRequest {
            message,
            count,
            period_ms,
        } = request.into_inner();
        let cut = self.app.cut(count == 0);
        let count = if count == 0 { u64::MAX } else { count };
        let period = span(period_ms)?;
        let answers = stream::unfold((message, 0_u64), move |(message, index)| async move {
            if index == count {
                return None;
            }
            if index > 0 {
                time::sleep(period).await;
            }
            let answer = EchoResponse {
                message: message.clone(),
                index,
                pid: process::id(),
            };
            Some((Ok(answer), (message, index + 1)))
        });
        Ok(Response::new(until(cut, answers)))
    }

    async fn bidirectional(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let answers = request
            .into_inner()
            .enumerate()
            .then(|(index, message)| async move {
                // A stream of 2^64 messages does not end in our time.
                answer(message?, u64::try_from(index).unwrap_or(u64::MAX)).await
            });
        Ok(Response::new(until(self.app.cut(true), answers)))
    }
}

/// `answers`, or as many of them as come before `cut`; then the client is told that this was not the end.
fn until(
    cut: impl Future<Output = ()> + Send + 'static,
    answers: impl Stream<Item = Answer> + Send + 'static,
) -> Answers {
    let last_word = stream::once(cut).map(|()| Some(Err(Status::unavailable("the backend is stopping"))));
    // `None` marks the end of the answers: `select` by itself would wait for `cut` as well.
    let answers = answers.map(Some).chain(stream::once(future::ready(None)));
    let merged = stream::select(answers, last_word);
    Box::pin(merged.scan(false, |ended, item| {
        let item = if *ended { None } else { item };
        *ended |= matches!(item, Some(Err(_)));
        future::ready(item)
    }))
}

async fn answer(request: EchoRequest, index: u64) -> Answer {
    let EchoRequest { message, delay_ms } = request;
    time::sleep(span(delay_ms)?).await;
    Ok(EchoResponse {
        message,
        index,
        pid: process::id(),
    })
}

fn span(ms: u64) -> Result<Duration, Status> {
    HumanDuration::try_from_ms(ms)
        .map(HumanDuration::duration)
        .map_err(|failure| Status::invalid_argument(failure.to_string()))
}
