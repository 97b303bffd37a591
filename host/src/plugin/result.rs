//! Everything that a plugin returns is checked here, before anything else sees it. Knows nothing of how it was called.

use super::{bindings::Output, instance::Failure};

/// The longest reason of a signal.
const MAX_REASON_BYTES: usize = 200;

/// Signals that one row may cause.
const MAX_SIGNALS_PER_ROW: usize = 16;

/// The largest state of one symbol, and the largest shared state, in bytes.
pub(super) const MAX_STATE_BYTES: usize = 256 << 10;

/// Checks what a batch of `rows` rows, of which so many were `wanted`, brought out in so many `series`.
///
/// # Errors
/// [`Failure::Nonsense`] with the first rule that it breaks.
pub fn check_output(
    output: &Output,
    rows: usize,
    wanted: usize,
    series: usize,
) -> Result<(), Failure> {
    let nonsense = |text: String| Err(Failure::Nonsense(text));
    if output.values.len() != wanted * series {
        let got = output.values.len();
        return nonsense(format!(
            "{got} values for {wanted} wanted rows of {series} series"
        ));
    }
    if output.values.iter().any(|v| v.is_infinite()) {
        return nonsense("an infinite value".to_owned());
    }
    let signals = &output.signals;
    let count = signals.row.len();
    if signals.opinion.len() != count
        || signals.strength.len() != count
        || signals.values.len() != count * series
    {
        let (opinion, strength, values) = (
            signals.opinion.len(),
            signals.strength.len(),
            signals.values.len(),
        );
        return nonsense(format!(
            "columns of {count} rows, {opinion} opinions, {strength} strengths and {values} values of {series} series"
        ));
    }
    if count > rows.saturating_mul(MAX_SIGNALS_PER_ROW) || signals.opinions.len() > count {
        let opinions = signals.opinions.len();
        return nonsense(format!(
            "{count} signals and {opinions} opinions for {rows} rows; at most {MAX_SIGNALS_PER_ROW} a row"
        ));
    }
    let (mut last_row, mut in_row) = (0, 0);
    for &row in &signals.row {
        if row as usize >= rows {
            return nonsense(format!("a signal at row {row} of {rows}"));
        }
        if row < last_row {
            return nonsense(format!("a signal at row {row} after one at row {last_row}"));
        }
        in_row = if row == last_row { in_row + 1 } else { 1 };
        last_row = row;
        if in_row > MAX_SIGNALS_PER_ROW {
            return nonsense(format!(
                "more than {MAX_SIGNALS_PER_ROW} signals at row {row}"
            ));
        }
    }
    if let Some(opinion) = signals
        .opinion
        .iter()
        .find(|&&o| o as usize >= signals.opinions.len())
    {
        return nonsense(format!("opinion {opinion} of {}", signals.opinions.len()));
    }
    if let Some(strength) = signals.strength.iter().find(|s| !(0.0..=1.0).contains(*s)) {
        return nonsense(format!("a strength of {strength}; 0 to 1 is possible"));
    }
    if signals.values.iter().any(|v| v.is_infinite()) {
        return nonsense("a signal with an infinite value".to_owned());
    }
    for opinion in &signals.opinions {
        let length = opinion.reason.len();
        if !(1..=MAX_REASON_BYTES).contains(&length) || opinion.reason.chars().any(char::is_control)
        {
            return nonsense(format!(
                "a reason of {length} bytes; one line of 1 to {MAX_REASON_BYTES} is possible"
            ));
        }
    }
    Ok(())
}

/// Checks a state that is to be kept.
pub(super) fn check_state(state: &[u8]) -> Result<(), Failure> {
    if state.len() > MAX_STATE_BYTES {
        let bytes = state.len();
        return Err(Failure::Nonsense(format!(
            "a state of {bytes} bytes; at most {MAX_STATE_BYTES} are kept"
        )));
    }
    Ok(())
}
