//! Which nodes a statement is sent to: replicas first, and never none at all.
//!
//! cdrs-tokio's own strategies leave out every node that is not known to be up. After a lost control connection its
//! metadata refresh may know that of no node (it compares a broadcast address with an RPC address), and every
//! statement then ends with "No nodes available in query plan!", for good. So its plan comes first here, and every
//! other node that may coordinate follows: a node that is really down costs one failed look at its empty pool.

use std::collections::HashSet;
use std::sync::Arc;

use cdrs_tokio::cluster::topology::{Node, NodeState};
use cdrs_tokio::cluster::{ClusterMetadata, Murmur3Token, TcpConnectionManager};
use cdrs_tokio::load_balancing::{LoadBalancingStrategy, QueryPlan, Request, TopologyAwareLoadBalancingStrategy};
use cdrs_tokio::transport::TransportTcp;

type TcpNode = Arc<Node<TransportTcp, TcpConnectionManager>>;
type TcpPlan = QueryPlan<TransportTcp, TcpConnectionManager>;
type TcpCluster = ClusterMetadata<TransportTcp, TcpConnectionManager>;

/// Token-aware, within one data centre if one is named, and with every node as the last resort.
#[derive(Debug)]
pub(super) struct ReplicasThenAll {
    replicas: TopologyAwareLoadBalancingStrategy<TransportTcp, TcpConnectionManager>,
    local_dc: Option<String>,
}

impl ReplicasThenAll {
    pub(super) fn new(local_dc: Option<String>) -> Self {
        Self { replicas: TopologyAwareLoadBalancingStrategy::new(None, false), local_dc }
    }

    fn may_coordinate(&self, node: &TcpNode) -> bool {
        allowed(self.local_dc.as_deref(), node.datacenter(), node.state())
    }
}

impl LoadBalancingStrategy<TransportTcp, TcpConnectionManager> for ReplicasThenAll {
    fn query_plan(&self, request: Option<Request<'_>>, cluster: &TcpCluster) -> TcpPlan {
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
            .filter(|node| self.may_coordinate(node) && seen.insert(node.broadcast_rpc_address()))
            .collect();
        QueryPlan::new(plan)
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
}
