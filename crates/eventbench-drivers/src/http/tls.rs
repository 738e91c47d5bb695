//! TLS over a socket that never waits: whom to trust, and a session that is asked when the socket is ready.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// The configuration of a client that trusts the certificates of `ca`, those of the system, or every one.
///
/// # Errors
/// In words: the file cannot be read or holds no certificate, or the system has none.
pub fn config(ca: Option<&str>, insecure: bool, protocol: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = if insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(ca)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err("the system has no root certificates; give a file as `ca`".to_owned());
        }
        return Ok(roots);
    };
    let wrong = |e: &dyn std::fmt::Display| format!("the CA file {path}: {e}");
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
        let certificate = certificate.map_err(|e| wrong(&e))?;
        roots.add(certificate).map_err(|e| wrong(&e))?;
    }
    if roots.is_empty() {
        return Err(format!("the CA file {path} holds no certificate in PEM form"));
    }
    Ok(roots)
}

/// The name that a certificate must carry.
///
/// # Errors
/// In words: the host cannot be one.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("\"{host}\" is no server name"))
}

/// A session over a socket that somebody else keeps.
pub struct Tls(ClientConnection);

impl Tls {
    /// A session that has yet to shake hands.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Tls, String> {
        let mut session = ClientConnection::new(config, name).map_err(|e| e.to_string())?;
        session.set_buffer_limit(None);
        Ok(Tls(session))
    }

    /// Goes on with the handshake as far as the socket allows; whether it is done.
    pub fn shake(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        loop {
            self.flush(socket)?;
            if !self.0.is_handshaking() {
                return Ok(true);
            }
            if self.0.wants_write() {
                return Ok(false);
            }
            match self.receive(socket) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }

    fn receive(&mut self, socket: &mut TcpStream) -> io::Result<usize> {
        let n = self.0.read_tls(socket)?;
        if let Err(e) = self.0.process_new_packets() {
            // The alert tells the server why; that it arrives is not essential.
            let _ = self.0.write_tls(socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, e));
        }
        Ok(n)
    }

    /// Reads plain text; `WouldBlock` when there is none, 0 at the end.
    pub fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if self.receive(socket)? == 0 {
                // The session has seen the end now, and says of what kind it is.
                return match self.0.reader().read(buffer) {
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                    other => other,
                };
            }
        }
    }

    /// Takes plain text, all of it, and sends what the socket takes.
    pub fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        self.0.writer().write_all(bytes)?;
        self.flush(socket)
    }

    /// Sends what the socket takes of what it has not taken yet.
    pub fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether something is left to be sent.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }
}

/// Why a handshake failed, with what to do about it.
pub fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the server ended the handshake; its log says why".to_owned();
    }
    let advice = match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        // A CA that was made anew under its old name shows as a bad signature.
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "; give the CA that signed the server's certificate as `ca`"
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "; ask by a name that the certificate carries",
        Some(Error::InvalidMessage(_)) => "; the server does not speak TLS here",
        _ => "",
    };
    format!("{error}{advice}")
}

/// Accepts every certificate, as `insecure = true` asks for.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
