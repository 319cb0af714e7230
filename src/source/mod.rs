//! The source: pages of users, as the Random User API gives them.
//!
//! The contract is [`Source`]. A source hands out raw API users; the formatter ([`crate::record::format`]) makes
//! records of them, so that one bad user is rejected alone and the rest of its page is kept.

pub mod random_user;
pub mod synthetic;

mod seed;

pub use random_user::RandomUser;
pub use synthetic::Synthetic;

use serde_json::value::RawValue;

use crate::config::{SourceConfig, SourceKind};
use crate::error::Result;
use crate::metrics::Count;
use crate::record::Timestamp;

/// One page of users.
#[derive(Debug)]
pub struct Page {
    /// The users, each a JSON object of the API (or whatever stood in its place).
    pub users: Vec<Box<RawValue>>,
    /// When the answer was complete.
    pub fetched_at: Timestamp,
}

/// A place to get users from.
pub trait Source: Send {
    /// The next page of at most `count` users (1 or more); never empty. Pages go on from call to call.
    ///
    /// Retries what may pass, within limits; an error means that the source gave up for now.
    fn page(&mut self, count: usize) -> impl Future<Output = Result<Page>> + Send;
}

/// The source that the configuration chose.
#[derive(Debug)]
pub enum AnySource {
    /// The Random User API.
    Api(RandomUser),
    /// Users made here.
    Synthetic(Synthetic),
    /// The API until it fails, from then on users made here.
    Auto(Auto),
}

/// The API with synthetic users to fall back on.
#[derive(Debug)]
pub struct Auto {
    api: RandomUser,
    synthetic: Synthetic,
    fallen_back: bool,
}

/// Attempts before `auto` falls back: there is something to fall back to, so nobody need wait for long.
const AUTO_ATTEMPTS_MAX: usize = 2;

impl AnySource {
    /// The source of `config`; its first page is `starting_page`, 1 unless a run with a fixed seed goes on.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`] where the API's URL or client cannot work. Touches no network.
    pub fn new(config: &SourceConfig, starting_page: u32) -> Result<Self> {
        Ok(match config.kind {
            SourceKind::Api => Self::Api(RandomUser::new(config, starting_page)?),
            SourceKind::Synthetic => Self::Synthetic(Synthetic::new(config, starting_page)),
            SourceKind::Auto => Self::Auto(Auto {
                api: RandomUser::new(
                    &SourceConfig { attempts_max: config.attempts_max.min(AUTO_ATTEMPTS_MAX), ..config.clone() },
                    starting_page,
                )?,
                synthetic: Synthetic::new(config, starting_page),
                fallen_back: false,
            }),
        })
    }

    /// Begins a run with new users: a seed that was drawn is drawn anew; under a given one pages go on.
    pub fn start_run(&mut self) {
        match self {
            Self::Api(api) => api.start_run(),
            Self::Synthetic(synthetic) => synthetic.start_run(),
            Self::Auto(auto) => {
                auto.api.start_run();
                auto.synthetic.start_run();
            }
        }
    }

    /// Begins a run with the users that an earlier attempt had, who came from this drawn seed.
    pub fn start_again(&mut self, seed: &str) {
        match self {
            Self::Api(api) => api.start_again(seed),
            Self::Synthetic(synthetic) => synthetic.start_again(seed),
            Self::Auto(auto) => {
                auto.api.start_again(seed);
                auto.synthetic.start_again(seed);
            }
        }
    }

    /// Begins a run under a given seed with this page.
    pub fn go_on_from(&mut self, page: u32) {
        match self {
            Self::Api(api) => api.go_on_from(page),
            Self::Synthetic(synthetic) => synthetic.go_on_from(page),
            Self::Auto(auto) => {
                auto.api.go_on_from(page);
                auto.synthetic.go_on_from(page);
            }
        }
    }

    /// The seed, where it is one that was given.
    pub fn given_seed(&self) -> Option<&str> {
        match self {
            Self::Api(api) | Self::Auto(Auto { api, .. }) => api.seed().filter(|_| api.seed_is_given()),
            Self::Synthetic(synthetic) => Some(synthetic.seed()).filter(|_| synthetic.seed_is_given()),
        }
    }

    /// Counts the attempts that are repeated there from now on.
    pub fn count_retries(&mut self, retries: Count) {
        match self {
            Self::Api(api) | Self::Auto(Auto { api, .. }) => api.count_retries(retries),
            Self::Synthetic(_) => {}
        }
    }

    /// The seed that a run records: given or drawn. `None` where the API draws one for every page (`--gender`).
    pub fn seed(&self) -> Option<&str> {
        match self {
            Self::Api(api) => api.seed(),
            Self::Synthetic(synthetic) => Some(synthetic.seed()),
            Self::Auto(auto) if auto.fallen_back => Some(auto.synthetic.seed()),
            Self::Auto(auto) => auto.api.seed(),
        }
    }

    /// The page that a later run starts with, under a seed that was given: a drawn one never comes again.
    pub fn next_page(&self) -> Option<u32> {
        let page = match self {
            Self::Api(api) => api.next_page(),
            Self::Synthetic(synthetic) => synthetic.next_page(),
            Self::Auto(Auto { api, synthetic, .. }) => api.next_page().max(synthetic.next_page()),
        };
        self.given_seed().map(|_| page)
    }
}

impl Source for AnySource {
    async fn page(&mut self, count: usize) -> Result<Page> {
        match self {
            Self::Api(api) => api.page(count).await,
            Self::Synthetic(synthetic) => synthetic.page(count).await,
            Self::Auto(auto) => auto.page(count).await,
        }
    }
}

impl Source for Auto {
    async fn page(&mut self, count: usize) -> Result<Page> {
        if !self.fallen_back {
            match self.api.page(count).await {
                Ok(page) => return Ok(page),
                Err(error) => {
                    tracing::warn!("{error}; from here on users are SYNTHETIC (--source auto), made on this machine");
                    self.fallen_back = true;
                }
            }
        }
        self.synthetic.page(count).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
