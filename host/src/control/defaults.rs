//! What a new log gets: the built-in plugins, and a strategy of each.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    Actor, Control, Precondition, StrategyRequest, info::ControlError, record::defaults_message,
};
use crate::plugin::Digest;

/// The strategies of a new log: id, plugin and parameters.
const DEFAULTS: [(&str, &str, &str, u32); 3] = [
    ("ma-20", "ma", "period", 20),
    ("ema-20", "ema", "period", 20),
    ("rsi-14", "rsi", "period", 14),
];

impl Control {
    /// Uploads the built-in plugins that the log does not have, and on a new log defines the default strategies.
    ///
    /// # Errors
    /// As of an upload.
    pub async fn deploy_defaults(&self, built_in: &[&'static [u8]]) -> Result<(), ControlError> {
        for bytes in built_in {
            if !self.shared.catalogue().has_plugin(Digest::of(bytes)) {
                self.upload(Bytes::from_static(bytes), &Actor::service())
                    .await?;
            }
        }
        if self.shared.catalogue().defaults_done {
            return Ok(());
        }
        for (id, plugin, param, value) in DEFAULTS {
            let params = Map::from_iter([(param.to_owned(), Value::from(value))]);
            let request = StrategyRequest::of(plugin, params);
            match self
                .put_strategy(id, request, Precondition::Absent, &Actor::service())
                .await
            {
                Ok(_) | Err(ControlError::Precondition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.append(vec![defaults_message()]).await
    }
}
