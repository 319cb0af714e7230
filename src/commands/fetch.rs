//! `fetch`: users as JSON Lines on standard output. Writes nothing anywhere else.

use std::sync::Arc;

use super::{Context, work};
use crate::cli::{Connections, FetchArgs};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::record::{With, format, without_secrets};
use crate::source::{AnySource, Page, Source};
use crate::terminal::print;
use crate::transform::{Transform, Verdict};

pub(super) async fn run(args: &FetchArgs, connections: &Connections, context: &Context) -> Result<()> {
    let transform = config::transform(&args.transform, &context.config().with)?;
    let config = work::source_config(&args.source, connections, context.config())?;
    context.draw_path(&[config.to_string(), "stdout".to_owned()]);
    let mut source = AnySource::new(&config, 1)?;
    let page_size = u64::from(args.source.results);
    let mut tally = Tally::default();
    let mut left = args.count;
    while left > 0 {
        let count = usize::try_from(left.min(page_size)).unwrap_or(usize::MAX);
        let page = tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            page = source.page(count) => page?,
        };
        left = left.saturating_sub(page.users.len() as u64);
        let lines = if args.raw {
            raw_lines(&page, &mut tally)
        } else {
            lines(&page, &context.config().with, transform.as_ref(), &mut tally).await
        };
        if !tokio::task::block_in_place(|| print(&lines))? {
            return Ok(());
        }
    }
    if tally.filtered > 0 {
        context.terminal.say(&format!("--where dropped {} of {} users", tally.filtered, args.count));
    }
    if tally.printed == 0 && tally.filtered == 0 {
        return Err(Error::new(Kind::Failed, format!("every one of the {} users was rejected", args.count))
            .hint("the warnings above name the fields; --raw prints what the API sent"));
    }
    Ok(())
}

/// What became of the users.
#[derive(Debug, Default)]
struct Tally {
    printed: u64,
    filtered: u64,
    rejected: u64,
}

impl Tally {
    fn reject(&mut self, reason: &str) {
        self.rejected += 1;
        tracing::warn!("rejected a user: {reason}");
    }
}

/// The API's own objects, a line each.
fn raw_lines(page: &Page, tally: &mut Tally) -> Vec<u8> {
    let mut lines = Vec::with_capacity(page.users.len() * 1024);
    for user in &page.users {
        lines.extend_from_slice(without_secrets(user).get().as_bytes());
        lines.push(b'\n');
        tally.printed += 1;
    }
    lines
}

/// The page's records, a line each.
async fn lines(page: &Page, with: &With, transform: Option<&Arc<Transform>>, tally: &mut Tally) -> Vec<u8> {
    let mut users = Vec::with_capacity(page.users.len());
    for user in &page.users {
        match format(user, page.fetched_at, with) {
            Ok(user) => users.push(user),
            Err(rejection) => tally.reject(&rejection.to_string()),
        }
    }
    let verdicts = match transform {
        Some(transform) => transform.apply_all(users).await,
        None => users.into_iter().map(|user| Ok(Verdict::Keep(user))).collect(),
    };
    let mut lines = Vec::with_capacity(page.users.len() * 512);
    for verdict in verdicts {
        match verdict {
            Ok(Verdict::Keep(user)) => {
                lines.extend_from_slice(user.wire().as_bytes());
                lines.push(b'\n');
                tally.printed += 1;
            }
            Ok(Verdict::Filtered) => tally.filtered += 1,
            Err(reason) => tally.reject(&reason),
        }
    }
    lines
}
