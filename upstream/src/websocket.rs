//! The WebSocket echo: text and binary messages come back as they were, one at a time.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
};
use tokio::select;
use tokio_util::sync::CancellationToken;

use crate::{admit::Slot, app::App};

/// Largest message taken, in bytes. Tests send small ones; a larger one ends the socket.
const MAX_MESSAGE: usize = 1 << 20;

pub(crate) async fn echo(
    State(app): State<App>,
    Extension(slot): Extension<Arc<Slot>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(move |socket| async move {
            converse(socket, &app.closing).await;
            // The answer to the upgrade ended long ago: this is what kept the request in.
            drop(slot);
        })
}

async fn converse(mut socket: WebSocket, closing: &CancellationToken) {
    loop {
        let message = select! {
            () = closing.cancelled() => return part(socket).await,
            message = socket.recv() => message,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // axum answers pings and closes by itself; after a close `recv` gives `None`.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Says goodbye and waits for the client to say so too. The caller's grace time bounds the wait.
async fn part(mut socket: WebSocket) {
    let goodbye = CloseFrame {
        code: close_code::AWAY,
        reason: "stopping".into(),
    };
    if socket.send(Message::Close(Some(goodbye))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
