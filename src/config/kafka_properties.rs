//! Kafka's client properties under librdkafka's names (`-X KEY=VALUE`, `-F FILE`): which there are here, and what to
//! write in place of the others.

use std::collections::BTreeMap;
use std::path::Path;

use super::secrets::warn_if_others_can_read;
use crate::cli::{KafkaArgs, Property};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// A file of properties larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How alike a key must be to a known one to be suggested.
const LIKENESS_MIN: f64 = 0.85;

/// The properties that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    SecurityProtocol,
    Mechanism,
    Username,
    Password,
    OauthMethod,
    OauthClientId,
    OauthClientSecret,
    OauthEndpoint,
    OauthScope,
    OauthTokenFile,
    HttpsCa,
    Ca,
    Certificate,
    Private,
}

/// librdkafka's names (its CONFIGURATION.md), but for `sasl.oauthbearer.token.file`: librdkafka leaves a token of the
/// caller's own to a callback. The first name of a key is the one that errors use.
const KEYS: [(&str, Key); 15] = [
    ("security.protocol", Key::SecurityProtocol),
    ("sasl.mechanism", Key::Mechanism),
    ("sasl.mechanisms", Key::Mechanism),
    ("sasl.username", Key::Username),
    ("sasl.password", Key::Password),
    ("sasl.oauthbearer.method", Key::OauthMethod),
    ("sasl.oauthbearer.client.id", Key::OauthClientId),
    ("sasl.oauthbearer.client.secret", Key::OauthClientSecret),
    ("sasl.oauthbearer.token.endpoint.url", Key::OauthEndpoint),
    ("sasl.oauthbearer.scope", Key::OauthScope),
    ("sasl.oauthbearer.token.file", Key::OauthTokenFile),
    ("https.ca.location", Key::HttpsCa),
    ("ssl.ca.location", Key::Ca),
    ("ssl.certificate.location", Key::Certificate),
    ("ssl.key.location", Key::Private),
];

/// Properties of librdkafka or the Java client that people bring along, and what is written here instead.
const ELSEWHERE: [(&str, &str); 27] = [
    ("bootstrap.servers", "give --brokers"),
    ("metadata.broker.list", "give --brokers"),
    ("group.id", "give --group"),
    ("group.instance.id", "give --static-member"),
    ("group.protocol", "give --group-protocol"),
    ("client.id", "it is userpipe/VERSION; leave it out"),
    ("compression.codec", "give --compression"),
    ("compression.type", "give --compression"),
    ("linger.ms", "give --linger"),
    ("queue.buffering.max.ms", "give --linger"),
    ("batch.size", "give --batch-bytes"),
    ("batch.num.messages", "give --batch-records"),
    ("delivery.timeout.ms", "give --delivery-timeout"),
    ("message.timeout.ms", "give --delivery-timeout"),
    ("socket.connection.setup.timeout.ms", "give --connect-timeout"),
    ("auto.offset.reset", "give --offset to consume, or --on-out-of-range"),
    ("enable.auto.commit", "offsets are committed after the write, always; leave it out"),
    ("acks", "it is all, always; leave it out"),
    ("request.required.acks", "it is all, always; leave it out"),
    ("partitioner", "it is murmur2_random, as Kafka's own; leave it out"),
    ("enable.ssl.certificate.verification", "certificates are always checked; leave it out"),
    ("ssl.endpoint.identification.algorithm", "host names are always checked; leave it out"),
    ("ssl.key.password", "decrypt the key: openssl pkcs8 -in KEY -out PLAIN-KEY; then chmod 600 PLAIN-KEY"),
    ("ssl.keystore.location", "give PEM files with ssl.certificate.location and ssl.key.location"),
    ("ssl.truststore.location", "give a PEM file with ssl.ca.location"),
    ("sasl.jaas.config", "give sasl.username, and USERPIPE_SASL_PASSWORD or --sasl-password-file"),
    ("sasl.kerberos.service.name", "GSSAPI is not there: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER are"),
];

impl Key {
    /// The name that errors use.
    pub(super) fn name(self) -> &'static str {
        KEYS.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }

    fn is_secret(self) -> bool {
        matches!(self, Key::Password | Key::OauthClientSecret)
    }

    /// Where a secret comes from instead of the command line.
    pub(super) fn secret_hint(self) -> &'static str {
        match self {
            Key::OauthClientSecret => {
                "set USERPIPE_SASL_CLIENT_SECRET or --sasl-client-secret-file, or write it into the file of -F"
            }
            _ => "set USERPIPE_SASL_PASSWORD or --sasl-password-file, or write it into the file of -F",
        }
    }
}

/// What was given, one value a key. Values are secrets until they are asked for: the password may be among them.
#[derive(Debug, Default)]
pub(super) struct Properties(BTreeMap<Key, Secret>);

impl Properties {
    /// Reads the file, then `-X` over it.
    pub(super) fn read(from: &KafkaArgs) -> Result<Self> {
        let mut all = Self::default();
        if let Some(path) = &from.properties_file {
            all.read_file(path)?;
        }
        for pair in from.property.iter().flat_map(pairs) {
            let (key, value) = parse(pair, "-X")?;
            if key.is_secret() {
                let what = format!("{} must not be given with -X: every user of the machine can read it", key.name());
                return Err(Error::new(Kind::Config, what).hint(key.secret_hint()));
            }
            all.0.insert(key, Secret::new(value));
        }
        Ok(all)
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let place = path.display().to_string();
        let failed = || Error::new(Kind::Config, "cannot read the file of -F").at(place.clone());
        let size = std::fs::metadata(path).map_err(|e| failed().because(e))?.len();
        if size > FILE_BYTES_MAX {
            return Err(failed().because(format!("{size} bytes; at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| failed().because(e))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = parse(line, &format!("{place}, line {}", number + 1))?;
            self.0.insert(key, Secret::new(value));
        }
        if self.0.keys().any(|key| key.is_secret()) {
            warn_if_others_can_read(path);
        }
        Ok(())
    }

    /// The value of a key that is no secret.
    pub(super) fn get(&self, key: Key) -> Option<&str> {
        self.0.get(&key).map(Secret::expose)
    }

    /// The value of a secret key; only the file can give one.
    pub(super) fn secret(&self, key: Key) -> Option<Secret> {
        self.0.get(&key).cloned()
    }

    /// The first of these keys that was given.
    pub(super) fn first_of(&self, keys: &[Key]) -> Option<Key> {
        keys.iter().copied().find(|key| self.0.contains_key(key))
    }
}

/// The pairs of one argument. A comma separates where a known kind of key follows it, so that paths may hold commas.
fn pairs(property: &Property) -> Vec<&str> {
    let text = property.0.as_str();
    let mut found = Vec::new();
    let mut begin = 0;
    for (at, _) in text.match_indices(',') {
        let rest = &text[at + 1..];
        let key = rest.split_once('=').map_or("", |(key, _)| key.trim());
        if key.contains('.') && key.chars().all(|c| c.is_ascii_lowercase() || c == '.') {
            found.push(&text[begin..at]);
            begin = at + 1;
        }
    }
    found.push(&text[begin..]);
    found
}

/// The secret keys of an argument, replaced by stars: for `userpipe config`, which shows what was typed.
pub(super) fn without_secrets(property: &str) -> String {
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if key_of(name.trim()).is_none_or(Key::is_secret) => format!("{name}=***"),
        Some(_) => pair.to_owned(),
        None => "***".to_owned(),
    };
    pairs(&Property(property.to_owned())).into_iter().map(shown).collect::<Vec<_>>().join(",")
}

fn key_of(name: &str) -> Option<Key> {
    KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key)
}

/// One `KEY=VALUE`. Errors never show the value.
fn parse<'a>(pair: &'a str, place: &str) -> Result<(Key, &'a str)> {
    let Some((name, value)) = pair.split_once('=') else {
        return Err(Error::new(Kind::Config, "bad Kafka property").at(place).because("write KEY=VALUE"));
    };
    let (name, value) = (name.trim(), value.trim());
    let key = key_of(name).ok_or_else(|| unknown(name, place))?;
    if value.is_empty() {
        return Err(Error::new(Kind::Config, format!("the Kafka property {name} is empty")).at(place));
    }
    Ok((key, value))
}

fn unknown(name: &str, place: &str) -> Error {
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(known, _)| *known == name) {
        return Error::new(Kind::Config, format!("the Kafka property {name} is not taken")).at(place).hint(*instead);
    }
    let error = Error::new(Kind::Config, format!("unknown Kafka property {name}")).at(place);
    let names = KEYS.iter().map(|(known, _)| *known).chain(ELSEWHERE.iter().map(|(known, _)| *known));
    match nearest(name, names) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("there are {}", KEYS.map(|(known, _)| known).join(", "))),
    }
}

/// The name that is most like `text`, where one is like it at all.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    let like = |name: &&'a str| strsim::jaro_winkler(&name.to_ascii_lowercase(), &text);
    names
        .map(|name| (like(&name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> KafkaArgs {
        KafkaArgs { property: list.iter().map(|text| Property((*text).to_owned())).collect(), ..KafkaArgs::default() }
    }

    fn refused(list: &[&str]) -> (String, String) {
        let error = Properties::read(&arguments(list)).expect_err("it is refused");
        assert_eq!(error.kind(), Kind::Config);
        (error.to_string(), error.hint_text().unwrap_or_default().to_owned())
    }

    #[test]
    fn pairs_are_read_and_the_last_one_stands() {
        let all =
            Properties::read(&arguments(&["security.protocol=SSL", " sasl.mechanisms = PLAIN ", "ssl.ca.location=/a"]));
        let all = all.expect("they are known");
        assert_eq!(all.get(Key::SecurityProtocol), Some("SSL"));
        assert_eq!(all.get(Key::Mechanism), Some("PLAIN"));
        let all = Properties::read(&arguments(&["ssl.ca.location=/a=b", "ssl.ca.location=/c=d"])).expect("known");
        assert_eq!(all.get(Key::Ca), Some("/c=d"));
    }

    #[test]
    fn a_list_has_commas_and_so_may_a_value() {
        let all = Properties::read(&arguments(&["security.protocol=SSL,ssl.ca.location=/a,b.pem,sasl.username=x,y"]));
        let all = all.expect("three pairs");
        assert_eq!(all.get(Key::Ca), Some("/a,b.pem"));
        assert_eq!(all.get(Key::Username), Some("x,y"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let (text, hint) = refused(&["sasl.mechansim=PLAIN"]);
        assert_eq!(text, "unknown Kafka property sasl.mechansim at -X");
        assert_eq!(hint, "did you mean sasl.mechanism?");
        assert_eq!(refused(&["ssl.ca.locaton=x"]).1, "did you mean ssl.ca.location?");
        assert_eq!(refused(&["bootstrap.server=x"]).1, "did you mean bootstrap.servers?");
        assert!(refused(&["zzz=x"]).1.starts_with("there are security.protocol, "));
        let (text, hint) = refused(&["bootstrap.servers=x:1"]);
        assert_eq!(
            (text.as_str(), hint.as_str()),
            ("the Kafka property bootstrap.servers is not taken at -X", "give --brokers")
        );
    }

    #[test]
    fn a_secret_is_no_argument_and_no_error_shows_it() {
        for argument in
            ["sasl.password=hunter2", "security.protocol=SSL,sasl.password=hunter2", "hunter2", "sasl.passwrd=hunter2"]
        {
            let error = Properties::read(&arguments(&[argument])).expect_err("it is refused");
            assert!(!format!("{error} {error:?} {:?}", error.hint_text()).contains("hunter2"), "{error}");
        }
        let (text, hint) = refused(&["sasl.oauthbearer.client.secret=hunter2"]);
        assert!(text.starts_with("sasl.oauthbearer.client.secret must not be given with -X"), "{text}");
        assert!(hint.contains("USERPIPE_SASL_CLIENT_SECRET"), "{hint}");
        assert_eq!(without_secrets("sasl.username=me,sasl.password=hunter2"), "sasl.username=me,sasl.password=***");
        assert_eq!(without_secrets("hunter2"), "***");
        assert_eq!(without_secrets("sasl.passwrd=hunter2"), "sasl.passwrd=***");
    }

    #[test]
    fn a_file_has_lines_comments_and_secrets() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("client.properties");
        let read = |text: &str, over: &[&str]| {
            std::fs::write(&path, text).expect("written");
            Properties::read(&KafkaArgs { properties_file: Some(path.clone()), ..arguments(over) })
        };
        let text = "# a comment\n\n security.protocol = SASL_SSL \r\nsasl.password=a # b = c\n";
        let all = read(text, &["security.protocol=SASL_PLAINTEXT"]).expect("it is good");
        assert_eq!(all.get(Key::SecurityProtocol), Some("SASL_PLAINTEXT"), "-X goes over -F");
        assert_eq!(all.secret(Key::Password).map(|secret| secret.expose().to_owned()).as_deref(), Some("a # b = c"));
        assert!(!format!("{all:?}").contains("a # b"));
        let error = read("security.protocol=SSL\nhunter2\n", &[]).expect_err("no pair");
        assert!(error.to_string().ends_with("client.properties, line 2: write KEY=VALUE"), "{error}");
        assert_eq!(read("sasl.username=\n", &[]).expect_err("empty").kind(), Kind::Config);
        let missing = KafkaArgs { properties_file: Some(dir.path().join("nowhere")), ..KafkaArgs::default() };
        let error = Properties::read(&missing).expect_err("missing");
        assert!(error.to_string().starts_with("cannot read the file of -F at "), "{error}");
    }
}
