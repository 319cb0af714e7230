//! Whether a keyspace's replication and the nodes that there are can give the consistency that is asked for. Pure.

use std::collections::BTreeMap;

use super::Finding;
use crate::config::Consistency;

/// What was judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It can, with this to say.
    Good(String),
    /// It can, and one thing is not as it should be: what, and what mends it.
    Thin(String, &'static str),
    /// It never can.
    Impossible(String, &'static str),
}

impl Judgement {
    pub(super) fn finding(self, what: &'static str, place: &str) -> Finding {
        match self {
            Self::Good(found) => Finding::ok(what, place, found),
            Self::Thin(found, fix) => Finding::warn(what, place, found, fix),
            Self::Impossible(found, fix) => Finding::fail(what, place, found, fix),
        }
    }
}

/// The replicas of one data centre, or of the whole cluster.
#[derive(Clone, Copy, Debug)]
struct Replicas {
    /// As the keyspace says.
    factor: usize,
    /// As there are nodes for them.
    placed: usize,
}

impl Replicas {
    fn new(factor: usize, nodes: usize) -> Self {
        Self { factor, placed: factor.min(nodes) }
    }

    fn majority(self) -> usize {
        self.factor / 2 + 1
    }
}

const LOWER: &str = "lower --consistency, or raise the keyspace's replication (ALTER KEYSPACE, then nodetool repair)";
const ADD_NODES: &str = "lower the keyspace's replication (ALTER KEYSPACE), or add the nodes that are missing";

/// Judges `replication` as `system_schema.keyspaces` has it, with the number of nodes in each data centre.
pub(super) fn judge(
    consistency: Consistency,
    replication: &BTreeMap<String, String>,
    local_dc: Option<&str>,
    nodes: &BTreeMap<String, usize>,
) -> Judgement {
    let class = replication.get("class").map_or("", |class| class.rsplit('.').next().unwrap_or(class));
    // A factor with transient replicas is written 3/1.
    let number = |text: &String| text.split('/').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    let all_nodes = nodes.values().sum();
    let centres: BTreeMap<&str, Replicas> = if class == "NetworkTopologyStrategy" {
        let of_centre = replication.iter().filter(|(name, _)| *name != "class");
        let of_centre =
            of_centre.map(|(dc, n)| (dc.as_str(), Replicas::new(number(n), nodes.get(dc).copied().unwrap_or(0))));
        of_centre.collect()
    } else {
        let factor = replication.get("replication_factor").map_or(1, number);
        BTreeMap::from([("", Replicas::new(factor, all_nodes))])
    };
    let sum = |part: fn(&Replicas) -> usize| centres.values().map(part).sum::<usize>();
    let whole = Replicas { factor: sum(|r| r.factor), placed: sum(|r| r.placed) };
    let local_name = local_dc.or_else(|| nodes.keys().next().filter(|_| nodes.len() == 1).map(String::as_str));
    let local = match (centres.get(""), local_name) {
        (Some(simple), _) => Some(*simple),
        (None, Some(dc)) => Some(centres.get(dc).copied().unwrap_or(Replicas { factor: 0, placed: 0 })),
        (None, None) => None,
    };
    let words = format!("{class}, {} for {all_nodes} nodes", count(whole.factor, "replica"));
    let asked = level(consistency);
    let short = |needed: usize, there: Replicas, of: &str| {
        let placed =
            if there.placed < there.factor { format!(", on {}", count(there.placed, "node")) } else { String::new() };
        let found = format!(
            "consistency {asked} needs {}{of}, and the keyspace has {}{placed}",
            count(needed, "replica"),
            there.factor
        );
        Judgement::Impossible(found, if there.factor < needed { LOWER } else { ADD_NODES })
    };
    let (needed, there, of) = match consistency {
        Consistency::One => (1, Some(whole), ""),
        Consistency::Two => (2, Some(whole), ""),
        Consistency::Three => (3, Some(whole), ""),
        Consistency::Quorum => (whole.majority(), Some(whole), ""),
        Consistency::All => (whole.factor.max(1), Some(whole), ""),
        Consistency::LocalQuorum => (local.map_or(1, Replicas::majority), local, " in the local data centre"),
        Consistency::LocalOne => (1, local, " in the local data centre"),
        Consistency::EachQuorum => {
            if let Some(there) = centres.values().find(|there| there.placed < there.majority()) {
                return short(there.majority(), *there, " in each data centre");
            }
            (1, Some(whole), "")
        }
    };
    match there {
        Some(there) if there.placed < needed => short(needed, there, of),
        _ if whole.placed < whole.factor => Judgement::Thin(words, ADD_NODES),
        _ => Judgement::Good(format!("{words}; consistency {asked}")),
    }
}

fn level(consistency: Consistency) -> String {
    use clap::ValueEnum as _;
    consistency.to_possible_value().map_or_else(|| format!("{consistency:?}"), |value| value.get_name().to_owned())
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn nodes(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
        pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()
    }

    fn simple(factor: &str) -> BTreeMap<String, String> {
        map(&[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", factor)])
    }

    #[test]
    fn one_replica_gives_everything_but_two_and_three() {
        let one = nodes(&[("dc1", 1)]);
        for level in [Consistency::One, Consistency::Quorum, Consistency::All, Consistency::LocalQuorum] {
            let judged = judge(level, &simple("1"), None, &one);
            assert!(matches!(judged, Judgement::Good(_)), "{level:?}: {judged:?}");
        }
        let judged = judge(Consistency::Three, &simple("1"), None, &one);
        let found = "consistency three needs 3 replicas, and the keyspace has 1";
        assert_eq!(judged, Judgement::Impossible(found.to_owned(), LOWER));
    }

    #[test]
    fn replicas_need_nodes() {
        let judged = judge(Consistency::Quorum, &simple("3"), None, &nodes(&[("dc1", 1)]));
        let found = "consistency quorum needs 2 replicas, and the keyspace has 3, on 1 node";
        assert_eq!(judged, Judgement::Impossible(found.to_owned(), ADD_NODES));
        let judged = judge(Consistency::Quorum, &simple("3"), None, &nodes(&[("dc1", 2)]));
        assert!(matches!(judged, Judgement::Thin(..)), "{judged:?}");
    }

    #[test]
    fn a_local_quorum_is_of_the_local_data_centre() {
        let topology = map(&[("class", "NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "3/1")]);
        let two = nodes(&[("dc1", 3), ("dc2", 1)]);
        let judge = |level, dc| judge(level, &topology, dc, &two);
        assert!(matches!(judge(Consistency::LocalQuorum, Some("dc1")), Judgement::Thin(..)));
        for (level, dc) in [
            (Consistency::LocalQuorum, Some("dc2")),
            (Consistency::LocalQuorum, Some("elsewhere")),
            (Consistency::EachQuorum, Some("dc1")),
            (Consistency::All, None),
        ] {
            assert!(matches!(judge(level, dc), Judgement::Impossible(..)), "{level:?} {dc:?}");
        }
        assert!(matches!(judge(Consistency::LocalQuorum, None), Judgement::Thin(..)), "nobody can tell which is local");
    }
}
