//! Host and Origin: what keeps other sites' pages from writing here with a browser's cookie.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use super::{Access, text};
use crate::http::problem::{FORBIDDEN, Problem};

/// Whoever may write here at all: Host and Origin are checked, no token is asked for.
pub(in crate::http) struct SameSite;

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
pub(in crate::http) struct OwnPage;

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

impl Access {
    /// Refuses what another site's page may have made a browser send: under a foreign name that was made to point
    /// here, or from a page of another origin.
    pub(super) fn check_site(&self, headers: &HeaderMap) -> Result<(), Problem> {
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
}
