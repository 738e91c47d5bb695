//! Direct mode: the same events, handed over in the service's own process, without a broker.
//!
//! A client writes frames ahead of their due times. One thread a connection reads ahead, a bounded number of frames;
//! another sleeps to each due time and hands over all that is due, to the same queue and writer that serve NATS.

use super::frame::{FrameError, HEADER_LIMIT_BYTES, parse_header};
use super::query::Answers;
use super::queue::{Queue, Received};
use super::rate_limit::RateLimit;
use super::stats::Stats;
use super::writer::{count_received, sort};
use crate::ServiceError;
use crate::platform::{monotonic_ns, sleep_until, wake_precisely};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Frames read ahead of their due time, a connection.
const LOOK_AHEAD: usize = 8_192;
/// Most events handed over under one lock.
const GROUP: usize = 256;
/// Longest sleep: a stop is noticed within this time.
const NAP_NS: u64 = 20_000_000;

/// What a connection needs of the service.
pub(crate) struct Direct {
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) max_payload: usize,
    pub(crate) stop: AtomicBool,
}

/// The socket. It is removed when dropped.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. A socket that nobody answers on, left behind by a killed process, is replaced.
    pub(crate) fn listen(path: &Path) -> Result<Socket, ServiceError> {
        let failed = |cause| ServiceError::Open {
            what: "direct socket",
            place: path.display().to_string(),
            cause,
        };
        let is_socket = std::fs::symlink_metadata(path)
            .is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()));
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        Ok(Socket {
            listener,
            path: path.to_owned(),
        })
    }

    /// Accepts connections until [`Direct::stop`] is set and [`Socket::wake`] was called; then ends them all. When it
    /// returns, everything that was due has been handed over.
    pub(crate) fn serve(&self, direct: &Arc<Direct>) {
        let mut connections = Vec::new();
        for stream in self.listener.incoming() {
            if direct.stop.load(SeqCst) {
                break;
            }
            connections.retain(|(_, thread): &(UnixStream, thread::JoinHandle<()>)| !thread.is_finished());
            match stream.and_then(|stream| Ok((stream.try_clone()?, stream))) {
                Ok((handle, stream)) => {
                    let direct = Arc::clone(direct);
                    let started = thread::Builder::new()
                        .name("direct-read".to_owned())
                        .spawn(move || serve_connection(stream, &direct));
                    match started {
                        Ok(thread) => connections.push((handle, thread)),
                        Err(cause) => tracing::error!("direct connection refused: {cause}"),
                    }
                }
                Err(cause) => tracing::error!("direct connection refused: {cause}"),
            }
        }
        for (stream, thread) in connections {
            // Ends a read that waits for the client; an error says that the client has gone already.
            let _ = stream.shutdown(std::net::Shutdown::Read);
            if thread.join().is_err() {
                tracing::error!("a direct connection ended in a panic");
            }
        }
    }

    /// Makes [`Socket::serve`] look at [`Direct::stop`].
    pub(crate) fn wake(path: &Path) {
        // An error says that nobody accepts any more, which is what we want.
        let _ = UnixStream::connect(path);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // An error says that somebody else removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An event and when it is due.
struct Due {
    due_ns: u64,
    event: Received,
}

/// Frames read ahead, between the two threads of a connection.
#[derive(Default)]
struct LookAhead {
    state: Mutex<LookAheadState>,
    changed: Condvar,
}

#[derive(Default)]
struct LookAheadState {
    frames: VecDeque<Due>,
    ended: bool,
}

fn serve_connection(mut stream: UnixStream, direct: &Arc<Direct>) {
    let ahead = LookAhead::default();
    thread::scope(|scope| {
        let hand_over = thread::Builder::new()
            .name("direct-due".to_owned())
            .spawn_scoped(scope, || hand_over(&ahead, direct));
        let end = match hand_over {
            Ok(_) => read_frames(&mut stream, &ahead, direct),
            Err(cause) => Err(cause.into()),
        };
        ahead.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        ahead.changed.notify_all();
        if let Err(error) = end {
            tracing::warn!("direct connection ended: {error}");
            let _ = writeln!(stream, "{}", serde_json::json!({ "error": error.to_string() }));
        }
    });
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reads until the client has no more, or the service stops.
fn read_frames(stream: &mut UnixStream, ahead: &LookAhead, direct: &Direct) -> Result<(), ConnectionError> {
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let mut refusals = RateLimit::default();
    let mut header = Vec::new();
    loop {
        header.clear();
        if (&mut reader).take(HEADER_LIMIT_BYTES).read_until(b'\n', &mut header)? == 0 {
            return Ok(());
        }
        if header.pop() != Some(b'\n') {
            return if direct.stop.load(SeqCst) {
                Ok(())
            } else {
                Err(parse_failure(&header))
            };
        }
        let frame = parse_header(&header)?;
        // A payload above the event limit is still read, so that it is counted as malformed and the next frame found.
        let limit_bytes = direct.max_payload.saturating_mul(4);
        if frame.payload_bytes > limit_bytes {
            return Err(FrameError::TooLarge {
                bytes: frame.payload_bytes,
                limit_bytes,
            }
            .into());
        }
        let mut payload = vec![0; frame.payload_bytes + 1];
        reader.read_exact(&mut payload)?;
        if payload.pop() != Some(b'\n') {
            return Err(FrameError::Unterminated.into());
        }
        match frame.due_ns {
            None => {
                let mut answer = direct.answers.answer(frame.subject, &payload);
                answer.push(b'\n');
                stream.write_all(&answer)?;
            }
            Some(due_ns) => {
                let payload = Bytes::from(payload);
                if let Some(event) = sort(&direct.stats, &mut refusals, direct.max_payload, frame.subject, payload)
                    && !ahead.push(Due { due_ns, event }, direct)
                {
                    return Ok(());
                }
            }
        }
    }
}

fn parse_failure(header: &[u8]) -> ConnectionError {
    FrameError::Header(String::from_utf8_lossy(&header[..header.len().min(80)]).into_owned()).into()
}

impl LookAhead {
    /// Adds a frame, waiting for room. `false`: the service stops.
    fn push(&self, due: Due, direct: &Direct) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.frames.len() >= LOOK_AHEAD {
            if direct.stop.load(SeqCst) || state.ended {
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.frames.push_back(due);
        if state.frames.len() == 1 {
            self.changed.notify_all();
        }
        true
    }

    /// Moves what is due at `now_ns` into `group`, at most [`GROUP`]. Waits while there is nothing read
    /// ahead.
    fn take_due(&self, now_ns: u64, group: &mut Vec<Received>) -> Next {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.frames.is_empty() {
            if state.ended {
                return Next::Ended;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let was_full = state.frames.len() >= LOOK_AHEAD;
        while group.len() < GROUP
            && let Some(due) = state.frames.pop_front_if(|due| due.due_ns <= now_ns)
        {
            group.push(due.event);
        }
        if was_full && !group.is_empty() {
            self.changed.notify_all();
        }
        Next::DueAt(state.frames.front().map_or(now_ns, |due| due.due_ns))
    }

    fn end(&self) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        self.changed.notify_all();
        state.frames.len()
    }
}

enum Next {
    DueAt(u64),
    Ended,
}

/// Hands each event over at its due time. After a stop, what is due is still handed over; what is not, never was
/// published.
fn hand_over(ahead: &LookAhead, direct: &Direct) {
    wake_precisely();
    let mut group = Vec::with_capacity(GROUP);
    loop {
        let now_ns = monotonic_ns();
        let Next::DueAt(due_ns) = ahead.take_due(now_ns, &mut group) else {
            return;
        };
        if !group.is_empty() {
            count_received(&direct.stats, &group);
            if direct.queue.push_all(&mut group).is_err() {
                break;
            }
        } else if direct.stop.load(SeqCst) {
            break;
        } else {
            sleep_until(due_ns.min(now_ns.saturating_add(NAP_NS)));
        }
    }
    let left = ahead.end();
    if left > 0 {
        tracing::info!("{left} events read ahead were not due yet at the stop and are not stored");
    }
}
