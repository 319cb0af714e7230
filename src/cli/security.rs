//! How connections are secured.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueHint};

/// TLS towards Cassandra, and whether credentials may go in clear text. PostgreSQL's TLS is in its URL.
#[derive(Args, Clone, Debug)]
pub struct SecurityArgs {
    /// Send credentials over connections that are not encrypted, to other machines too
    #[arg(long, global = true, env = "USERPIPE_ALLOW_PLAINTEXT_CREDENTIALS", help_heading = "Pipeline")]
    #[arg(action = ArgAction::SetTrue)]
    pub allow_plaintext_credentials: bool,
    /// Talk TLS to Cassandra; each of the three files below implies it
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_TLS", help_heading = "Cassandra", action = ArgAction::SetTrue)]
    pub cassandra_tls: bool,
    /// PEM file of the authorities whose certificates Cassandra may have [default: the system's]
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_CA", help_heading = "Cassandra", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub cassandra_ca: Option<PathBuf>,
    /// PEM file of our certificate and its chain, where Cassandra asks for one
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_CERT", help_heading = "Cassandra", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub cassandra_cert: Option<PathBuf>,
    /// PEM file of its unencrypted private key
    #[arg(long, global = true, env = "USERPIPE_CASSANDRA_KEY", help_heading = "Cassandra", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub cassandra_key: Option<PathBuf>,
}
