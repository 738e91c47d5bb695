//! Encryption: whom to trust, the handshake, and a stream that behaves like a
//! nonblocking socket.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustix::event::PollFlags;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::endpoint::Endpoint;
use super::error::WireError;
use super::wait::{Deadline, wait_fd};

/// Plain text that rustls may hold in encrypted form while the socket is full.
const CIPHER_BUFFER_BYTES: usize = 64 * 1024;

/// A TLS session over a nonblocking socket.
pub(super) struct TlsStream {
    session: ClientConnection,
    pub(super) socket: TcpStream,
    // Decrypted bytes that the last read had no room for. The socket does
    // not become readable for these.
    more_plain_text: bool,
}

impl TlsStream {
    /// Shakes hands over a socket whose server has announced TLS.
    pub(super) fn connect(endpoint: &Endpoint, socket: TcpStream, until: Deadline) -> Result<Self, WireError> {
        let address = endpoint.address();
        let fail = |reason: String| WireError::Tls {
            address: address.clone(),
            reason,
        };
        let host = endpoint.tls.server_name.as_ref().unwrap_or(&endpoint.host);
        let name = ServerName::try_from(host.clone()).map_err(|_| fail(format!("`{host}` is no server name")))?;
        let config = client_config(endpoint.tls.ca_file.as_deref()).map_err(fail)?;
        let mut session = ClientConnection::new(config, name).map_err(|error| fail(error.to_string()))?;
        session.set_buffer_limit(Some(CIPHER_BUFFER_BYTES));
        // The server's last flight may have carried the first plain text.
        let mut stream = Self {
            session,
            socket,
            more_plain_text: true,
        };
        stream.shake_hands(until).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => WireError::Timeout {
                address: address.clone(),
                doing: "shaking hands for TLS",
                unsent_bytes: 0,
                unread_bytes: 0,
            },
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => fail(
                "the server ended the handshake; its log says why (a client certificate is not supported here)".into(),
            ),
            _ => fail(explain(&error)),
        })?;
        Ok(stream)
    }

    fn shake_hands(&mut self, until: Deadline) -> io::Result<()> {
        while self.session.is_handshaking() || self.session.wants_write() {
            let result = if self.session.wants_write() {
                self.write_cipher_text()
            } else {
                self.read_cipher_text()
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let flags = if self.session.wants_write() {
                        PollFlags::OUT
                    } else {
                        PollFlags::IN
                    };
                    if wait_fd(&self.socket, flags, until)?.is_empty() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_cipher_text(&mut self) -> io::Result<usize> {
        let n = self.session.read_tls(&mut self.socket)?;
        if let Err(error) = self.session.process_new_packets() {
            // The alert tells the server why; that it arrives is not essential.
            let _ = self.write_cipher_text();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(n)
    }

    fn write_cipher_text(&mut self) -> io::Result<usize> {
        self.session.write_tls(&mut self.socket)
    }

    /// Reads plain text; `WouldBlock` if there is none, 0 at the end.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more_plain_text = false,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Ok(n) => {
                    self.more_plain_text = n == buf.len();
                    return Ok(n);
                }
                other => return other,
            }
            if self.read_cipher_text()? == 0 {
                return Ok(0);
            }
        }
    }

    /// Whether decrypted bytes may wait without the socket being readable.
    pub(super) fn has_plain_text(&self) -> bool {
        self.more_plain_text
    }

    /// Takes plain text to be encrypted and sends what the socket takes;
    /// `WouldBlock` if nothing was taken.
    pub(super) fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let taken = self.session.writer().write(buf)?;
            match self.send_cipher_text() {
                // A full session took nothing and could now send: once more.
                Ok(true) if taken == 0 => {}
                Ok(_) if taken > 0 => return Ok(taken),
                Ok(_) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what is encrypted; whether all of it went.
    pub(super) fn send_cipher_text(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.write_cipher_text() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }
}

fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let shown = path.display();
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| format!("the CA file {shown}: {error}"))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| format!("the CA file {shown}: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("the CA file {shown}: {error}"))?;
            }
            if roots.is_empty() {
                return Err(format!("the CA file {shown} holds no certificate in PEM form"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why = found
                    .errors
                    .first()
                    .map_or_else(String::new, |error| format!(" ({error})"));
                return Err(format!("the system has no root certificates{why}; give a CA file"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn explain(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let advice = match cause {
        // A CA that was made anew under its old name shows as a bad signature.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "; give the CA that signed the server's certificate as tls_ca"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "; connect by a name that the certificate carries, or give that name",
        Some(rustls::Error::InvalidMessage(_)) => "; the server does not speak TLS here",
        _ => "",
    };
    format!("{error}{advice}")
}
