//! Errors as the API tells them: problem details (RFC 9457).

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    control::ControlError, ingest::IngestError, log::LogError, plugin::FieldError, view::ViewError,
};

/// How long a client should wait before it asks a service again that cannot answer now, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// An error, with what a program and what a person needs to know. Some kinds have further fields.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// The kind, a URN that never changes.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, to which value, and what to do.
    detail: String,
    #[serde(flatten)]
    #[schema(ignore)]
    fields: Map<String, Value>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The kinds: URN, title and status.
type Kind = (&'static str, &'static str, StatusCode);

macro_rules! kinds {
    ($($name:ident = $slug:literal, $title:literal, $status:ident;)*) => {
        $(pub(super) const $name: Kind = (concat!("urn:wigwag:problem:", $slug), $title, StatusCode::$status);)*
    };
}

kinds! {
    BAD_REQUEST = "bad-request", "The request is not understood", BAD_REQUEST;
    BAD_QUERY = "bad-query", "A query parameter is wrong", BAD_REQUEST;
    NOT_JSON = "not-json", "The body is not JSON", BAD_REQUEST;
    UNAUTHENTICATED = "unauthenticated", "A token is needed", UNAUTHORIZED;
    FORBIDDEN = "forbidden", "This is not allowed", FORBIDDEN;
    NOT_FOUND = "not-found", "There is no such thing", NOT_FOUND;
    METHOD_NOT_ALLOWED = "method-not-allowed", "This method is not for this path", METHOD_NOT_ALLOWED;
    TIMEOUT = "timeout", "The request took too long to arrive", REQUEST_TIMEOUT;
    CONFLICT = "conflict", "Another thing stands against it", CONFLICT;
    PRECONDITION = "precondition", "It is not in the state that the request names", PRECONDITION_FAILED;
    TOO_LARGE = "too-large", "The body is too large", PAYLOAD_TOO_LARGE;
    UNSUPPORTED = "unsupported-media-type", "The body is of a kind that is not read here", UNSUPPORTED_MEDIA_TYPE;
    RECORD = "record", "The record breaks a rule", UNPROCESSABLE_ENTITY;
    REFUSED = "refused", "What was sent is wrong", UNPROCESSABLE_ENTITY;
    DEFECT = "defect", "The service has a defect", INTERNAL_SERVER_ERROR;
    UNAVAILABLE = "unavailable", "The service cannot do this now", SERVICE_UNAVAILABLE;
}

impl Problem {
    pub(super) fn new((kind, title, status): Kind, detail: impl Into<String>) -> Self {
        let mut problem = Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            fields: Map::new(),
            headers: Vec::new(),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.headers.push((header::RETRY_AFTER, RETRY_AFTER_S));
        }
        problem
    }

    pub(super) fn with(mut self, field: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("fields of a problem are JSON");
        self.fields.insert(field.to_owned(), value);
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// For those to whom no HTTP answer can be given.
    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a problem is JSON")
    }

    /// Something that is wrong with one named part of the request.
    pub(super) fn of_field(kind: Kind, field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let error = FieldError {
            field: field.to_owned(),
            message: message.clone(),
        };
        Self::new(kind, message).with("errors", [error])
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem is JSON");
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::NotJson(_) => Self::new(NOT_JSON, detail),
            IngestError::TooLarge { .. } => Self::new(TOO_LARGE, detail),
            IngestError::Empty | IngestError::BadProducer(_) => Self::new(BAD_REQUEST, detail),
            IngestError::Unavailable(error) => error.into(),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        Self::new(UNAVAILABLE, error.to_string())
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        tracing::warn!(%error, "the view could not answer");
        Self::new(UNAVAILABLE, error.to_string())
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let detail = error.to_string();
        match error {
            ControlError::NotFound { .. } => Self::new(NOT_FOUND, detail),
            ControlError::Conflict { .. } => Self::new(CONFLICT, detail),
            ControlError::Refused { stage, errors, .. } => Self::new(REFUSED, detail)
                .with("stage", stage)
                .with("errors", errors),
            ControlError::Precondition { etag, .. } => {
                let problem = Self::new(PRECONDITION, detail);
                match etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
                    Some(etag) => problem.with_header(header::ETAG, etag),
                    None => problem,
                }
            }
            ControlError::Busy { .. } => Self::new(UNAVAILABLE, detail),
            ControlError::Unavailable(error) => error.into(),
        }
    }
}
