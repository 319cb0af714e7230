//! One short file a subcommand: arguments → pipeline or inspect → output.

pub mod mock_api;
