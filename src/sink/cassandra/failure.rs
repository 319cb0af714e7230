//! What a failed statement means: try again, a person is needed, or this record never.

use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::frame::message_error::{ErrorBody, ErrorType};

use crate::error::{Error, Kind};

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A node answered, and the same may succeed later (overload, too few replicas).
    Busy,
    /// No usable answer (connection lost, no node): the session may be what is broken.
    Broken,
    /// The server lost the statement and it could not be prepared again.
    Unprepared,
    /// Credentials or a permission.
    Refused,
    /// Keyspace, table, column or consistency do not fit the statement.
    Config,
    /// This record's values; others would be taken.
    Value,
    /// A batch that is too large as a whole; its rows may be taken.
    Batch,
}

/// Sorts a failure of the driver or the server.
///
/// Only what is known to be about one record's values is [`Class::Value`]: a refusal that could concern every record
/// must block delivery, not turn the topic into dead letters.
pub(super) fn classify(error: &CqlError) -> Class {
    match error {
        CqlError::Server { body, .. } => classify_server(body),
        _ => Class::Broken,
    }
}

fn classify_server(body: &ErrorBody) -> Class {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| body.message.contains(phrase));
    match &body.ty {
        // The role tables cannot be read (yet): nobody has judged the password.
        ErrorType::Authentication if says(&["Unable to perform authentication"]) => Class::Busy,
        ErrorType::Authentication | ErrorType::Unauthorized => Class::Refused,
        ErrorType::Unprepared(_) => Class::Unprepared,
        ErrorType::Invalid if says(&[BATCH_TOO_LARGE]) => Class::Batch,
        ErrorType::Invalid | ErrorType::Server | ErrorType::Protocol if says(TOO_LARGE) => Class::Value,
        ErrorType::Invalid if says(BAD_VALUE) => Class::Value,
        ErrorType::Invalid
        | ErrorType::Syntax
        | ErrorType::Config
        | ErrorType::AlreadyExists(_)
        | ErrorType::FunctionFailure(_) => Class::Config,
        _ => Class::Busy,
    }
}

/// How Cassandra says that a batch is over its `batch_size_fail_threshold`.
const BATCH_TOO_LARGE: &str = "Batch too large";

/// How Cassandra says that one mutation or one message is too large: `max_mutation_size`,
/// `native_transport_max_frame_size`, `native_transport_max_message_size`.
const TOO_LARGE: &[&str] = &["is too large", "Request is too big", "exceeds allowed maximum"];

/// How Cassandra says that a value cannot be of its column's type, or in its column's index.
const BAD_VALUE: &[&str] =
    &["Exception while binding column", "String didn't validate", "out of bound", "Cannot index value of size"];

/// The failure as one line and a hint; `what` says what was being done.
pub(super) fn explain(what: impl Into<String>, error: CqlError) -> Error {
    let class = classify(&error);
    let kind = match class {
        Class::Busy | Class::Broken | Class::Unprepared => Kind::Unreachable,
        Class::Refused => Kind::Refused,
        Class::Config => Kind::Config,
        Class::Value | Class::Batch => Kind::BadData,
    };
    let explained = Error::new(kind, what);
    match class {
        Class::Refused => explained.because(words(error)).hint(
            "check --cassandra-user and USERPIPE_CASSANDRA_PASSWORD, and the role's permissions (writing needs MODIFY, \
             verify and trace need SELECT, init-schema needs CREATE)",
        ),
        Class::Config => explained.because(words(error)).hint("make or check the table: userpipe init-schema"),
        _ => explained.because(words(error)),
    }
}

/// The same error once more, for another record: its words, its hint and its kind.
pub(super) fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.to_string());
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

/// A server's own message without the driver's `Debug` around it; the driver's errors as they are.
pub(super) fn words(error: CqlError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        CqlError::Server { body, .. } => body.message.into(),
        CqlError::Io(error) => error.into(),
        CqlError::General(text) | CqlError::Timeout(text) => text.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use cdrs_tokio::consistency::Consistency;
    use cdrs_tokio::frame::message_error::{UnavailableError, UnpreparedError};
    use cdrs_tokio::types::CBytesShort;

    use super::*;

    fn server(ty: ErrorType, message: &str) -> CqlError {
        let addr = SocketAddr::from(([127, 0, 0, 1], 9042));
        CqlError::Server { body: ErrorBody { message: message.to_owned(), ty }, addr }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let unavailable = ErrorType::Unavailable(UnavailableError { cl: Consistency::Quorum, required: 2, alive: 1 });
        for busy in [
            server(unavailable, "Cannot achieve consistency level QUORUM"),
            server(ErrorType::Overloaded, "Request breached global limit"),
            server(ErrorType::IsBootstrapping, "Cannot read from a bootstrapping node"),
            server(ErrorType::Server, "java.lang.OutOfMemoryError"),
            server(ErrorType::Authentication, "Unable to perform authentication: Cannot achieve consistency level ONE"),
        ] {
            assert_eq!(classify(&busy), Class::Busy, "{busy}");
        }
        for broken in [
            CqlError::Io(std::io::ErrorKind::ConnectionReset.into()),
            CqlError::General("No nodes available in query plan!".to_owned()),
            CqlError::Timeout("Timeout waiting for connection".to_owned()),
        ] {
            assert_eq!(classify(&broken), Class::Broken, "{broken}");
        }
        let unprepared = ErrorType::Unprepared(UnpreparedError { id: CBytesShort::new(vec![1]) });
        assert_eq!(classify(&server(unprepared, "Prepared query with ID 01 not found")), Class::Unprepared);
    }

    #[test]
    fn what_needs_a_person_blocks() {
        let refused = "Provided username alice and/or password are incorrect";
        assert_eq!(classify(&server(ErrorType::Authentication, refused)), Class::Refused);
        let denied = "User alice has no MODIFY permission on <table ks.t> or any of its parents";
        assert_eq!(classify(&server(ErrorType::Unauthorized, denied)), Class::Refused);
        for text in ["unconfigured table created_users", "Undefined column name phone", "Keyspace 'k' does not exist"] {
            assert_eq!(classify(&server(ErrorType::Invalid, text)), Class::Config, "{text}");
        }
        // It would be the same for every record.
        let guardrail = "Guardrail write_consistency_levels violated";
        assert_eq!(classify(&server(ErrorType::Invalid, guardrail)), Class::Config);
    }

    #[test]
    fn what_is_wrong_with_one_record_is_poison() {
        for large in [
            "Mutation of 20971633 bytes is too large for the maximum size of 16777216",
            "CQL Message of size 17826058 bytes exceeds allowed maximum of 16777216 bytes",
        ] {
            assert_eq!(classify(&server(ErrorType::Invalid, large)), Class::Value, "{large}");
        }
        for bad in [
            "Exception while binding column dob: 8 or 0",
            "Cannot index value of size 70000 for index by_address on ks.t(address) (maximum allowed size=65535)",
        ] {
            assert_eq!(classify(&server(ErrorType::Invalid, bad)), Class::Value, "{bad}");
        }
    }

    #[test]
    fn a_batch_that_is_too_large_says_nothing_of_its_rows() {
        assert_eq!(classify(&server(ErrorType::Invalid, "Batch too large")), Class::Batch);
    }

    #[test]
    fn an_explanation_is_one_line_with_the_servers_words() {
        let error = explain("cannot write to ks.t", server(ErrorType::Unauthorized, "no MODIFY permission"));
        assert_eq!(error.to_string(), "cannot write to ks.t: no MODIFY permission");
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("USERPIPE_CASSANDRA_PASSWORD")));
    }
}
