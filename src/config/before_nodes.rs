//! What a router cannot do for the nodes behind it: it passes on who asks, and they
//! decide.

use super::{AccessRole, Binding, Who, fault::Faults};

/// Whether other nodes answer, and whether they are said to decide by the same bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfNodes {
    None,
    Unsaid,
    Enforced,
}

/// Refuses bindings that the nodes would have to know, or cannot.
pub(super) fn check(bindings: &[Binding], nodes: OfNodes, faults: &mut Faults) {
    if nodes == OfNodes::None {
        return;
    }
    let mut who = bindings.iter().flat_map(|binding| &binding.principals);
    if who.any(|who| matches!(who, Who::Certificate(_))) {
        let problem = "has cert: principals, and a certificate is not forwarded to other nodes: use API keys or tokens";
        faults.push("access.bindings", problem);
    }
    if nodes == OfNodes::Unsaid && bindings.iter().any(is_limited) {
        let problem = "says which tables, rows or columns are there for somebody, and other nodes decide that by bindings of their own: give them the same ones, and set nodes.enforce_access = true here";
        faults.push("access.bindings", problem);
    }
}

/// Whether less than everything is there for its principals.
fn is_limited(binding: &Binding) -> bool {
    let all = binding.tables.iter().any(|pattern| pattern.is_all());
    let is_of_tables = binding.role > AccessRole::Metrics;
    is_of_tables && (!all || binding.rows.is_some() || !binding.hidden_columns.is_empty())
}
