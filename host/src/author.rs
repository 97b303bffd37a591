//! What an author does with a plugin, from an empty folder to live signals: the commands `wigwag plugin` and `wigwag strategy`.
//! They ask the service by its HTTP API like anyone else.

mod bindings;
mod client;
mod cure;
mod found;
mod look;
mod make;
mod price;
mod push;
mod strategies;
mod template;
mod trial;

use std::{io::Write, path::Path};

use crate::{
    config::{PluginCommand, StrategyCommand},
    offline,
    plugin::Compiler,
    strategy::Input,
};

/// Carries out a `wigwag plugin` command.
///
/// # Errors
/// What keeps it from that, with the cure.
pub fn plugin(
    command: PluginCommand,
    compiler: Compiler,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        PluginCommand::New { name, lang } => template::new(Path::new("."), &name, lang, out),
        PluginCommand::Build { folder } => make::build(&folder, out).map(drop),
        PluginCommand::Check { subject } => look::check(&subject.plugin, compiler, out),
        PluginCommand::Test {
            subject,
            ticks,
            params,
            bars,
            signals,
        } => {
            let request = trial::Request {
                subject: subject.plugin,
                ticks,
                params,
                input: bars.map_or(Input::Ticks, Input::Bars),
                signals,
            };
            trial::test(&request, compiler, out)
        }
        PluginCommand::Run {
            subject,
            ticks,
            params,
            bars,
            values,
        } => {
            // Its output is for programs, and what is said of a build for a person.
            let found = found::find(&subject.plugin, &mut std::io::stderr())?;
            let request = offline::Request {
                plugin: found.name,
                component: found.bytes,
                ticks,
                params,
                input: bars.map_or(Input::Ticks, Input::Bars),
                values,
            };
            offline::run(&request, compiler, out)
        }
        PluginCommand::Push {
            subject,
            id,
            definition,
            signals,
            within,
            service,
        } => {
            let request = push::Request {
                subject: subject.plugin,
                id,
                definition,
                signals,
                within: std::time::Duration::from_secs(within),
            };
            asking(push::push(&request, &service, out))
        }
        PluginCommand::List { service } => asking(push::list(&service, out)),
    }
}

/// Carries out a `wigwag strategy` command.
///
/// # Errors
/// What keeps it from that, with the cure.
pub fn strategy(command: StrategyCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        StrategyCommand::Set {
            id,
            plugin,
            definition,
            disabled,
            service,
        } => {
            let wanted = strategies::Wanted {
                id: &id,
                plugin,
                takes: None,
                definition: &definition,
                enabled: !disabled,
            };
            asking(strategies::set(&wanted, &service, out))
        }
        StrategyCommand::List { service } => asking(strategies::list(&service, out)),
        StrategyCommand::Remove { id, service } => asking(strategies::remove(&id, &service, out)),
        StrategyCommand::Logs { id, service } => asking(strategies::logs(&id, &service, out)),
    }
}

/// Waits for what asks the service.
fn asking(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
