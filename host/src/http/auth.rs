//! Who may do what: the scope that each route needs, and whether a request has it. By a bearer token, or by the session
//! cookie that stands for one in a browser.

pub(super) mod session;
mod site;
mod tokens;

use std::{marker::PhantomData, net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};

pub(super) use self::site::OwnPage;
pub use self::tokens::{Scope, TokenConfig, TokenError, Tokens};
use super::{
    ingest::Peer,
    known::KnownTokens,
    problem::{FORBIDDEN, Problem, UNAUTHENTICATED},
};
use crate::control::Actor;

/// The name of the session cookie.
pub(super) const COOKIE: &str = "wigwag_session";

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
