//! The check of an upload: it ends, never panics, and accepts nothing that is no component.

use wigwag::plugin::check;

/// Whether it is accepted. Panics where the check does not hold what it promises.
pub fn judge(data: &[u8]) -> bool {
    match check(data) {
        Ok(()) => {
            let is_component = data.get(..8) == Some(b"\0asm\x0d\0\x01\0");
            assert!(is_component, "accepted without a component's head");
            true
        }
        Err(refusal) => {
            let text = refusal.to_string();
            assert!(!text.is_empty() && text.len() < 2_000, "{text:?}");
            assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
            false
        }
    }
}
