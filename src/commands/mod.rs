//! One file a subcommand: arguments → pipeline → output.

mod check;
mod config;
mod consume;
mod dashboard;
mod dead_letters;
mod fetch;
mod health;
mod init_schema;
pub mod mock_api;
mod produce;
mod purge;
mod run;
mod runs;
mod schema;
mod seek;
mod serving;
mod status;
mod tap;
mod trace;
mod verify;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

use clap::CommandFactory;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, ManArgs, SchemaAction, SchemaArgs};
use crate::config::{Config, Loaded, Setting};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::pipeline::Stores;
use crate::pipeline::health::Health;
use crate::shutdown;
use crate::terminal::{self, Terminal};

/// What every command works with.
struct Context {
    terminal: Terminal,
    stores: Arc<Stores>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    shutdown: CancellationToken,
    /// Where the embedded file is, and the dashboard's token.
    data_dir: PathBuf,
    /// The effective settings, where a dashboard is to show them.
    settings: Vec<Setting>,
}

/// Runs the command that was parsed.
///
/// # Errors
/// Whatever ends the command; its kind is the exit code.
pub async fn dispatch(loaded: Loaded, terminal: Terminal) -> Result<()> {
    match &loaded.cli.command {
        Command::Config(args) => return config::run(*args, &loaded),
        Command::Completions(args) => return completions(*args),
        Command::Man(args) => return man(args),
        Command::Schema(SchemaArgs { action: SchemaAction::Show }) => return schema::show(&loaded.cli.connections),
        Command::MockApi(args) => return mock_api::run(args, shutdown::on_signal()?).await,
        _ => {}
    }
    let Cli { connections, command, .. } = &loaded.cli;
    let context = Context {
        terminal,
        stores: Arc::new(Stores::new(Config::resolve(connections)?)),
        metrics: Arc::default(),
        health: Arc::default(),
        shutdown: shutdown::on_signal()?,
        data_dir: connections.data_dir.clone(),
        settings: if loaded.cli.command.serves_dashboard() { loaded.effective() } else { Vec::new() },
    };
    let done = match command {
        Command::Fetch(args) => fetch::run(args, connections, &context).await,
        Command::Produce(args) => Box::pin(produce::run(args, connections, &context)).await,
        Command::Consume(args) => consume::run(args, &context).await,
        Command::InitSchema(args) => init_schema::run(*args, &context).await,
        Command::Run(args) => run::run(args, connections, &context).await,
        Command::DeadLetters(args) => dead_letters::run(args, &context).await,
        Command::Seek(args) => seek::run(*args, &context).await,
        Command::Runs(args) => runs::run(*args, &context).await,
        Command::Purge(args) => purge::run(args, &context).await,
        Command::Check(args) => Box::pin(check::run(args, connections, &context)).await,
        Command::Status(args) => status::run(args, &context).await,
        Command::Tap(args) => tap::run(*args, &context).await,
        Command::Verify(args) => Box::pin(verify::run(args, &context)).await,
        Command::Trace(args) => Box::pin(trace::run(args, &context)).await,
        Command::Schema(args) => schema::run(*args, &context).await,
        Command::Dashboard(args) => dashboard::run(args, &context).await,
        Command::Health => health::run(&context).await,
        // These were served above.
        Command::Config(_) | Command::Completions(_) | Command::Man(_) | Command::MockApi(_) => Ok(()),
    };
    context.stores.close().await;
    done
}

fn completions(args: crate::cli::CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "userpipe", &mut script);
    terminal::print(&script).map(|_| ())
}

fn man(args: &ManArgs) -> Result<()> {
    if let Some(dir) = &args.dir {
        let failed =
            |e| Error::new(Kind::LocalIo, "cannot write the man pages").at(dir.display().to_string()).because(e);
        std::fs::create_dir_all(dir).map_err(failed)?;
        return clap_mangen::generate_to(Cli::command(), dir).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    terminal::print(&page).map(|_| ())
}
