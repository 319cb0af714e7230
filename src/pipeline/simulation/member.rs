//! A group member with faults, which checks every commit against the stores before it is made.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::faulty::{away, suffer};
use super::plan::{Dice, Fault, Place};
use super::world::{Fate, Process, lock};
use crate::bus::embedded::EmbeddedConsumer;
use crate::bus::{Commit, Consumer, Event, Message, Offset, Partition, Watermarks};
use crate::error::Result;

/// What a member has done, for those who judge it.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    /// The end of what it was given, of the partitions that it holds.
    pub(super) given: BTreeMap<Partition, Offset>,
    /// A commit of it came too late.
    pub(super) fenced: bool,
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    inner: EmbeddedConsumer,
    process: Process,
    dice: Dice,
    deeds: Arc<Mutex<Deeds>>,
    /// Polled and not yet handed out, so that there are many small polls.
    ready: VecDeque<Message>,
    /// The fate of each record that was handed out and not yet committed.
    fates: BTreeMap<(Partition, Offset), Fate>,
    /// The offset that was last found to be right to commit.
    checked: BTreeMap<Partition, Offset>,
    /// Records that were handed out, and how many of them the stores have acknowledged.
    handed_out: i64,
    durable: Arc<AtomicI64>,
    /// Partitions that went away took records in flight with them, which are not counted any more.
    counts: bool,
    paused: bool,
}

impl Member {
    pub(super) fn new(inner: EmbeddedConsumer, process: &Process, durable: &Arc<AtomicI64>) -> Self {
        Self {
            inner,
            process: process.clone(),
            dice: process.dice(Place::Poll),
            deeds: Arc::default(),
            ready: VecDeque::new(),
            fates: BTreeMap::new(),
            checked: BTreeMap::new(),
            handed_out: 0,
            durable: Arc::clone(durable),
            counts: true,
            paused: false,
        }
    }

    pub(super) fn deeds(&self) -> Arc<Mutex<Deeds>> {
        Arc::clone(&self.deeds)
    }

    fn forget(&mut self, partitions: &[Partition]) {
        self.counts = false;
        self.ready.retain(|message| !partitions.contains(&message.partition));
        lock(&self.deeds).given.retain(|partition, _| !partitions.contains(partition));
    }

    /// Some of what is ready. No await: a cancelled poll has handed out nothing.
    fn hand_out(&mut self) -> Vec<Message> {
        let in_flight = self.handed_out - self.durable.load(Ordering::SeqCst);
        let shape = &self.process.world.shape;
        if self.counts && in_flight >= i64::try_from(shape.in_flight_max).unwrap() {
            self.process.world.violated(format!("asks for more with {in_flight} in flight: {shape:?}"));
        }
        let count = self.dice.between(1, shape.poll_max as u64);
        let count = usize::try_from(count).unwrap().min(self.ready.len());
        let messages: Vec<Message> = self.ready.drain(..count).collect();
        for message in &messages {
            self.fates.insert((message.partition, message.offset), self.process.world.fate(message));
            lock(&self.deeds).given.insert(message.partition, message.offset + 1);
        }
        self.handed_out += i64::try_from(count).unwrap();
        messages
    }

    /// Whether everything before these offsets is durable.
    async fn check(&mut self, offsets: &BTreeMap<Partition, Offset>) -> Result<()> {
        let stored = self.process.world.stored().await?;
        for (&partition, &end) in offsets {
            let was_given = self.fates.contains_key(&(partition, end - 1));
            if !was_given && self.checked.get(&partition) != Some(&end) {
                self.process.world.violated(format!("commits {partition}:{end}, which it was never given"));
            }
            for (place, fate) in self.fates.range((partition, 0)..(partition, end)) {
                if !stored.has(*place, *fate) {
                    self.process
                        .world
                        .violated(format!("commits {partition}:{end} before {place:?} is durable: {fate:?}"));
                }
            }
            self.fates.retain(|(p, offset), _| *p != partition || *offset >= end);
            self.checked.insert(partition, end);
        }
        Ok(())
    }
}

impl Consumer for Member {
    async fn poll(&mut self, wait: Duration) -> Result<Event> {
        let fault = self.process.fault(&self.dice, Place::Poll).await;
        if fault == Some(Fault::Expired) {
            self.process.world.session_runs_out(self.inner.member()).await?;
        }
        let is_ready = !self.paused && !self.ready.is_empty();
        self.inner.pause(self.paused || is_ready);
        let world = Arc::clone(&self.process.world);
        let mut sent = pin!(world.sent_more.notified());
        sent.as_mut().enable();
        let polled = suffer(&self.process, fault, Place::Poll, self.inner.poll(Duration::ZERO)).await?;
        if let Event::Records(messages) = &polled
            && messages.is_empty()
            && !is_ready
        {
            // Instead of looking every few milliseconds, which would be most of what the machine does.
            let _ = tokio::time::timeout(wait, sent).await;
        }
        match &polled {
            Event::Revoked(partitions, _) | Event::Lost(partitions) => self.forget(&partitions.clone()),
            Event::Records(messages) => {
                self.ready.extend(messages.iter().cloned());
                if !self.paused && !self.ready.is_empty() {
                    return Ok(Event::Records(self.hand_out()));
                }
            }
            Event::Assigned(_) => {}
        }
        Ok(polled)
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, Offset>) -> Result<Commit> {
        self.check(offsets).await?;
        let fault = self.process.fault(&self.dice, Place::Commit).await;
        let commit = suffer(&self.process, fault, Place::Commit, self.inner.commit(offsets)).await?;
        lock(&self.deeds).fenced |= commit == Commit::Fenced;
        Ok(commit)
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    async fn watermarks(&mut self) -> Result<BTreeMap<Partition, Watermarks>> {
        let fault = self.process.fault(&self.dice, Place::Survey).await;
        suffer(&self.process, fault, Place::Survey, self.inner.watermarks()).await
    }

    async fn committed(&mut self) -> Result<BTreeMap<Partition, Offset>> {
        let fault = self.process.fault(&self.dice, Place::Survey).await;
        suffer(&self.process, fault, Place::Survey, self.inner.committed()).await
    }

    async fn close(self) -> Result<()> {
        let fault = self.process.fault(&self.dice, Place::Leave).await;
        let place = Place::Leave;
        if fault == Some(Fault::Before) {
            // It could not say good-bye: its session has to run out.
            self.process.world.session_runs_out(self.inner.member()).await?;
            return Err(away(place));
        }
        suffer(&self.process, fault, place, self.inner.close()).await
    }
}
