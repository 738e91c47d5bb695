//! How a service reaches its broker: the options that all services share, and a proof that the broker has done what
//! was asked.

use crate::ServiceError;
use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::time::Duration;

/// The options of every service that speaks to NATS.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Broker")]
pub struct NatsArgs {
    /// Address of the NATS server, as in nats://127.0.0.1:4222 (tls:// for TLS; several, separated by commas, for a cluster)
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// Credentials file (JWT and seed) to authenticate with
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "token"])]
    pub creds: Option<PathBuf>,
    /// User to authenticate as
    #[arg(long, value_name = "NAME", requires = "password", conflicts_with = "token")]
    pub user: Option<String>,
    /// Password of that user
    #[arg(
        long,
        value_name = "WORD",
        requires = "user",
        env = "NATS_PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// Token to authenticate with
    #[arg(long, value_name = "TOKEN", env = "NATS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// PEM file of the certificate authority that signed the server's certificate; asks for TLS
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

impl NatsArgs {
    /// The address as given, or NATS's own default.
    pub fn url(&self) -> &str {
        self.nats.as_deref().unwrap_or("nats://127.0.0.1:4222")
    }

    /// Connects under `name`, with room for `subscription_capacity` undelivered messages a subscription.
    /// `on_event` hears of disconnections, slow consumers and errors.
    ///
    /// # Errors
    /// [`ServiceError::Connect`] with the address, the cause and what to do.
    pub async fn connect(
        &self,
        name: &str,
        subscription_capacity: usize,
        on_event: impl Fn(async_nats::Event) + Send + Sync + 'static,
    ) -> Result<Client, ServiceError> {
        let url = self.url();
        let refused = |cause: String, hint| ServiceError::Connect {
            url: url.to_owned(),
            cause,
            hint,
        };
        let mut options = ConnectOptions::new()
            .name(name)
            .subscription_capacity(subscription_capacity)
            .event_callback(move |event| {
                on_event(event);
                std::future::ready(())
            });
        if let Some(path) = &self.creds {
            options = options.credentials_file(path).await.map_err(|cause| {
                refused(
                    format!("credentials {}: {cause}", path.display()),
                    "give a readable --creds file",
                )
            })?;
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some(path) = &self.tls_ca {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        let addresses: Vec<&str> = url.split(',').map(str::trim).collect();
        options.connect(addresses.as_slice()).await.map_err(|cause| {
            let hint = match cause.kind() {
                ConnectErrorKind::ServerParse => "write it as nats://HOST:PORT",
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    "check --creds, --user and --password, or --token"
                }
                ConnectErrorKind::Tls => "check --tls-ca and that the server speaks TLS",
                _ => "start one with `nats-server -p 4222`, or give its address with --nats",
            };
            refused(cause.to_string(), hint)
        })
    }
}

/// Returns once the server has processed everything that this connection has sent so far.
///
/// The client's own flush ends when the bytes are in the socket. The server handles one connection's commands in
/// order, so a message that this connection sends to itself comes back only after everything before it has been done.
///
/// # Errors
/// [`ServiceError::Nats`] if the connection is closed or the answer does not come within `limit`.
pub async fn confirm(client: &Client, limit: Duration) -> Result<(), ServiceError> {
    let failed = |cause: String| ServiceError::Nats {
        action: "confirming with the server".to_owned(),
        cause,
    };
    let inbox = client.new_inbox();
    let mut echo = client
        .subscribe(inbox.clone())
        .await
        .map_err(|cause| failed(cause.to_string()))?;
    client
        .publish(inbox, bytes::Bytes::new())
        .await
        .map_err(|cause| failed(cause.to_string()))?;
    match tokio::time::timeout(limit, echo.next()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(failed("the connection is closed".to_owned())),
        Err(_) => Err(failed(format!("no answer within {} ms", limit.as_millis()))),
    }
}
