//! What a request is to the gate: of which kind, how important, and whose.

use std::net::{IpAddr, Ipv6Addr};

/// How long a request runs, and so what bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What an operator asks. Bounded by the hard limit alone.
    Admin,
    /// Answered at once, at the machine's cost: bounded by the adaptive limit.
    Read,
    /// Runs for as long as its client, a lane of writes or an index takes: its
    /// time says nothing of the machine. Bounded by a part of the hard limit.
    Lasting,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Admin, Kind::Read, Kind::Lasting];

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Who goes first when not all can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// Nobody does: it goes when nobody else wants to.
    Batch,
}

impl Priority {
    /// The priority of this name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "interactive" => Some(Self::Interactive),
            "batch" => Some(Self::Batch),
            _ => None,
        }
    }
}

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    Admin,
    Read,
    Lasting,
    BatchRead,
    BatchLasting,
}

impl Lane {
    /// All of them, the first to go first.
    pub const IN_ORDER: [Lane; 5] = [
        Lane::Admin,
        Lane::Read,
        Lane::Lasting,
        Lane::BatchRead,
        Lane::BatchLasting,
    ];

    /// The lane of a kind and a priority; an operator's has none.
    pub fn of(kind: Kind, priority: Priority) -> Self {
        match (kind, priority) {
            (Kind::Admin, _) => Lane::Admin,
            (Kind::Read, Priority::Interactive) => Lane::Read,
            (Kind::Read, Priority::Batch) => Lane::BatchRead,
            (Kind::Lasting, Priority::Interactive) => Lane::Lasting,
            (Kind::Lasting, Priority::Batch) => Lane::BatchLasting,
        }
    }

    /// What bounds it.
    pub fn kind(self) -> Kind {
        match self {
            Lane::Admin => Kind::Admin,
            Lane::Read | Lane::BatchRead => Kind::Read,
            Lane::Lasting | Lane::BatchLasting => Kind::Lasting,
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Those who share turns with one another get one turn together: an address of
/// the network, because a client can open as many connections as it likes. Of an
/// IPv6 address only the first 64 bits count, which is the least that a site is
/// given (RFC 6177). What a header says of a client is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(u128);

impl Client {
    /// The client behind an address; all whose address is not known are one.
    pub fn of(address: Option<IpAddr>) -> Self {
        let bits = |v6: Ipv6Addr| u128::from(v6);
        match address.map(|a| a.to_canonical()) {
            None => Self(0),
            Some(IpAddr::V4(v4)) => Self(bits(v4.to_ipv6_mapped())),
            Some(IpAddr::V6(v6)) => Self(bits(v6) >> 64 << 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_in_order_of_their_indices() {
        for (i, lane) in Lane::IN_ORDER.into_iter().enumerate() {
            assert_eq!(lane.index(), i);
        }
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), i);
        }
    }

    #[test]
    fn a_client_is_a_host_or_a_site() {
        let of = |text: &str| Client::of(Some(text.parse().unwrap()));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.7"), of("10.0.0.7"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(Client::of(None), of("0.0.0.1"));
    }
}
