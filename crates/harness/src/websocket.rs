//! A WebSocket client on a connection of its own.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::Response;

/// An open WebSocket. Dropping it closes the connection without a close frame.
pub struct WebSocket {
    socket: WebSocketStream<TcpStream>,
    /// The answer to the handshake.
    pub response: Response,
}

impl WebSocket {
    /// Connects to `port` of 127.0.0.1 and asks for `ws://authority/path`.
    pub async fn open(port: u16, authority: &str, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (socket, response) =
            tokio_tungstenite::client_async(format!("ws://{authority}{path}"), stream).await?;
        Ok(Self { socket, response })
    }

    /// Sends `text` and returns the next text that comes back.
    pub async fn echo(&mut self, text: &str) -> anyhow::Result<String> {
        self.socket.send(Message::text(text)).await?;
        loop {
            match self.socket.next().await {
                Some(message) => {
                    if let Message::Text(text) = message? {
                        return Ok(text.as_str().to_owned());
                    }
                }
                None => anyhow::bail!("closed by the other side"),
            }
        }
    }

    /// Closes as the protocol says.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.socket.close(None).await?;
        while let Some(Ok(_)) = self.socket.next().await {}
        Ok(())
    }
}
