//! Tokens: what each is for, kept by their hashes, compared in constant time.

use std::{fmt, sync::Arc};

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

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
pub(super) struct Token {
    pub(super) name: Arc<str>,
    sha256: [u8; 32],
    pub(super) scopes: Vec<Scope>,
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
    pub(in crate::http) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| &*token.name)
    }

    /// Takes the same time whichever token it is, or none.
    pub(super) fn find(&self, text: &[u8]) -> Option<&Token> {
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

impl Scope {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Plugins => "plugins",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
