//! `fetch`: users as JSON Lines on standard output. Writes nothing anywhere else.

use super::{Context, work};
use crate::cli::{Connections, FetchArgs};
use crate::encoding::Codec;
use crate::error::{Error, Kind, Result};
use crate::record::{format, without_secrets};
use crate::source::{AnySource, Page, Source};
use crate::terminal::print;

pub(super) async fn run(args: &FetchArgs, connections: &Connections, context: &Context) -> Result<()> {
    let config = work::source_config(&args.source, connections, context.config())?;
    context.draw_path(&[config.to_string(), "stdout".to_owned()]);
    let mut source = AnySource::new(&config, 1)?;
    let page_size = u64::from(args.source.results);
    let mut printed = 0;
    let mut left = args.count;
    while left > 0 {
        let count = usize::try_from(left.min(page_size)).unwrap_or(usize::MAX);
        let page = tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            page = source.page(count) => page?,
        };
        left = left.saturating_sub(page.users.len() as u64);
        let (lines, good) = render(&page, args.raw);
        printed += good;
        if !tokio::task::block_in_place(|| print(&lines))? {
            return Ok(());
        }
    }
    if printed == 0 {
        return Err(Error::new(Kind::Failed, format!("every one of the {} users was rejected", args.count))
            .hint("the warnings above name the fields; --raw prints what the API sent"));
    }
    Ok(())
}

/// The page's lines, and how many there are.
fn render(page: &Page, raw: bool) -> (Vec<u8>, u64) {
    let mut lines = Vec::with_capacity(page.users.len() * 512);
    let mut good = 0;
    for user in &page.users {
        if raw {
            lines.extend_from_slice(without_secrets(user).get().as_bytes());
        } else {
            match format(user, page.fetched_at) {
                Ok(user) => lines.extend(Codec::default().encode(&user)),
                Err(rejection) => {
                    tracing::warn!("rejected a user: {rejection}");
                    continue;
                }
            }
        }
        lines.push(b'\n');
        good += 1;
    }
    (lines, good)
}
