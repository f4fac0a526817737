//! Serves one connection, for as long as it is of use.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::places::Place;
use super::pulse::{Patience, Pulse};
use super::{FAREWELL, LetThrough, Peer, Server};
use crate::http::standby::LastAnswer;

/// Between two questions whether the other end of an h2 connection is still there.
const PING: Duration = Duration::from_secs(20);
/// Streams of one h2 connection.
const MAX_STREAMS: u32 = 256;
/// What is kept of an HTTP/1 request's head, in bytes. A proxy's has some hundred.
const MAX_HEAD: usize = 32 << 10;

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

impl Server {
    /// Serves one connection until it ends, is of no use any more, or must make way. After `stop`, and after an answer
    /// that is to be its last, what is under way is still answered and nothing more is taken: HTTP/1 closes, h2 says
    /// GOAWAY.
    pub(super) fn attend(
        &self,
        stream: TcpStream,
        from: IpAddr,
        place: Place,
    ) -> impl Future<Output = Ended> + Send + 'static {
        let begun = Instant::now();
        let Self {
            router,
            limits,
            tls,
            metrics,
            refusals,
            stop,
        } = self.clone();
        let made_way = place.made_way();
        let connection = Connection {
            router,
            from,
            place: Arc::new(Mutex::new(place)),
            pulse: Arc::new(Pulse::new(begun)),
            patience: limits.patience,
            stop: stop.clone(),
        };
        let served = async move {
            // An answer to a poll is one small packet that a request waits for. It works without, only slower.
            let _ = stream.set_nodelay(true);
            let Some(tls) = tls else {
                return connection.serve(stream).await;
            };
            let shaken = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                shaken = timeout_at(begun + limits.patience.stranger, tls.accept(stream)) => shaken,
            };
            match shaken {
                Ok(Ok(stream)) => connection.serve(stream).await,
                Ok(Err(e)) => {
                    metrics.tls_failures.inc();
                    refusals.tls(from, &e);
                    Err(e.into())
                }
                Err(late) => {
                    metrics.tls_failures.inc();
                    Err(late.into())
                }
            }
        };
        async move {
            tokio::select! {
                ended = served => ended,
                () = made_way.cancelled() => Err("it made way for another".into()),
            }
        }
    }
}

/// All about one connection but its bytes.
struct Connection {
    router: Router,
    from: IpAddr,
    place: Arc<Mutex<Place>>,
    pulse: Arc<Pulse>,
    patience: Patience,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Ended {
        let Self {
            router,
            from,
            place,
            pulse,
            patience,
            stop,
        } = self;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // The pulse sees to time: it does so for both protocols, and knows which connection is a stranger's.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(PING);
        let last = stop.child_token();
        let answered = {
            let (router, last) = (TowerToHyperService::new(router), last.clone());
            let pulse = Arc::clone(&pulse);
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(from));
                let open = Open::new(Arc::clone(&pulse));
                let (answer, last, place) = (router.call(request), last.clone(), Arc::clone(&place));
                async move {
                    let response = answer.await?;
                    if response.extensions().get::<LetThrough>().is_some() {
                        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                        place.known();
                        if place.is_known() {
                            open.0.known();
                        }
                    }
                    if response.extensions().get::<LastAnswer>().is_some() {
                        last.cancel();
                    }
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let connection = builder.serve_connection(TokioIo::new(stream), answered);
        tokio::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = last.cancelled() => {}
            () = useless(&pulse, patience) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = useless(&pulse, patience) => {}
        }
        match tokio::time::timeout(FAREWELL.min(patience.stranger), connection).await {
            Ok(ended) => ended,
            Err(late) => Err(late.into()),
        }
    }
}

/// Waits until the connection has been of no use for too long.
async fn useless(pulse: &Pulse, patience: Patience) {
    while let Some(then) = pulse.next_look(Instant::now(), patience) {
        sleep_until(then).await;
    }
}

/// A request that waits for its answer.
struct Open(Arc<Pulse>);

impl Open {
    fn new(pulse: Arc<Pulse>) -> Self {
        pulse.asked();
        Self(pulse)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.answered(Instant::now());
    }
}
