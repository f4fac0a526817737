//! A processor served in the test process.

use std::net::SocketAddr;
use std::path::PathBuf;

use extproc::{Processor, ServeError, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where a processor listens.
#[derive(Clone)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A running server. It is cut off when the handle is dropped.
pub(crate) struct Served {
    endpoint: Endpoint,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// Serves `processor` on a free port, with a change of the server.
pub(crate) async fn serve<P: Processor>(processor: P, change: impl FnOnce(Server<P>) -> Server<P>) -> Served {
    let (stop, stopped) = oneshot::channel();
    let server = Server::new(processor)
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
        .shutdown(async {
            let _ = stopped.await;
        });
    let bound = change(server).bind().await.unwrap();
    let address = bound.addresses()[0];
    Served {
        endpoint: Endpoint::Tcp(address),
        stop: Some(stop),
        task: tokio::spawn(bound.serve()),
    }
}

/// The same on a unix socket.
pub(crate) async fn serve_unix<P: Processor>(processor: P, path: PathBuf) -> Served {
    let (stop, stopped) = oneshot::channel();
    let server = Server::new(processor)
        .listen(extproc::uds(&path))
        .shutdown(async {
            let _ = stopped.await;
        });
    let bound = server.bind().await.unwrap();
    Served {
        endpoint: Endpoint::Unix(path),
        stop: Some(stop),
        task: tokio::spawn(bound.serve()),
    }
}

impl Served {
    /// Where Envoy finds it.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Tells it to stop.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(mut self) {
        self.stop();
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
