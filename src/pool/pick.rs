//! Which member is next: a pure function of the seats, the turn and a roll of dice.

use super::{Rank, Seat};
use crate::{config::Method, domain::view::Policy};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    pub method: Method,
    /// Which read this is: each takes the next number.
    pub turn: u64,
    /// Random, for the methods that roll dice.
    pub roll: u64,
    /// Whether a member may be tried whose ejection is over. First attempts may: a
    /// retry is to succeed.
    pub may_try: bool,
}

/// The member that is next, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// Its index among the seats.
    pub index: usize,
    pub policy: Policy,
    pub other_zone: bool,
}

/// Those that a method chooses among: all of the lowest tier.
#[derive(Debug, Clone, Copy, Default)]
struct Field {
    tier: u8,
    count: usize,
    total: u64,
    /// Whether all weigh the same.
    even: bool,
}

/// The member that is next among those in rotation, of the nearest tier that has
/// any. A member that is to be tried comes first, where that may be: it is one read.
/// `seats` are those that can answer at all, each with its index; they are gone
/// through a few times, and what they say of a member may change meanwhile.
pub fn pick<S>(seats: S, ask: Ask) -> Option<Picked>
where
    S: Iterator<Item = (usize, Seat)> + Clone,
{
    let mut field = Field::default();
    let mut first_weight = 0;
    for (index, seat) in seats.clone() {
        match seat.rank {
            Rank::Trial if ask.may_try => {
                return Some(Picked {
                    index,
                    policy: Policy::Trial,
                    other_zone: seat.tier > 0,
                });
            }
            Rank::In => {}
            _ => continue,
        }
        if field.count == 0 || seat.tier < field.tier {
            first_weight = seat.weight;
            field = Field {
                tier: seat.tier,
                even: true,
                ..Field::default()
            };
        }
        if seat.tier == field.tier {
            field.count += 1;
            field.total += u64::from(seat.weight);
            field.even &= seat.weight == first_weight;
        }
    }
    let members = seats.filter(move |(_, s)| s.rank == Rank::In && s.tier == field.tier);
    let (index, policy) = match ask.method {
        _ if field.count == 0 => return None,
        Method::RoundRobin if field.even => in_turn(members, field, ask.turn)?,
        Method::RoundRobin => by_weight(members, field, ask.turn)?,
        Method::LeastRequest => (
            least_request(members, field, ask.turn)?,
            Policy::LeastRequest,
        ),
        Method::P2cPeakEwma => (
            sooner_of_two(members, field, ask.roll)?,
            Policy::P2cPeakEwma,
        ),
    };
    Some(Picked {
        index,
        policy,
        other_zone: field.tier > 0,
    })
}

/// The least bad of those that are not in rotation, in turn.
pub fn fail_safe<S>(seats: S, turn: u64) -> Option<Picked>
where
    S: Iterator<Item = (usize, Seat)> + Clone,
{
    // One that may be tried is no worse than one that is out.
    let badness = |seat: &Seat| seat.rank.max(Rank::Out);
    let least = seats.clone().map(|(_, seat)| badness(&seat)).min()?;
    let members = seats.filter(move |(_, seat)| badness(seat) == least);
    let position = turn % members.clone().count().max(1) as u64;
    let (index, seat) = members.clone().nth(position as usize)?;
    Some(Picked {
        index,
        policy: Policy::FailSafe,
        other_zone: seat.tier > 0,
    })
}

fn in_turn<S>(members: S, field: Field, turn: u64) -> Option<(usize, Policy)>
where
    S: Iterator<Item = (usize, Seat)> + Clone,
{
    // Fits: it is below `count`.
    let position = (turn % field.count as u64) as usize;
    let policy = Policy::RoundRobin {
        position: position + 1,
        of: field.count,
    };
    // The first one instead where a member left the field meanwhile.
    let mut rest = members.clone().skip(position);
    let (index, _) = rest.next().or_else(|| members.clone().next())?;
    Some((index, policy))
}

/// Smooth weighted round robin without a state: member i of weight w has its turns
/// at the times (j + 1/2) W/w, W being all weights together, and turn t is the t-th of
/// all these times (ties: by index). Each gets exactly w of W turns, spread evenly.
fn by_weight<S>(members: S, field: Field, turn: u64) -> Option<(usize, Policy)>
where
    S: Iterator<Item = (usize, Seat)> + Clone,
{
    let all = field.total.max(1);
    let turn = turn % all;
    // How many turns a member has had by time x.
    let had = |x: u64, weight: u64| (2 * x * weight + all) / (2 * all);
    let count = |x: u64| -> u64 {
        let members = members.clone();
        members
            .map(|(_, seat)| had(x, u64::from(seat.weight)))
            .sum()
    };
    // The smallest x by which more than `turn` turns were had. All members together
    // have had x turns by time x, each rounded by a half at most.
    let slack = field.count as u64 / 2 + 1;
    let (mut low, mut high) = (turn.saturating_sub(slack), turn + slack + 1);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        match count(middle) > turn {
            true => high = middle,
            false => low = middle,
        }
    }
    // Which of the turns between the two times, and whose: at most one of each
    // member, for no weight is above W.
    let nth = turn.saturating_sub(count(low));
    let between = |(index, seat): (usize, Seat)| {
        let weight = u64::from(seat.weight);
        let j = had(low, weight);
        (had(high, weight) > j).then_some((2 * j + 1, weight, index))
    };
    let turns = members.clone().filter_map(between);
    let before = |a: (u64, u64, usize), b: (u64, u64, usize)| {
        let (left, right) = (a.0 * b.1, b.0 * a.1);
        left < right || left == right && a.2 < b.2
    };
    let mine = turns.clone().find(|own| {
        let earlier = turns.clone().filter(|other| before(*other, *own)).count();
        earlier as u64 == nth
    });
    let (_, weight, index) =
        mine.or_else(|| members.clone().next().map(|(i, s)| (0, s.weight.into(), i)))?;
    // In the smallest numbers where they are whole weights.
    let unit = if weight.is_multiple_of(100) && all.is_multiple_of(100) {
        100
    } else {
        1
    };
    let policy = Policy::Weighted {
        weight: weight / unit,
        of: all / unit,
    };
    Some((index, policy))
}

fn least_request<S>(members: S, field: Field, turn: u64) -> Option<usize>
where
    S: Iterator<Item = (usize, Seat)> + Clone,
{
    // Ties are broken in turn, or the first one would get every lone read.
    let first = (turn % field.count as u64) as usize;
    let rotated = members.clone().skip(first).chain(members.take(first));
    let best = rotated.min_by(|(_, a), (_, b)| {
        let load = |own: &Seat, other: &Seat| {
            (u64::from(own.in_flight) + 1).saturating_mul(u64::from(other.weight))
        };
        load(a, b).cmp(&load(b, a))
    });
    best.map(|(index, _)| index)
}

fn sooner_of_two<S>(members: S, field: Field, roll: u64) -> Option<usize>
where
    S: Iterator<Item = (usize, Seat)> + Clone,
{
    let count = field.count as u64;
    let one = roll % count;
    // Another one, if there is one.
    let step = match count {
        1 => 0,
        _ => 1 + (roll >> 32) % (count - 1),
    };
    let other = (one + step) % count;
    let seat = |nth: u64| members.clone().nth(nth as usize);
    let (a, b) = (seat(one)?, seat(other).or_else(|| seat(one))?);
    // Of one whose latency nobody knows only what it does is compared.
    let known = a.1.latency > 0 && b.1.latency > 0;
    let cost = |own: &Seat, than: &Seat| {
        let latency = if known { u128::from(own.latency) } else { 1 };
        latency * (u128::from(own.in_flight) + 1) * u128::from(than.weight)
    };
    let better = if cost(&a.1, &b.1) <= cost(&b.1, &a.1) {
        a
    } else {
        b
    };
    Some(better.0)
}
