//! Whether a service is ready: a URL answers with success.

use super::head::{self, Found};
use super::target::Target;
use super::tls;
use crate::ready::{left, only, text};
use eventbench_core::driver::{DriverError, Kept, ReadyDef};
use eventbench_core::plan::Settings;
use eventbench_core::trial::Variables;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// `ready = { http = "http://127.0.0.1:{port.agent}/health" }`: a GET is answered with a status of 200 to 299.
pub const HTTP: ReadyDef = ReadyDef {
    name: "http",
    about: "this URL answers with a status of 200 to 299",
    check: |settings| {
        only(settings, "http", &["ca", "insecure"])?;
        let url = settings.text("http").unwrap_or_default();
        match Target::parse(url) {
            // What a variable will say is not known yet.
            Err(e) if !url.contains('{') => Err(settings.error("http", e.to_string())),
            _ => Ok(()),
        }
    },
    ask,
};

fn ask(settings: &Settings, variables: &Variables, deadline_ns: u64, _: &mut Kept) -> Result<bool, DriverError> {
    let url = text(settings, "http", variables)?;
    let failed = |e: String| DriverError::new(format!("ready http {url}"), e);
    let target = Target::parse(&url).map_err(|e| failed(e.to_string()))?;
    let Ok(address) = target.resolve() else {
        return Ok(false);
    };
    let opened = TcpStream::connect_timeout(&address, left(deadline_ns)).and_then(|socket| {
        socket.set_read_timeout(Some(left(deadline_ns)))?;
        socket.set_write_timeout(Some(left(deadline_ns)))?;
        Ok(socket)
    });
    let Ok(mut socket) = opened else { return Ok(false) };
    let answered = if target.tls {
        let insecure = settings.get("insecure").and_then(|v| v.as_bool()).unwrap_or(false);
        let ca = settings
            .get("ca")
            .map(|_| text(settings, "ca", variables))
            .transpose()?;
        let config = tls::config(ca.as_deref(), insecure, b"http/1.1").map_err(failed)?;
        let name = tls::server_name(&target.host).map_err(failed)?;
        let mut session = rustls::ClientConnection::new(config, name).map_err(|e| failed(e.to_string()))?;
        match session.complete_io(&mut socket) {
            // A certificate that is not trusted now will not be later.
            Err(e) if e.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => return Err(failed(tls::explain(&e))),
            Err(_) => return Ok(false),
            Ok(_) => status(&mut rustls::Stream::new(&mut session, &mut socket), &target),
        }
    } else {
        status(&mut socket, &target)
    };
    Ok(answered.is_ok_and(|status| (200..300).contains(&status)))
}

fn status(stream: &mut (impl Read + Write), target: &Target) -> io::Result<u16> {
    let path = if target.path.is_empty() { "/" } else { &target.path };
    let host = &target.authority;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&piece[..n]);
        match head::read(&answer) {
            Ok(Found::Whole(head, _)) => return Ok(head.status),
            Ok(Found::Part) => {}
            Err(e) => return Err(io::Error::other(e)),
        }
    }
}
