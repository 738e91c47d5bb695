//! Opens a JetStream stream, and makes sure that the one that exists is the one that is needed.

use super::serve::failed;
use crate::ServiceError;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType, Stream};

/// What a stream must be.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// Subjects that it must capture, by themselves or under wildcards of its own.
    pub subjects: Vec<String>,
    /// Whether each message goes to one consumer and is then forgotten.
    pub work_queue: bool,
    /// Where it is stored; `None` takes an existing one as it is and creates one in files.
    pub storage: Option<StorageType>,
    /// How many servers hold it; `None` takes an existing one as it is and creates one with a single replica.
    pub replicas: Option<usize>,
}

/// Opens the stream or creates it. To one that exists and lacks a subject, the subject is added.
///
/// # Errors
/// [`ServiceError::Nats`] that says what differs, or what the server refused: no JetStream, not enough servers for the
/// replicas, subjects that another stream has.
pub async fn open(context: &Context, settings: &StreamSettings) -> Result<Stream, ServiceError> {
    let action = format!("opening the JetStream stream {}", settings.name);
    let stream = match context.get_stream(&settings.name).await {
        Ok(stream) => stream,
        Err(absent) => match create(context, settings).await {
            Ok(stream) => stream,
            // Another instance may have created it in the meantime, not quite the same.
            Err(refused) => context
                .get_stream(&settings.name)
                .await
                .map_err(|_| failed(&action, format!("{refused} (looking for it: {absent})")))?,
        },
    };
    let found = &stream.cached_info().config;
    if let Some(difference) = difference(found, settings) {
        return Err(failed(
            &action,
            format!("it exists and {difference}; remove it, or give another name or other settings"),
        ));
    }
    let missing: Vec<String> = settings
        .subjects
        .iter()
        .filter(|subject| !found.subjects.iter().any(|captured| covers(captured, subject)))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(stream);
    }
    let mut wanted = found.clone();
    wanted.subjects.extend(missing.iter().cloned());
    context
        .update_stream(wanted)
        .await
        .map_err(|cause| failed(&action, format!("adding {}: {cause}", missing.join(", "))))?;
    context
        .get_stream(&settings.name)
        .await
        .map_err(|cause| failed(&action, cause))
}

async fn create(context: &Context, settings: &StreamSettings) -> Result<Stream, String> {
    let config = Config {
        name: settings.name.clone(),
        subjects: settings.subjects.clone(),
        retention: if settings.work_queue {
            RetentionPolicy::WorkQueue
        } else {
            RetentionPolicy::Limits
        },
        storage: settings.storage.unwrap_or(StorageType::File),
        num_replicas: settings.replicas.unwrap_or(1),
        ..Config::default()
    };
    context.create_stream(config).await.map_err(|cause| cause.to_string())
}

/// In what an existing stream is not the one that was asked for, as the end of a sentence.
fn difference(found: &Config, settings: &StreamSettings) -> Option<String> {
    let is_work_queue = found.retention == RetentionPolicy::WorkQueue;
    if is_work_queue != settings.work_queue {
        let (is, asked) = if settings.work_queue {
            ("is no work queue", "one was asked for")
        } else {
            ("is a work queue", "none was asked for")
        };
        return Some(format!("{is} where {asked}"));
    }
    if let Some(storage) = settings.storage.filter(|storage| *storage != found.storage) {
        return Some(format!(
            "is stored in {:?} where {storage:?} was asked for",
            found.storage
        ));
    }
    if let Some(replicas) = settings.replicas.filter(|replicas| *replicas != found.num_replicas) {
        return Some(format!(
            "has {} replicas where {replicas} were asked for",
            found.num_replicas
        ));
    }
    None
}

/// Whether every subject that `inner` matches is matched by `outer`; both may have wildcards.
fn covers(outer: &str, inner: &str) -> bool {
    let mut inner_tokens = inner.split('.');
    for outer_token in outer.split('.') {
        match (outer_token, inner_tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) | (_, Some(">")) => return false,
            ("*", Some(_)) => {}
            (outer_token, Some(inner_token)) if outer_token == inner_token => {}
            _ => return false,
        }
    }
    inner_tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_what_the_broker_says_they_do() {
        for (outer, inner, expected) in [
            ("events.>", "events.>", true),
            ("events.>", "events.chat.sent", true),
            (">", "events.>", true),
            ("events.*.*", "events.chat.sent", true),
            ("commands.*.*", "commands.echo.*", true),
            ("events.chat.*", "events.*.*", false),
            ("events.*.*", "events.>", false),
            ("events", "events.chat", false),
            ("events.chat", "events", false),
            ("events.>", "events", false),
            ("events.a", "events.b", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} covers {inner}");
        }
    }

    #[test]
    fn a_difference_is_named_only_where_something_was_asked_for() {
        let settings = StreamSettings {
            name: "EVENTS".to_owned(),
            subjects: vec!["events.>".to_owned()],
            work_queue: false,
            storage: None,
            replicas: None,
        };
        let found = Config {
            storage: StorageType::Memory,
            num_replicas: 3,
            ..Config::default()
        };
        assert_eq!(difference(&found, &settings), None);
        let strict = |storage, replicas, work_queue| StreamSettings {
            storage,
            replicas,
            work_queue,
            ..settings.clone()
        };
        for (settings, word) in [
            (strict(Some(StorageType::File), None, false), "Memory where File"),
            (strict(None, Some(1), false), "3 replicas where 1"),
            (strict(None, None, true), "no work queue"),
        ] {
            let difference = difference(&found, &settings).unwrap();
            assert!(difference.contains(word), "{difference}");
        }
    }
}
