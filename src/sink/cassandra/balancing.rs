//! Which nodes a statement is sent to: replicas first, and never none at all.
//!
//! cdrs-tokio's own strategies leave out every node that is not known to be up. After a lost control connection its
//! metadata refresh may know that of no node (it compares a broadcast address with an RPC address), and every
//! statement then ends with "No nodes available in query plan!", for good. So its plan comes first here, and every
//! other node that may coordinate follows: a node that is really down costs one failed look at its empty pool.
//!
//! A node that is there but silent (stopped, cut off) is worse: the driver hears of it only over its control
//! connection, and never if that goes to this very node. So nodes whose statements ran out of time are put last for a
//! while ([`Suspects`]); then one statement is the probe.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdrs_tokio::cluster::topology::{Node, NodeState};
use cdrs_tokio::cluster::{ClusterMetadata, Murmur3Token};
use cdrs_tokio::load_balancing::{LoadBalancingStrategy, QueryPlan, Request, TopologyAwareLoadBalancingStrategy};
use cdrs_tokio::transport::TransportTcp;
use tokio::time::Instant;

use super::wire::Connector;

/// How long a silent node is put last, and the time between probes of it.
const SUSPECT_TIME: Duration = Duration::from_secs(10);

/// A node.
pub(super) type CqlNode = Arc<Node<TransportTcp, Connector>>;
type CqlPlan = QueryPlan<TransportTcp, Connector>;
/// What the driver knows of the cluster.
pub(super) type CqlCluster = ClusterMetadata<TransportTcp, Connector>;

/// Token-aware, within one data centre if one is named, and with every node as the last resort.
#[derive(Debug)]
pub(super) struct ReplicasThenAll {
    replicas: TopologyAwareLoadBalancingStrategy<TransportTcp, Connector>,
    local_dc: Option<String>,
    suspects: Arc<Suspects>,
}

impl ReplicasThenAll {
    pub(super) fn new(local_dc: Option<String>, suspects: Arc<Suspects>) -> Self {
        Self { replicas: TopologyAwareLoadBalancingStrategy::new(None, false), local_dc, suspects }
    }

    fn may_coordinate(&self, node: &CqlNode) -> bool {
        allowed(self.local_dc.as_deref(), node.datacenter(), node.state())
    }
}

impl LoadBalancingStrategy<TransportTcp, Connector> for ReplicasThenAll {
    fn query_plan(&self, request: Option<Request<'_>>, cluster: &CqlCluster) -> CqlPlan {
        let token = request.as_ref().and_then(|r| r.token.or_else(|| r.routing_key.map(Murmur3Token::generate)));
        let known_up = self.replicas.query_plan(request, cluster).nodes;
        // Where no node is known to be up, the ring from the token on is the best guess at the replicas.
        let ring = token.into_iter().flat_map(|token| cluster.token_map().nodes_for_token(token));
        let rest = cluster.nodes().values().cloned();

        let mut seen = HashSet::new();
        let plan = known_up
            .into_iter()
            .chain(ring)
            .chain(rest)
            .filter(|node| self.may_coordinate(node) && seen.insert(node.broadcast_rpc_address()));
        let plan = self.suspects.put_last(plan, |node| node.broadcast_rpc_address(), Instant::now());
        // Outside of `noting_first_node` (the control connection asks too) nobody wants to know.
        let _ = FIRST_NODE.try_with(|first| first.set(plan.first().map(|node| node.broadcast_rpc_address())));
        QueryPlan::new(plan)
    }
}

tokio::task_local! {
    /// The node that the statement now being executed goes to first. The driver does not tell.
    static FIRST_NODE: Cell<Option<SocketAddr>>;
}

/// Runs a statement; its result, and the node it was sent to first.
pub(super) async fn noting_first_node<F: Future>(statement: F) -> (F::Output, Option<SocketAddr>) {
    let noting = async {
        let output = statement.await;
        (output, FIRST_NODE.with(Cell::get))
    };
    FIRST_NODE.scope(Cell::new(None), noting).await
}

/// Nodes that have let a statement run out of time, each with the time of its next probe.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<HashMap<SocketAddr, Instant>>);

impl Suspects {
    /// A statement sent to `node` ran out of time.
    pub(super) fn silent(&self, node: SocketAddr, now: Instant) {
        self.lock().insert(node, now + SUSPECT_TIME);
    }

    /// A statement sent to `node` was answered.
    pub(super) fn answered(&self, node: SocketAddr) {
        self.lock().remove(&node);
    }

    /// The same nodes, less the suspects in front of the first good one; those come last.
    fn put_last<N>(&self, nodes: impl Iterator<Item = N>, address: impl Fn(&N) -> SocketAddr, now: Instant) -> Vec<N> {
        let mut suspects = self.lock();
        let mut first_is_good = suspects.is_empty();
        let (mut plan, mut last) = (Vec::new(), Vec::new());
        for node in nodes {
            if !first_is_good && is_suspect(&mut suspects, address(&node), now) {
                last.push(node);
            } else {
                first_is_good = true;
                plan.push(node);
            }
        }
        plan.append(&mut last);
        plan
    }

    /// The map is whole after every operation, so a poisoned lock is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether to put this node last. When its time is over the one who asks is the probe, and others go on waiting.
fn is_suspect(suspects: &mut HashMap<SocketAddr, Instant>, node: SocketAddr, now: Instant) -> bool {
    match suspects.get_mut(&node) {
        None => false,
        Some(next_probe) if now < *next_probe => true,
        Some(next_probe) => {
            *next_probe = now + SUSPECT_TIME;
            false
        }
    }
}

/// Whether a node may coordinate. One whose data centre is not known (yet, or since an outage) may; one that the
/// driver has given up on (`ForcedDown`: another protocol version) may not.
fn allowed(local_dc: Option<&str>, datacenter: &str, state: NodeState) -> bool {
    state != NodeState::ForcedDown && local_dc.is_none_or(|local| datacenter.is_empty() || datacenter == local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_coordinate_unless_it_is_remote_or_given_up() {
        for state in [NodeState::Unknown, NodeState::Up, NodeState::Down] {
            assert!(allowed(None, "dc1", state), "{state:?}");
            assert!(allowed(Some("dc1"), "dc1", state), "{state:?}");
            assert!(allowed(Some("dc1"), "", state), "unknown data centre, {state:?}");
            assert!(!allowed(Some("dc1"), "dc2", state), "{state:?}");
        }
        assert!(!allowed(None, "dc1", NodeState::ForcedDown));
    }

    #[test]
    fn a_silent_node_is_put_last_and_probed_by_one_statement_at_a_time() {
        let node = |n: u8| SocketAddr::from(([127, 0, 0, n], 9042));
        let suspects = Suspects::default();
        let plan = |now| suspects.put_last([1, 2, 3].into_iter(), |n| node(*n), now);
        let start = Instant::now();
        assert_eq!(plan(start), [1, 2, 3]);

        suspects.silent(node(1), start);
        assert_eq!(plan(start), [2, 3, 1]);
        assert_eq!(plan(start + SUSPECT_TIME), [1, 2, 3], "the probe");
        assert_eq!(plan(start + SUSPECT_TIME), [2, 3, 1], "but only one");
        suspects.answered(node(1));
        assert_eq!(plan(start + SUSPECT_TIME), [1, 2, 3]);

        for n in [1, 2, 3] {
            suspects.silent(node(n), start);
        }
        assert_eq!(plan(start), [1, 2, 3], "where all are silent all are still tried");
    }

    #[tokio::test]
    async fn the_first_node_of_a_statement_is_noted() {
        let node = SocketAddr::from(([127, 0, 0, 1], 9042));
        let statement = async { FIRST_NODE.with(|first| first.set(Some(node))) };
        assert_eq!(noting_first_node(statement).await, ((), Some(node)));
    }
}
