//! The arguments of the Schema Registry, which every command accepts.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueHint};

use crate::config::Encoding;

/// The heading of these flags in the help.
const HEADING: &str = "Schema Registry";

/// Where schemas are, and how values are written under them.
#[derive(Args, Clone, Debug)]
pub struct RegistryArgs {
    /// Base URL of a Confluent-compatible Schema Registry, without user and password [default: none]
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY", value_name = "URL")]
    #[arg(value_hint = ValueHint::Url)]
    pub schema_registry: Option<String>,
    /// How values are written to the topic; every encoding is read, whichever this is
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_ENCODING", default_value = "json")]
    pub encoding: Encoding,
    /// Register no schema: end with an error if it is not there
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_NO_REGISTER", action = ArgAction::SetTrue)]
    pub no_register: bool,
    /// User name; the password is `USERPIPE_SCHEMA_REGISTRY_PASSWORD` or --schema-registry-password-file
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY_USER", value_name = "USER")]
    pub schema_registry_user: Option<String>,
    /// File with the password
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY_PASSWORD_FILE")]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub schema_registry_password_file: Option<PathBuf>,
    /// File with a bearer token, instead of user and password; or `USERPIPE_SCHEMA_REGISTRY_TOKEN`
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY_TOKEN_FILE", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub schema_registry_token_file: Option<PathBuf>,
    /// PEM file of the authorities to trust [default: the system's]
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY_CA", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub schema_registry_ca: Option<PathBuf>,
    /// PEM file of the client's certificate chain
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY_CERT", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub schema_registry_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, global = true, help_heading = HEADING, env = "USERPIPE_SCHEMA_REGISTRY_KEY", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub schema_registry_key: Option<PathBuf>,
}
