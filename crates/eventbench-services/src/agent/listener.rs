//! Connections: the port, the accepting loop that deals them out to the workers in turn, and TLS.

use super::args::Args;
use crate::ServiceError;
use axum::serve::Listener;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4_096;

/// Longest time that a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Pause after a failure to accept that is not one connection's own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
pub(crate) type Accepted = (std::net::TcpStream, SocketAddr);

/// Opens the port.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let failed = |cause: io::Error| {
        let hint = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "; stop what listens there, or give --listen another port, or port 0 for a free one"
            }
            io::ErrorKind::AddrNotAvailable => "; give --listen an address of this machine, as in 127.0.0.1:8000",
            io::ErrorKind::PermissionDenied => "; give --listen a port from 1024 on",
            _ => "",
        };
        ServiceError::Open {
            what: "listening address",
            place: address.to_string(),
            cause: io::Error::new(cause.kind(), format!("{cause}{hint}")),
        }
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's backlog is short for thousands of clients that come at once; a second call replaces it.
    rustix::net::listen(&listener, BACKLOG).map_err(|errno| failed(errno.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Accepts connections and deals them out to the workers in turn, for ever.
pub(crate) async fn deal(listener: &tokio::net::TcpListener, workers: &[mpsc::UnboundedSender<Accepted>]) {
    for worker in workers.iter().cycle() {
        let accepted = loop {
            match listener.accept().await {
                Ok((stream, address)) => match prepare(stream) {
                    Ok(stream) => break (stream, address),
                    Err(cause) => tracing::debug!("a connection from {address} was lost: {cause}"),
                },
                Err(cause) if one_connections_own(&cause) => {}
                Err(cause) => {
                    tracing::error!("cannot accept connections: {cause}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        // A worker that is gone takes the service down with it.
        let _ = worker.send(accepted);
    }
}

fn prepare(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

fn one_connections_own(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Raises the limit of open files to what the system lets this process have: each stream takes one.
pub(crate) fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(cause) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays at {:?}: {cause}", limit.current);
    }
}

/// The TLS set-up that the arguments ask for, if they do.
pub(crate) fn tls(args: &Args) -> Result<Option<TlsAcceptor>, ServiceError> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Ok(None);
    };
    let failed = |what, path: &Path, cause: String| ServiceError::Open {
        what,
        place: path.display().to_string(),
        cause: io::Error::other(cause),
    };
    let of_cert = |cause: String| failed("TLS certificate", cert, cause);
    let of_key = |cause: String| failed("TLS key", key, cause);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|cause| of_cert(format!("{cause}; give --tls-cert a PEM file that can be read")))?;
    if chain.is_empty() {
        return Err(of_cert(
            "holds no certificate; give --tls-cert a PEM file with one".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|cause| of_key(format!("{cause}; give --tls-key a PEM file with a private key")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|cause| of_cert(format!("{cause}; --tls-cert and --tls-key must belong together")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// One worker's source of connections, ready for HTTP.
pub(crate) struct Incoming {
    address: SocketAddr,
    accepted: mpsc::UnboundedReceiver<Accepted>,
    tls: Option<TlsAcceptor>,
    /// Connections whose handshake is done; a slow one holds up no other.
    shaken: (mpsc::UnboundedSender<Ready>, mpsc::UnboundedReceiver<Ready>),
}

type Ready = (Connection, SocketAddr);

impl Incoming {
    pub(crate) fn new(
        address: SocketAddr,
        accepted: mpsc::UnboundedReceiver<Accepted>,
        tls: Option<TlsAcceptor>,
    ) -> Incoming {
        Incoming {
            address,
            accepted,
            tls,
            shaken: mpsc::unbounded_channel(),
        }
    }
}

impl Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Ready {
        loop {
            let (stream, address) = tokio::select! {
                Some(ready) = self.shaken.1.recv() => return ready,
                Some(accepted) = self.accepted.recv() => accepted,
                // Nobody accepts any more: the service ends, and what is open goes on.
                else => std::future::pending().await,
            };
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(cause) => {
                    tracing::warn!("a connection from {address} was lost: {cause}");
                    continue;
                }
            };
            let Some(tls) = self.tls.clone() else {
                return (Connection::Plain(stream), address);
            };
            let shaken = self.shaken.0.clone();
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                    // An error says that the worker has ended.
                    Ok(Ok(stream)) => drop(shaken.send((Connection::Tls(Box::new(stream)), address))),
                    Ok(Err(cause)) => tracing::debug!("TLS handshake with {address} failed: {cause}"),
                    Err(_) => tracing::debug!("TLS handshake with {address} took longer than {HANDSHAKE_LIMIT:?}"),
                }
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A connection with or without TLS.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Connection::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Connection::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Connection::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
