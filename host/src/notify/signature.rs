//! Standard Webhooks: a secret, and what is signed with it.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::Sha256;

/// Before the secret's base64, so that a person and a scanner of code know it for what it is.
const PREFIX: &str = "whsec_";

/// As the specification advises: 24 to 64.
const SECRET_BYTES: usize = 32;

/// A new secret.
pub(super) fn new_secret() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::rng().random();
    format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes))
}

/// The header `webhook-signature` over id, time and body; none where the secret is none.
pub(super) fn sign(secret: &str, id: &str, timestamp_s: i64, body: &[u8]) -> Option<String> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    Some(format!(
        "v1,{}",
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, as the reference implementations test it.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let signed = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signed.unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn secrets_differ_and_sign() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        assert_ne!(sign(&one, "a", 1, b""), sign(&other, "a", 1, b""));
        assert_eq!(sign("whsec_?", "a", 1, b""), None);
        assert_eq!(sign("secret", "a", 1, b""), None);
    }
}
