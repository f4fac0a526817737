//! Servers of one test, their processors, and clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use extproc::wire::{METHOD, ProcessingRequest, ProcessingResponse};
use extproc::{Body, BodyReply, End, Exchange, Headers, HeadersReply, Processor, Reply, ServeError, Server};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// What the tests' processor did.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    ends: Arc<Mutex<Vec<End>>>,
    pub(crate) changed: Arc<Notify>,
    pub(crate) began: Arc<Notify>,
    pub(crate) go: Arc<Notify>,
}

impl Seen {
    pub(crate) fn ends(&self) -> Vec<End> {
        self.ends.lock().unwrap().clone()
    }

    /// Waits until so many exchanges have ended.
    pub(crate) async fn ended(&self, count: usize) -> Vec<End> {
        loop {
            let changed = self.changed.notified();
            let ends = self.ends();
            if ends.len() >= count {
                return ends;
            }
            in_time(changed).await;
        }
    }
}

/// A processor whose request headers wait for `go` where the path is `/wait`, and which collects bodies.
pub(crate) struct Waits(pub(crate) Seen);

impl Processor for Waits {
    type State = ();

    async fn request_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        self.0.began.notify_one();
        if exchange.path() == Some("/wait") {
            self.0.go.notified().await;
        }
        Ok(HeadersReply::unchanged().set("x-seen", "1"))
    }

    async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        self.0.began.notify_one();
        body.collect().await?;
        Ok(BodyReply::unchanged())
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        self.0.ends.lock().unwrap().push(end);
        self.0.changed.notify_waiters();
    }
}

/// A server that runs, and how to stop it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub(crate) async fn new<P: Processor>(server: Server<P>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let bound = server
            .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .shutdown(async move {
                stopped.await.ok();
            })
            .bind()
            .await
            .unwrap();
        Self {
            address: bound.addresses()[0],
            metrics: bound.metrics_address(),
            stop: Some(stop),
            served: tokio::spawn(bound.serve()),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Until it has stopped.
    pub(crate) async fn stopped(self) {
        in_time(self.served).await.unwrap().unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        in_time(endpoint.connect()).await.unwrap()
    }
}

/// No test waits for ever.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("must happen within a minute")
}

pub(crate) type Answers = Response<Streaming<ProcessingResponse>>;

/// Opens a call. What is sent to the sender goes to the processor.
pub(crate) fn open(
    channel: Channel,
) -> (
    mpsc::UnboundedSender<ProcessingRequest>,
    impl Future<Output = Result<Answers, Status>>,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let messages = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let answers = async move {
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ProcessingRequest, ProcessingResponse>::default();
        grpc.streaming(Request::new(messages), PathAndQuery::from_static(METHOD), codec)
            .await
    };
    (sender, answers)
}

/// The bytes of a gRPC message.
pub(crate) fn framed(message: &ProcessingRequest) -> Bytes {
    let content = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    frame.extend(content);
    frame.into()
}

/// An HTTP/2 connection, frame by frame.
pub(crate) async fn h2(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    in_time(sender.ready()).await.unwrap()
}

/// A call on it.
pub(crate) fn call(
    sender: &mut h2::client::SendRequest<Bytes>,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let request = http::Request::post(format!("http://localhost{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    sender.send_request(request, false).unwrap()
}
