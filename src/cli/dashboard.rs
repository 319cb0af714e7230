//! The arguments of the dashboard: `userpipe dashboard`, and `--listen` of the commands that work.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::transform::WhereArgs;

/// Who may look and change, and over what.
#[derive(Args, Clone, Debug)]
pub struct ListenArgs {
    /// File with the token for changes [default: shown on a terminal, else kept as dashboard-token in --data-dir]
    #[arg(long, env = "USERPIPE_LISTEN_TOKEN_FILE", value_name = "FILE", help_heading = "Dashboard")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub listen_token_file: Option<PathBuf>,
    /// Another name that browsers may call this server by, beside localhost and its address; comma-separated
    #[arg(
        long,
        env = "USERPIPE_LISTEN_HOST",
        value_name = "NAME,…",
        help_heading = "Dashboard",
        value_delimiter = ','
    )]
    pub listen_host: Vec<String>,
    /// PEM file of the server's certificate chain, for https
    #[arg(long, env = "USERPIPE_LISTEN_TLS_CERT", value_name = "FILE", help_heading = "Dashboard")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub listen_tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, env = "USERPIPE_LISTEN_TLS_KEY", value_name = "FILE", help_heading = "Dashboard")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub listen_tls_key: Option<PathBuf>,
    /// Serve other machines without TLS, where something in front of it encrypts
    #[arg(long, env = "USERPIPE_LISTEN_INSECURE", help_heading = "Dashboard")]
    pub listen_insecure: bool,
}

/// The arguments of `dashboard`.
#[derive(Args, Clone, Debug)]
pub struct DashboardArgs {
    /// Address to serve on; port 0 takes a free one. Another one than loopback needs TLS, and the token for reading too
    #[arg(long, env = "USERPIPE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    #[arg(help_heading = "Dashboard")]
    pub listen: SocketAddr,
    /// Who may look and change.
    #[command(flatten)]
    pub access: ListenArgs,
    /// What consumers let through.
    #[command(flatten)]
    pub filter: WhereArgs,
}
