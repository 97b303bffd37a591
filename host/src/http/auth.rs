//! Who may do what: bearer tokens with scopes, the session cookie that stands for one in a browser, and the checks of
//! Host and Origin that keep other sites' pages from writing with it.

use std::{fmt, marker::PhantomData, net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    body::{JsonBody, NoParameters, Query},
    ingest::Peer,
    known::KnownTokens,
    problem::{FORBIDDEN, Problem, UNAUTHENTICATED},
};
use crate::control::Actor;

/// The name of the session cookie.
pub(super) const COOKIE: &str = "wigwag_session";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Sending records.
    Ingest,
    /// Uploading plugins and setting strategies.
    Plugins,
    /// Everything.
    Admin,
}

/// A token as an operator configures it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Stands in the audit: 1 to 32 characters from `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// SHA-256 of the token, hex.
    pub sha256: String,
    /// What it is for; each also allows reading.
    pub scopes: Vec<Scope>,
}

/// The tokens that are known, hashed.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    name: Arc<str>,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
}

/// A token that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its name has other characters, or too many, or none.
    #[error("token name is {0:?}; use 1 to 32 characters from A-Z a-z 0-9 _ -")]
    Name(String),
    /// Its name was given before.
    #[error("token name {0:?} is given twice; use each once")]
    Twice(String),
    /// What it holds is no hash.
    #[error("token {0:?}: sha256 is not 64 hex digits; make it with: printf %s TOKEN | sha256sum")]
    Hash(String),
    /// It is for nothing.
    #[error("token {0:?} has no scopes; use some of ingest, plugins, admin")]
    Scopes(String),
}

impl Tokens {
    /// The longest name.
    const MAX_NAME_CHARS: usize = 32;

    /// From the configuration.
    ///
    /// # Errors
    /// The first token that cannot be used.
    pub fn try_new(list: &[TokenConfig]) -> Result<Self, TokenError> {
        let mut tokens = Self::default();
        for TokenConfig {
            name,
            sha256,
            scopes,
        } in list
        {
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if !(1..=Self::MAX_NAME_CHARS).contains(&name.len()) || !name.bytes().all(good) {
                return Err(TokenError::Name(name.clone()));
            }
            if tokens.0.iter().any(|token| *token.name == **name) {
                return Err(TokenError::Twice(name.clone()));
            }
            if scopes.is_empty() {
                return Err(TokenError::Scopes(name.clone()));
            }
            let mut hash = [0; 32];
            hex::decode_to_slice(sha256, &mut hash).map_err(|_| TokenError::Hash(name.clone()))?;
            tokens.0.push(Token {
                name: name.as_str().into(),
                sha256: hash,
                scopes: scopes.clone(),
            });
        }
        Ok(tokens)
    }

    /// Adds an admin token made now; its text is returned and kept nowhere.
    #[must_use]
    pub fn with_fresh_admin(mut self) -> (Self, String) {
        let text = hex::encode(rand::rng().random::<[u8; 24]>());
        self.0.push(Token {
            name: "fresh-admin".into(),
            sha256: Sha256::digest(&text).into(),
            scopes: vec![Scope::Admin],
        });
        (self, text)
    }

    /// What they are called.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| &*token.name)
    }

    /// Takes the same time whichever token it is, or none.
    fn find(&self, text: &[u8]) -> Option<&Token> {
        let hash: [u8; 32] = Sha256::digest(text).into();
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.sha256.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|t| &t.name))
            .finish()
    }
}

/// Who may do what without a token, and under which names the service is reached.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The tokens.
    pub tokens: KnownTokens,
    /// Whether reading needs a token.
    pub closed_reads: bool,
    /// Whether `POST /ingest` needs no token; for listeners on loopback only.
    pub open_ingest: bool,
    /// Names under which the service may be written to, beside localhost and addresses, without port.
    pub hosts: Vec<String>,
}

/// What a route needs.
pub(super) trait Need: Send {
    /// None: reading.
    const SCOPE: Option<Scope>;
}

/// For routes that read.
pub(super) struct ToRead;
/// For `POST /ingest`.
pub(super) struct ToIngest;
/// For plugins and strategies.
pub(super) struct ToDeploy;
/// For what only operators should see.
pub(super) struct ToAdminister;

impl Need for ToRead {
    const SCOPE: Option<Scope> = None;
}

impl Need for ToIngest {
    const SCOPE: Option<Scope> = Some(Scope::Ingest);
}

impl Need for ToDeploy {
    const SCOPE: Option<Scope> = Some(Scope::Plugins);
}

impl Need for ToAdminister {
    const SCOPE: Option<Scope> = Some(Scope::Admin);
}

/// Somebody who may do what `N` needs. Being extracted before the body, it refuses before the body is read.
pub(super) struct Caller<N> {
    /// The token's name, if one was needed or given.
    pub(super) token: Option<Arc<str>>,
    address: Option<IpAddr>,
    need: PhantomData<N>,
}

impl<N> Caller<N> {
    /// For the audit log.
    pub(super) fn actor(&self) -> Actor {
        Actor {
            name: self.token.as_deref().unwrap_or("anonymous").to_owned(),
            address: self.address,
        }
    }
}

impl<N: Need, S: Sync> FromRequestParts<S> for Caller<N>
where
    Arc<Access>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let access = Arc::<Access>::from_ref(state);
        if !parts.method.is_safe() {
            access.check_site(&parts.headers)?;
        }
        Ok(Self {
            token: access.check_token(&parts.headers, N::SCOPE)?,
            address: parts.extensions.get::<Peer>().map(|peer| peer.0.ip()),
            need: PhantomData,
        })
    }
}

impl Access {
    fn check_token(
        &self,
        headers: &HeaderMap,
        scope: Option<Scope>,
    ) -> Result<Option<Arc<str>>, Problem> {
        let open = match scope {
            None => !self.closed_reads,
            Some(Scope::Ingest) => self.open_ingest,
            Some(_) => false,
        };
        let Some(text) = token_of(headers) else {
            return match open {
                true => Ok(None),
                false => Err(unauthenticated(
                    "no token was sent; send Authorization: Bearer TOKEN",
                    false,
                )),
            };
        };
        let tokens = self.tokens.now();
        let Some(token) = tokens.find(text) else {
            return match open {
                // A browser may still send the cookie of a token that is known no more.
                true => Ok(None),
                false => Err(unauthenticated("the token is not known here", true)),
            };
        };
        let allowed = open
            || scope.is_none_or(|scope| {
                token.scopes.contains(&scope) || token.scopes.contains(&Scope::Admin)
            });
        match (allowed, scope) {
            (false, Some(scope)) => {
                let name = &token.name;
                let scope = scope.name();
                Err(Problem::new(
                    FORBIDDEN,
                    format!("token {name:?} lacks scope {scope:?}; use one that has it"),
                ))
            }
            _ => Ok(Some(token.name.clone())),
        }
    }

    /// Refuses what another site's page may have made a browser send: under a foreign name that was made to point
    /// here, or from a page of another origin.
    fn check_site(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = text(headers, header::HOST).unwrap_or_default();
        if !self.is_ours(host) {
            return Err(Problem::new(
                FORBIDDEN,
                format!(
                    "Host is {host:?}, a name that this service does not know as its own; reach it by a known name or configure this one"
                ),
            ));
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin
            .split_once("://")
            .map_or("", |(_, authority)| authority);
        if authority.eq_ignore_ascii_case(host) {
            return Ok(());
        }
        Err(Problem::new(
            FORBIDDEN,
            format!(
                "Origin is {origin:?} where Host is {host:?}; write from a page of this service only"
            ),
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        // An IPv6 address is in brackets, so that its colons are not a port's.
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        // A name can be made to point here by whoever owns it; an address is what it is, whatever balancer has it.
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || self
                .hosts
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Plugins => "plugins",
            Self::Admin => "admin",
        }
    }
}

fn unauthenticated(detail: &str, wrong: bool) -> Problem {
    let challenge = match wrong {
        true => "Bearer realm=\"wigwag\", error=\"invalid_token\"",
        false => "Bearer realm=\"wigwag\"",
    };
    Problem::new(UNAUTHENTICATED, detail).with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    )
}

/// The bearer token, or else the one in the session cookie.
fn token_of(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = text(headers, header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    let cookie = || {
        let cookies = headers.get_all(header::COOKIE).iter();
        cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
    };
    Some(bearer.or_else(cookie)?.as_bytes())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A token that is to become a session.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    /// The token.
    token: String,
}

/// What a session may do.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SessionInfo {
    /// The token's name.
    name: String,
    /// What it is for.
    scopes: Vec<Scope>,
}

/// Whoever may write here at all: Host and Origin are checked, no token is asked for.
pub(super) struct SameSite;

impl<S: Sync> FromRequestParts<S> for SameSite
where
    Arc<Access>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Arc::<Access>::from_ref(state)
            .check_site(&parts.headers)
            .map(|()| Self)
    }
}

/// Whoever is no page of another site. Such pages cannot read answers, but a WebSocket they could: the rule of origins
/// does not hold there, and the browser sends the cookie along.
pub(super) struct OwnPage;

impl<S: Sync> FromRequestParts<S> for OwnPage
where
    Arc<Access>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::ORIGIN) {
            Arc::<Access>::from_ref(state).check_site(&parts.headers)?;
        }
        Ok(Self)
    }
}

/// Who asks, for a page that wants to show what it may do.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SessionState {
    /// The token's name; null where none was sent, or one that is not known.
    name: Option<String>,
    /// What it is for.
    scopes: Vec<Scope>,
    /// Whether all that reads is answered.
    may_read: bool,
}

/// Says whose session it is, without refusing anybody.
#[utoipa::path(
    get, path = "/v1/session", tag = "session", operation_id = "get_session",
    responses((status = 200, description = "who asks, and for what the token is", body = SessionState))
)]
pub(super) async fn session(
    axum::extract::State(access): axum::extract::State<Arc<Access>>,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Json<SessionState> {
    let tokens = access.tokens.now();
    let token = token_of(&headers).and_then(|text| tokens.find(text));
    Json(SessionState {
        name: token.map(|token| token.name.to_string()),
        scopes: token.map_or_else(Vec::new, |token| token.scopes.clone()),
        may_read: token.is_some() || !access.closed_reads,
    })
}

/// Makes a token a browser's session: a cookie that scripts cannot read and other sites cannot use.
#[utoipa::path(
    post, path = "/v1/session", tag = "session", request_body = SessionRequest,
    responses(
        (status = 200, description = "the cookie is set", body = SessionInfo),
        (status = 401, description = "the token is not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin_session(
    _: SameSite,
    axum::extract::State(access): axum::extract::State<Arc<Access>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SessionRequest>,
) -> Result<Response, Problem> {
    let tokens = access.tokens.now();
    let Some(token) = tokens.find(request.token.as_bytes()) else {
        return Err(unauthenticated("the token is not known here", true));
    };
    let info = SessionInfo {
        name: token.name.to_string(),
        scopes: token.scopes.clone(),
    };
    // The token is text that a client sent; what is in it must not write attributes of the cookie.
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    if !request.token.bytes().all(plain) {
        return Err(Problem::of_field(
            super::problem::REFUSED,
            "token",
            "token holds characters that a cookie cannot hold; use one of letters, digits and - . _ ~ + / =",
        ));
    }
    Ok((
        [(header::SET_COOKIE, cookie(&request.token, &headers, ""))],
        Json(info),
    )
        .into_response())
}

/// Ends a browser's session.
#[utoipa::path(
    delete, path = "/v1/session", tag = "session",
    responses((status = 204, description = "the cookie is removed"))
)]
pub(super) async fn end_session(_: SameSite, headers: HeaderMap) -> Response {
    (
        StatusCode::NO_CONTENT,
        [(header::SET_COOKIE, cookie("", &headers, "; Max-Age=0"))],
    )
        .into_response()
}

fn cookie(value: &str, headers: &HeaderMap, rest: &str) -> String {
    // Whoever ends TLS before us says so.
    let secure = match headers.get("X-Forwarded-Proto") {
        Some(proto) if proto == "https" => "; Secure",
        _ => "",
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_configured_names_are_ours_and_others_are_not() {
        let access = Access {
            hosts: vec!["wigwag.example".into()],
            ..Access::default()
        };
        for ours in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:5000",
            "[::1]:8080",
            "[::1]",
            "10.0.0.1:8080",
            "[2001:db8::1]:80",
            "Wigwag.example:80",
        ] {
            assert!(access.is_ours(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1.evil.example:8080",
            "::1",
            "[::1",
        ] {
            assert!(!access.is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_token_is_refused_with_its_name_when_it_cannot_be_used() {
        let good = TokenConfig {
            name: "a".into(),
            sha256: "00".repeat(32),
            scopes: vec![Scope::Ingest],
        };
        assert!(Tokens::try_new(std::slice::from_ref(&good)).is_ok());
        let refused = |list: &[TokenConfig]| Tokens::try_new(list).unwrap_err();
        let short = TokenConfig {
            sha256: "00".into(),
            ..good.clone()
        };
        let scopeless = TokenConfig {
            scopes: vec![],
            ..good.clone()
        };
        let nameless = TokenConfig {
            name: "a b".into(),
            ..good.clone()
        };
        assert_eq!(refused(&[short]), TokenError::Hash("a".into()));
        assert_eq!(refused(&[scopeless]), TokenError::Scopes("a".into()));
        assert_eq!(refused(&[nameless]), TokenError::Name("a b".into()));
        assert_eq!(
            refused(&[good.clone(), good]),
            TokenError::Twice("a".into())
        );
    }
}
