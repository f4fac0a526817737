//! Tokens, certificate and authorities: read at the start, and again when their files change. What has become unusable
//! changes nothing: one line in the log names the file and the reason.
//!
//! Files are read each second rather than watched: a mount that swaps links, one of a single file and one over a
//! network tell a watcher different things, or nothing.

mod file;

use std::time::Duration;

use anyhow::{anyhow, bail};
use tracing::{error, info, warn};

use crate::args::ServerArgs;
use crate::http::auth::{Keyring, Token, Tokens};
use crate::http::server::tls::{Part, Pem, Refusal, Tls};
use file::{Contents, File, Group};

/// Between two looks. A change is taken when two in a row have seen it: it may be half written at the first.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Largest file of tokens, in bytes.
const MAX_TOKENS: u64 = 64 << 10;
/// Largest file of certificates, in bytes. Every authority that browsers know takes less.
const MAX_PEM: u64 = 1 << 20;

/// All that may be asked of callers or shown to them.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// The tokens as they are now.
    pub(crate) keys: Keyring,
    /// TLS as it is now. `None`: plain text.
    pub(crate) tls: Option<Tls>,
    /// True if callers must show a certificate.
    pub(crate) knows_callers: bool,
    /// Those for every call, for proxies, for people.
    tokens: [Vec<Token>; 3],
    token_files: Vec<(usize, Group)>,
    /// Chain, key, and authorities if any.
    tls_files: Option<Group>,
}

impl Secrets {
    /// Reads all of them.
    ///
    /// # Errors
    /// One line for the first that cannot be used, and a refusal where any caller could call from afar without a token.
    pub(crate) fn read(args: &ServerArgs) -> anyhow::Result<Self> {
        let options = [
            ("--token", &args.token, "--token-file", &args.token_file),
            (
                "--proxy-token",
                &args.proxy_token,
                "--proxy-token-file",
                &args.proxy_token_file,
            ),
            (
                "--operator-token",
                &args.operator_token,
                "--operator-token-file",
                &args.operator_token_file,
            ),
        ];
        let mut tokens = [const { Vec::new() }; 3];
        let mut token_files = Vec::new();
        for (which, ((option, text, file_option, path), tokens)) in
            options.into_iter().zip(&mut tokens).enumerate()
        {
            if let Some(text) = text {
                let token = Token::try_new(text).map_err(|reason| anyhow!("{option}: {reason}"))?;
                *tokens = vec![token];
                warn_of_weak(option, tokens);
            } else if let Some(path) = path {
                let file = File::new(file_option, path, MAX_TOKENS);
                let group = Group::read(vec![file]);
                *tokens = tokens_of(&group, group.seen()).map_err(|line| anyhow!(line))?;
                token_files.push((which, group));
            }
        }
        let tls_files = match (&args.tls_cert, &args.tls_key) {
            (Some(chain), Some(key)) => {
                let mut files = vec![
                    File::new("--tls-cert", chain, MAX_PEM),
                    File::new("--tls-key", key, MAX_PEM),
                ];
                files.extend(
                    args.tls_client_ca
                        .as_ref()
                        .map(|path| File::new("--tls-client-ca", path, MAX_PEM)),
                );
                Some(Group::read(files))
            }
            _ => None,
        };
        let tls = tls_files.as_ref().map(|group| {
            let pem = pem_of(group, group.seen()).map_err(|line| anyhow!(line))?;
            if let Some(line) = group.file(1).and_then(File::warning) {
                warn!(event = "exposed", "{line}");
            }
            Tls::try_new(pem).map_err(|refusal| anyhow!(line_of(group, &refusal)))
        });
        let new = Self {
            keys: Keyring::new(assemble(&tokens)),
            tls: tls.transpose()?,
            knows_callers: args.tls_client_ca.is_some(),
            tokens,
            token_files,
            tls_files,
        };
        new.check_reach(args)?;
        Ok(new)
    }

    fn check_reach(&self, args: &ServerArgs) -> anyhow::Result<()> {
        let asks_who = self.knows_callers || !self.keys.tokens().is_empty();
        if asks_who || args.listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        if !args.insecure_no_token {
            bail!(
                "--listen {} is beyond loopback: give it a --token-file or a --tls-client-ca, or say --insecure-no-token",
                args.listen
            );
        }
        warn!(
            event = "open_to_all",
            "everybody who reaches {} may wake and send to sleep", args.listen
        );
        Ok(())
    }

    /// Takes in what changes, for ever.
    pub(crate) async fn follow(mut self) {
        if self.token_files.is_empty() && self.tls_files.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(after) => self = after,
                Err(e) => return error!("tokens and certificates are no longer read: {e}"),
            }
        }
    }

    fn look(&mut self) {
        for (which, group) in &mut self.token_files {
            let Some(contents) = group.look() else {
                continue;
            };
            match (tokens_of(group, &contents), self.tokens.get_mut(*which)) {
                (Ok(new), Some(tokens)) => {
                    *tokens = new;
                    self.keys.replace(assemble(&self.tokens));
                    info!(event = "tokens_changed", "{group}: tokens changed");
                }
                (Err(line), _) => error!(event = "refused", "{line}: keeping the last good tokens"),
                (Ok(_), None) => {}
            }
        }
        if let (Some(tls), Some(group)) = (&self.tls, &mut self.tls_files)
            && let Some(contents) = group.look()
        {
            let pem = pem_of(group, &contents);
            let replaced = pem.and_then(|pem| tls.replace(pem).map_err(|refusal| line_of(group, &refusal)));
            match replaced {
                Ok(()) => info!(event = "certificates_changed", "{group}: certificates changed"),
                Err(line) => error!(event = "refused", "{line}: keeping the last good certificates"),
            }
        }
    }
}

fn assemble([all, proxies, operators]: &[Vec<Token>; 3]) -> Tokens {
    Tokens {
        all: all.clone(),
        proxies: proxies.clone(),
        operators: operators.clone(),
    }
}

fn tokens_of(group: &Group, contents: &Contents) -> Result<Vec<Token>, String> {
    let text = group.content(contents, 0)?;
    let tokens = Token::try_lines(text).map_err(|reason| format!("{group}: {reason}"))?;
    warn_of_weak(&group.to_string(), &tokens);
    if let Some(line) = group.file(0).and_then(File::warning) {
        warn!(event = "exposed", "{line}");
    }
    Ok(tokens)
}

fn warn_of_weak(origin: &str, tokens: &[Token]) {
    if tokens.iter().any(Token::is_weak) {
        warn!(
            event = "weak_token",
            "{origin}: a token is shorter than 16 bytes and may be guessed"
        );
    }
}

fn pem_of<'a>(group: &Group, contents: &'a Contents) -> Result<Pem<'a>, String> {
    let client_ca = group.file(2).map(|_| group.content(contents, 2)).transpose()?;
    Ok(Pem {
        chain: group.content(contents, 0)?,
        key: group.content(contents, 1)?,
        client_ca,
    })
}

fn line_of(group: &Group, refusal: &Refusal) -> String {
    let which = match refusal.part {
        Part::Chain => 0,
        Part::Key => 1,
        Part::ClientCa => 2,
    };
    let name = group.file(which).map(ToString::to_string).unwrap_or_default();
    format!("{name}: {}", refusal.reason)
}
