//! A browser's requests, byte by byte.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{WAIT_MAX, wait_for};
use crate::sandbox::{Running, Sandbox};

/// A dashboard that runs.
pub(super) struct Page {
    /// `127.0.0.1:PORT`
    pub(super) address: String,
    /// What changes need.
    pub(super) token: String,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// An event of a stream.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Value,
}

/// A stream of events that is open.
pub(super) struct Events(BufReader<TcpStream>);

impl Events {
    /// The next one; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Event> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => text.clone_into(&mut name),
                Some(("data", text)) => text.clone_into(&mut data),
                _ if name.is_empty() => {}
                _ => return Some(Event { name, data: serde_json::from_str(&data).unwrap() }),
            }
        }
    }

    /// The data of the next event of this name.
    pub(super) fn next_of(&mut self, name: &str) -> Value {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before {name}"));
            if event.name == name {
                return event.data;
            }
        }
    }
}

impl Page {
    /// Of a process that says where its dashboard is, in the sandbox's default data directory.
    pub(super) fn of(process: &Running, sandbox: &Sandbox) -> Self {
        let address = address(process, "http");
        let token = read_token(&sandbox.path("userpipe-data/dashboard-token"));
        Self { address, token }
    }

    /// A request with these headers, and `Host` unless one of them is that.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = String::new();
        self.send(method, path, headers, body).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "Host") {
            write!(head, "Host: {}\r\n", self.address).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(stream, "{head}\r\n{body}").unwrap();
        stream
    }

    /// What a call without a token answers, which must be there.
    pub(super) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// A call with the token.
    pub(super) fn get_with_token(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &[("Authorization", &self.bearer())], "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// A change with the token, from the page itself.
    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        let origin = format!("http://{}", self.address);
        let headers = [("Authorization", self.bearer()), ("Origin", origin)];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.ask("POST", path, &headers, &body.to_string())
    }

    /// A stream; its head is read, and must be that of a success.
    pub(super) fn events(&self, path: &str) -> Events {
        self.try_events(path).unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// A stream, or the status that it was refused with.
    pub(super) fn try_events(&self, path: &str) -> Result<Events, u16> {
        let mut events = Events(BufReader::new(self.send("GET", path, &[], "")));
        let mut first = String::new();
        events.0.read_line(&mut first).unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            events.0.read_line(&mut line).unwrap();
        }
        match first.split(' ').nth(1).unwrap().parse().unwrap() {
            200 => Ok(events),
            status => Err(status),
        }
    }

    /// Everything that a scan finds, and what it says at its end.
    pub(super) fn scan(&self, query: &str) -> (Vec<Value>, Value) {
        let mut events = self.events(&format!("/api/messages/scan?{query}"));
        let mut messages = Vec::new();
        loop {
            let event = events.next().expect("a scan says when it is done");
            match event.name.as_str() {
                "message" => messages.push(event.data),
                "done" => return (messages, event.data),
                "progress" => assert!(event.data["total"].is_u64(), "{event:?}"),
                _ => panic!("{event:?}"),
            }
        }
    }

    /// Waits until the overview is as it should be, and gives it.
    pub(super) fn wait_overview(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || Some(self.get("/api/overview")).filter(&is_so))
    }

    /// Asks for a verification, and waits for it.
    pub(super) fn verify(&self) -> Value {
        let before = self.get("/api/overview")["verify"]["at"].clone();
        assert_eq!(self.post("/api/verify", &json!({})).status, 202);
        let is_done = |it: &Value| it["verify"]["is_running"] == false && it["verify"]["at"] != before;
        self.wait_overview("a verification", is_done)["verify"].clone()
    }
}

/// Where a process says that its dashboard is.
pub(super) fn address(process: &Running, scheme: &str) -> String {
    let before = format!("/readyz are at {scheme}://");
    // The token's place is told after the address.
    let said = process.wait_for_stderr("the token for changes on it is in ");
    said.split(&before).nth(1).unwrap_or_else(|| panic!("{said}")).lines().next().unwrap().to_owned()
}

pub(super) fn read_token(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}
