//! The arguments of the way to Kafka: client properties under librdkafka's names, and where the secrets are.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueHint};

/// How Kafka is talked to. Every command accepts these, as the other connection options.
#[derive(Args, Clone, Debug, Default)]
pub struct KafkaArgs {
    /// A client property under librdkafka's name, as in security.protocol=SSL; may be given several times
    ///
    /// security.protocol, sasl.mechanism, sasl.username, ssl.ca.location, ssl.certificate.location, ssl.key.location,
    /// https.ca.location, sasl.oauthbearer.method=oidc with its client.id, token.endpoint.url and scope, or
    /// sasl.oauthbearer.token.file. Secrets are no arguments: `USERPIPE_SASL_PASSWORD`, a file, or -F.
    #[arg(
        short = 'X',
        long,
        global = true,
        env = "USERPIPE_PROPERTY",
        help_heading = "Kafka",
        value_name = "KEY=VALUE"
    )]
    pub property: Vec<Property>,
    /// File of client properties, a KEY=VALUE a line, # for comments; it may hold sasl.password; -X goes over it
    #[arg(short = 'F', long, global = true, env = "USERPIPE_PROPERTIES_FILE", help_heading = "Kafka")]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub properties_file: Option<PathBuf>,
    /// File with the password of sasl.username
    #[arg(long, global = true, env = "USERPIPE_SASL_PASSWORD_FILE", help_heading = "Kafka")]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub sasl_password_file: Option<PathBuf>,
    /// File with the secret of sasl.oauthbearer.client.id; or `USERPIPE_SASL_CLIENT_SECRET`
    #[arg(long, global = true, env = "USERPIPE_SASL_CLIENT_SECRET_FILE", help_heading = "Kafka")]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub sasl_client_secret_file: Option<PathBuf>,
}

/// One `KEY=VALUE` as it was typed, or several with commas between them (the environment and userpipe.toml write lists
/// so). It may be a secret that does not belong here, so neither `Debug` nor an error of clap shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Property(pub String);

impl FromStr for Property {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.split_once('=').map_or("", |(key, _)| key);
        write!(f, "{key}=***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let property: Property = "sasl.password=hunter2".parse().expect("any text");
        assert_eq!(format!("{property:?}"), "sasl.password=***");
        assert_eq!(format!("{:?}", Property("hunter2".to_owned())), "=***");
    }
}
