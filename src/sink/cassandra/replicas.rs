//! Which rows have the same replicas: the token ring, as sets of nodes.
//!
//! What is said here only groups rows. Where it is out of date or a strategy is not known, rows are grouped worse and
//! every one is still written: the coordinator finds the replicas by itself.

use std::collections::{HashMap, HashSet};

use cdrs_tokio::cluster::Murmur3Token;
use cdrs_tokio::cluster::topology::ReplicationStrategy;

use super::balancing::CqlCluster;

/// A node, as far as replicas are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place<'a> {
    dc: &'a str,
    rack: &'a str,
}

/// The sets of replicas of a keyspace, by token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replicas {
    /// The last token of each range, ascending, with the number of its set.
    ranges: Vec<(i64, usize)>,
    sets: usize,
}

impl Replicas {
    /// Of a keyspace; only those in `local_dc`, if one is named and has any, since only they coordinate.
    pub(super) fn of(cluster: &CqlCluster, keyspace: &str, local_dc: Option<&str>) -> Self {
        let Some(keyspace) = cluster.keyspace(keyspace) else { return Self::default() };
        let nodes: Vec<_> = cluster.nodes().values().collect();
        let places: Vec<_> = nodes.iter().map(|node| Place { dc: node.datacenter(), rack: node.rack() }).collect();
        let owned = nodes.iter().enumerate();
        let ring =
            owned.flat_map(|(node, known)| known.tokens().iter().map(move |token| (token.value, node))).collect();
        let copies = match &keyspace.replication_strategy {
            ReplicationStrategy::SimpleStrategy { replication_factor } => Copies::Anywhere(*replication_factor),
            ReplicationStrategy::NetworkTopologyStrategy { datacenter_replication_factor } => {
                let all = datacenter_replication_factor.iter().map(|(dc, factor)| (dc.as_str(), *factor));
                let local = local_dc.filter(|local| datacenter_replication_factor.contains_key(*local));
                Copies::InDcs(all.filter(|(dc, _)| local.is_none_or(|local| *dc == local)).collect())
            }
            // Ranges are all that is known then.
            ReplicationStrategy::Other => Copies::Anywhere(1),
        };
        Self::on(ring, &places, &copies)
    }

    fn on(mut ring: Vec<(i64, usize)>, places: &[Place<'_>], copies: &Copies<'_>) -> Self {
        ring.sort_unstable();
        let mut numbers: HashMap<Vec<usize>, usize> = HashMap::new();
        let ranges = (0..ring.len()).map(|start| {
            let walk = ring[start..].iter().chain(&ring[..start]).map(|(_, node)| *node);
            let mut set = copies.first(walk, places);
            set.sort_unstable();
            let next = numbers.len();
            (ring[start].0, *numbers.entry(set).or_insert(next))
        });
        let ranges = ranges.collect();
        Self { ranges, sets: numbers.len() }
    }

    /// The number of the set of a token, from 0.
    pub(super) fn set(&self, token: Murmur3Token) -> usize {
        if self.sets <= 1 {
            return 0;
        }
        let range = self.ranges.partition_point(|(last, _)| *last < token.value);
        // Past the last token the ring begins again.
        self.ranges.get(range).or_else(|| self.ranges.first()).map_or(0, |(_, set)| *set)
    }
}

/// How many copies of a row there are, and where.
enum Copies<'a> {
    /// `SimpleStrategy`: the next nodes on the ring.
    Anywhere(usize),
    /// `NetworkTopologyStrategy`: so many in each data centre, on as many racks as possible.
    InDcs(HashMap<&'a str, usize>),
}

impl Copies<'_> {
    /// The nodes that hold them, for a walk round the ring.
    fn first(&self, walk: impl Iterator<Item = usize>, places: &[Place<'_>]) -> Vec<usize> {
        let mut seen = HashSet::new();
        let walk = walk.filter(|node| seen.insert(*node));
        match self {
            Self::Anywhere(factor) => walk.take((*factor).min(places.len())).collect(),
            Self::InDcs(factors) => {
                let mut dcs: HashMap<&str, Dc> = factors.iter().map(|(dc, n)| (*dc, Dc::new(dc, *n, places))).collect();
                let mut missing: usize = dcs.values().map(|dc| dc.missing).sum();
                let mut set = Vec::with_capacity(missing);
                for node in walk {
                    if missing == 0 {
                        break;
                    }
                    if dcs.get_mut(places[node].dc).is_some_and(|dc| dc.takes(places[node].rack)) {
                        set.push(node);
                        missing -= 1;
                    }
                }
                set
            }
        }
    }
}

/// A data centre while its replicas are looked for.
struct Dc<'a> {
    missing: usize,
    /// How often a rack may be used again.
    repeats: usize,
    racks: HashSet<&'a str>,
}

impl<'a> Dc<'a> {
    fn new(dc: &str, factor: usize, places: &[Place<'a>]) -> Self {
        let here = places.iter().filter(|place| place.dc == dc);
        let racks: HashSet<_> = here.clone().map(|place| place.rack).collect();
        Self { missing: factor.min(here.count()), repeats: factor.saturating_sub(racks.len()), racks: HashSet::new() }
    }

    /// Whether the next node on the ring, on this rack, is a replica.
    fn takes(&mut self, rack: &'a str) -> bool {
        if self.missing == 0 {
            return false;
        }
        if !self.racks.insert(rack) {
            if self.repeats == 0 {
                return false;
            }
            self.repeats -= 1;
        }
        self.missing -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(dc: &'a str, rack: &'a str) -> Place<'a> {
        Place { dc, rack }
    }

    /// The sets of the tokens -100, 0, 5, 10, 15, 20, 100.
    fn sets(ring: &[(i64, usize)], places: &[Place<'_>], copies: &Copies<'_>) -> [usize; 7] {
        let replicas = Replicas::on(ring.to_vec(), places, copies);
        [-100, 0, 5, 10, 15, 20, 100].map(|token| replicas.set(Murmur3Token::new(token)))
    }

    #[test]
    fn a_range_ends_with_its_token_and_the_ring_begins_again() {
        let ring = [(20, 2), (0, 0), (10, 1)];
        let places = [place("a", "r"); 3];
        assert_eq!(sets(&ring, &places, &Copies::Anywhere(1)), [0, 0, 1, 1, 2, 2, 0]);
        assert_eq!(sets(&ring, &places, &Copies::Anywhere(3)), [0; 7], "everything is everywhere");
        assert_eq!(sets(&ring, &places, &Copies::Anywhere(9)), [0; 7], "more copies than nodes");
        assert_eq!(sets(&[], &[], &Copies::Anywhere(1)), [0; 7], "nothing is known");
    }

    #[test]
    fn ranges_of_the_same_nodes_are_one_set_whatever_the_order() {
        let ring = [(0, 0), (5, 1), (10, 0), (20, 1)];
        assert_eq!(sets(&ring, &[place("a", "r"); 2], &Copies::Anywhere(2)), [0; 7]);
        assert_eq!(sets(&ring, &[place("a", "r"); 2], &Copies::Anywhere(1)), [0, 0, 1, 0, 1, 1, 0]);
    }

    #[test]
    fn each_data_centre_has_its_copies_on_different_racks() {
        // Nodes 0, 1, 2 in a (1 on the rack of 0), node 3 in b.
        let places = [place("a", "r1"), place("a", "r1"), place("a", "r2"), place("b", "r1")];
        let ring = [(0, 0), (5, 1), (10, 2), (20, 3)];
        let first = |start: usize, copies: &Copies<'_>| {
            let mut set = copies.first(ring[start..].iter().chain(&ring[..start]).map(|(_, node)| *node), &places);
            set.sort_unstable();
            set
        };
        let two_in_a = Copies::InDcs(HashMap::from([("a", 2)]));
        assert_eq!([0, 1, 2, 3].map(|start| first(start, &two_in_a)), [[0, 2], [1, 2], [0, 2], [0, 2]]);
        let three_in_a_one_in_b = Copies::InDcs(HashMap::from([("a", 3), ("b", 1)]));
        assert_eq!(first(0, &three_in_a_one_in_b), [0, 1, 2, 3], "a rack is used again where there are too few");
        let too_many = Copies::InDcs(HashMap::from([("a", 9), ("c", 2)]));
        assert_eq!(first(3, &too_many), [0, 1, 2]);
    }
}
