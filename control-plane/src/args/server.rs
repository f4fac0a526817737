//! Options of `serve` on which callers it answers, and where.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Options of `serve` on which callers it answers, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Where to listen, for HTTP/1.1 and HTTP/2. Port 0 takes a free one, which the log names. Beyond loopback it takes
    /// a token, or a certificate of its callers.
    #[arg(
        long,
        env = "HOLDFAST_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7001"
    )]
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are answered, in plain text and without a token. Default: at --listen.
    #[arg(long, env = "HOLDFAST_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Shared secret that callers must send as `authorization: Bearer`.
    #[arg(
        long,
        env = "HOLDFAST_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    pub token: Option<String>,
    /// File that holds the shared secret; on two lines, the old one and the new one. It is read again when it changes.
    #[arg(long, env = "HOLDFAST_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Shared secret that is good for the calls of proxies only.
    #[arg(
        long,
        env = "HOLDFAST_PROXY_TOKEN",
        hide_env_values = true,
        conflicts_with = "proxy_token_file"
    )]
    pub proxy_token: Option<String>,
    /// File that holds it, as --token-file.
    #[arg(long, env = "HOLDFAST_PROXY_TOKEN_FILE", value_name = "FILE")]
    pub proxy_token_file: Option<PathBuf>,
    /// Shared secret that is good for all other calls only: those of people.
    #[arg(
        long,
        env = "HOLDFAST_OPERATOR_TOKEN",
        hide_env_values = true,
        conflicts_with = "operator_token_file"
    )]
    pub operator_token: Option<String>,
    /// File that holds it, as --token-file.
    #[arg(long, env = "HOLDFAST_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// Listen beyond loopback without a token: every caller may then wake targets and send them to sleep.
    #[arg(long, env = "HOLDFAST_INSECURE_NO_TOKEN")]
    pub insecure_no_token: bool,
    /// PEM file of the certificate to show, and what leads to its authority. Read again when it changes.
    #[arg(long, env = "HOLDFAST_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key. Read again when it changes.
    #[arg(long, env = "HOLDFAST_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of authorities: callers must show a certificate of one of them. Read again when it changes.
    #[arg(
        long,
        env = "HOLDFAST_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
}
