//! Several candidates, one API server and a bad world between them: never two leaders at the same moment, and always
//! one again in time.
//!
//! Time here is the world's, in µs. Each candidate has a clock of its own, which began at another moment and runs at
//! another speed. Requests and answers take their time or are lost; candidates are stopped, go on, die and resign.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;

use super::election::{Command, Election, Outcome, Record, Stored};
use fleet::time::Time;

const LEASE_US: u64 = 3_000_000;
const LEASE: Duration = Duration::from_micros(LEASE_US);

#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Longest that a message takes.
    delay: u64,
    /// Of 256 messages, how many are lost.
    loss: u8,
}

const FAIR: Weather = Weather {
    delay: 20_000,
    loss: 0,
};

#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// SIGSTOP, and SIGCONT so much later.
    Stop(u64),
    Die,
    Resign,
    /// A ring says an old version, or the present one.
    Ring,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Timer(usize),
    Arrives(usize, u64),
    Answers(usize, u64),
    Rings(usize, String),
    Mishap(usize),
}

struct Node {
    election: Election,
    offset: u64,
    /// Its clock's µs for a million of the world's.
    speed: u64,
    stopped_until: u64,
    dead: bool,
    /// The one request under way: its number, what it asks, and when patience ends, by its own clock.
    request: Option<(u64, Time)>,
    /// When it may act as the leader, in the world's time.
    reigns: Vec<(u64, u64)>,
}

struct World {
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, What)>>,
    numbers: u64,
    nodes: Vec<Node>,
    stored: Option<Stored>,
    version: u64,
    commands: Vec<Command>,
    outcomes: Vec<Outcome>,
    weather: Weather,
    dice: u64,
    mishaps: Vec<Mishap>,
}

impl Node {
    fn clock(&self, world: u64) -> Time {
        let passed = u128::from(world) * u128::from(self.speed) / 1_000_000;
        Time::new(Duration::from_micros(
            self.offset + u64::try_from(passed).unwrap(),
        ))
    }

    /// The first moment of the world at which its clock shows `time`.
    fn world(&self, time: Time) -> u64 {
        let passed = (time.as_duration().as_micros()).saturating_sub(u128::from(self.offset));
        u64::try_from((passed * 1_000_000).div_ceil(u128::from(self.speed))).unwrap()
    }
}

impl World {
    fn new(clocks: &[(u64, u64)], weather: Weather, dice: u64) -> Self {
        let nodes = clocks.iter().enumerate().map(|(i, (offset, speed))| Node {
            election: Election::new(format!("node-{i}"), LEASE),
            offset: *offset,
            speed: *speed,
            stopped_until: 0,
            dead: false,
            request: None,
            reigns: Vec::new(),
        });
        let mut world = Self {
            now: 0,
            events: BinaryHeap::new(),
            numbers: 0,
            nodes: nodes.collect(),
            stored: None,
            version: 100,
            commands: Vec::new(),
            outcomes: Vec::new(),
            weather,
            dice: dice | 1,
            mishaps: Vec::new(),
        };
        for i in 0..world.nodes.len() {
            world.push(0, What::Timer(i));
        }
        world
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }

    fn push(&mut self, at: u64, what: What) {
        self.numbers += 1;
        self.events.push(Reverse((at, self.numbers, what)));
    }

    /// Sends a message, which may take its time or be lost.
    fn send(&mut self, what: What) {
        let lost = self.roll() % 256 < u64::from(self.weather.loss);
        // Most are quick; some take very long, so that they arrive when no replica waits for them any more.
        let delay = self.roll() % (self.weather.delay + 1);
        let delay = if self.roll().is_multiple_of(4) {
            delay
        } else {
            delay / 20
        };
        if !lost {
            self.push(self.now + delay, what);
        }
    }

    fn run(&mut self, until: u64) {
        while let Some(Reverse((at, number, what))) = self.events.pop() {
            if at > until {
                self.events.push(Reverse((at, number, what)));
                break;
            }
            self.now = at;
            self.happen(what);
        }
        self.now = until;
    }

    fn happen(&mut self, what: What) {
        let i = match &what {
            What::Arrives(i, request) => {
                self.serve(*i, *request);
                return;
            }
            What::Mishap(n) => {
                let mishap = self.mishaps[*n];
                self.suffer(*n, mishap);
                return;
            }
            What::Timer(i) | What::Answers(i, _) | What::Rings(i, _) => *i,
        };
        let node = &mut self.nodes[i];
        if node.dead {
            return;
        }
        if self.now < node.stopped_until {
            let later = node.stopped_until;
            self.push(later, what);
            return;
        }
        let now = node.clock(self.now);
        match what {
            What::Answers(_, answered) => {
                if node.request.is_none_or(|(request, _)| request != answered) {
                    return;
                }
                node.request = None;
                // Whichever the shell looks at first, the end of its patience or the answer.
                let outcome = self.outcomes[usize::try_from(answered).unwrap()].clone();
                node.election.handle_outcome(outcome, now);
            }
            What::Rings(_, version) => node.election.hear(&version),
            _ => {}
        }
        self.turn(i);
    }

    /// What the shell does each time it wakes.
    fn turn(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        let now = node.clock(self.now);
        node.election.handle_timeout(now);
        if node.request.is_some_and(|(_, until)| now >= until) {
            node.request = None;
            node.election.handle_outcome(Outcome::Failed, now);
        }
        let wall = i64::try_from(self.now).unwrap();
        if let Some(order) = node.election.poll_order(now, wall) {
            let request = u64::try_from(self.commands.len()).unwrap();
            node.request = Some((request, now + order.within));
            self.commands.push(order.command);
            self.outcomes.push(Outcome::Failed);
            self.send(What::Arrives(i, request));
        }
        let node = &mut self.nodes[i];
        let wake = node.election.poll_timeout(now);
        let patience = node.request.map(|(_, until)| until);
        if let Some(at) = wake.into_iter().chain(patience).min() {
            assert!(at > now || wake.is_none_or(|wake| wake > now), "must not spin");
            let at = node.world(at).max(self.now);
            self.push(at, What::Timer(i));
        }
        self.note_reign(i);
    }

    /// The fence: open from now until the clock says that it is over, whatever becomes of the process.
    fn note_reign(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        let end = node
            .election
            .leading(node.clock(self.now))
            .map(|leading| node.world(leading.renewed + Election::usable(LEASE)));
        let now = self.now;
        match (node.reigns.last_mut(), end) {
            (Some((_, last)), Some(end)) if *last >= now => *last = end,
            (_, Some(end)) => node.reigns.push((now, end)),
            (Some((_, last)), None) => *last = (*last).min(now),
            (None, None) => {}
        }
    }

    fn serve(&mut self, i: usize, request: u64) {
        let n = usize::try_from(request).unwrap();
        let outcome = match self.commands[n].clone() {
            Command::Read => Outcome::Stored(self.stored.clone()),
            Command::Create(record) if self.stored.is_none() => self.store(record),
            Command::Update(record, version)
                if self
                    .stored
                    .as_ref()
                    .is_some_and(|stored| stored.version == version) =>
            {
                self.store(record)
            }
            Command::Create(_) | Command::Update(..) => Outcome::Conflict,
        };
        self.outcomes[n] = outcome;
        self.send(What::Answers(i, request));
    }

    fn store(&mut self, record: Record) -> Outcome {
        self.version += 1;
        let version = self.version.to_string();
        self.stored = Some(Stored {
            record,
            version: version.clone(),
        });
        for i in 0..self.nodes.len() {
            self.send(What::Rings(i, version.clone()));
        }
        Outcome::Stored(self.stored.clone())
    }

    fn suffer(&mut self, n: usize, mishap: Mishap) {
        let i = n % self.nodes.len();
        let node = &mut self.nodes[i];
        match mishap {
            Mishap::Stop(how_long) => node.stopped_until = node.stopped_until.max(self.now + how_long),
            Mishap::Die => node.dead = true,
            Mishap::Resign if self.now >= node.stopped_until && !node.dead => {
                node.election.resign();
                self.turn(i);
            }
            Mishap::Resign => {}
            Mishap::Ring => {
                let version = (self.version - self.roll() % 3).to_string();
                self.push(self.now, What::Rings(i, version));
            }
        }
    }

    fn check_one_at_a_time(&self) {
        let mut reigns: Vec<_> = (self.nodes.iter().enumerate())
            .flat_map(|(i, node)| node.reigns.iter().map(move |(from, to)| (*from, *to, i)))
            .collect();
        reigns.sort_unstable();
        for pair in reigns.windows(2) {
            let [(_, end, one), (begin, _, other)] = pair else {
                unreachable!()
            };
            assert!(
                one == other || end <= begin,
                "must never be two leaders: {pair:?}"
            );
        }
    }

    fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| !node.dead && node.reigns.last().is_some_and(|(_, to)| *to > self.now);
        self.nodes.iter().position(leads)
    }
}

fn arb_clocks() -> impl Strategy<Value = Vec<(u64, u64)>> {
    // Speeds that differ by a twentieth at most.
    prop::collection::vec((0..10 * LEASE_US, 975_000..=1_025_000_u64), 1..5)
}

fn arb_mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        4 => (0..4 * LEASE_US).prop_map(Mishap::Stop),
        1 => Just(Mishap::Die),
        2 => Just(Mishap::Resign),
        4 => Just(Mishap::Ring),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_are_never_two_leaders(
        clocks in arb_clocks(),
        loss in 0..128_u8,
        delay in 0..4 * LEASE_US,
        dice: u64,
        mishaps in prop::collection::vec((0..30 * LEASE_US, arb_mishap()), 0..20),
    ) {
        let mut world = World::new(&clocks, Weather { delay, loss }, dice);
        for (n, (at, mishap)) in mishaps.into_iter().enumerate() {
            world.mishaps.push(mishap);
            world.push(at, What::Mishap(n));
        }
        world.run(30 * LEASE_US);
        world.check_one_at_a_time();
    }

    #[test]
    fn a_dead_leader_is_replaced_within_a_lease_and_a_renewal(
        clocks in arb_clocks(),
        dice: u64,
        dies_at in 2 * LEASE_US..6 * LEASE_US,
    ) {
        prop_assume!(clocks.len() > 1);
        let mut world = World::new(&clocks, FAIR, dice);
        world.run(dies_at);
        let leader = world.leader().expect("must have a leader by now");
        world.nodes[leader].dead = true;
        // By the slowest clock, and four messages on their way.
        world.run(dies_at + (LEASE_US + LEASE_US / 3) * 1_000_000 / 975_000 + 4 * FAIR.delay);
        let next = world.leader().expect("must be replaced");
        prop_assert_ne!(next, leader);
        world.check_one_at_a_time();
    }

    #[test]
    fn a_resignation_hands_over_at_once(clocks in arb_clocks(), dice: u64, at in 2 * LEASE_US..6 * LEASE_US) {
        prop_assume!(clocks.len() > 1);
        let mut world = World::new(&clocks, FAIR, dice);
        world.run(at);
        let leader = world.leader().expect("must have a leader by now");
        world.nodes[leader].election.resign();
        world.turn(leader);
        // The release, the ring, the read and the takeover; two may be under way already.
        world.run(at + 9 * FAIR.delay);
        let next = world.leader().expect("must have a leader again");
        prop_assert_ne!(next, leader);
        world.check_one_at_a_time();
    }

    #[test]
    fn a_good_world_keeps_its_leader(clocks in arb_clocks(), dice: u64) {
        let mut world = World::new(&clocks, FAIR, dice);
        world.run(LEASE_US);
        let leader = world.leader().expect("must have a leader");
        world.run(20 * LEASE_US);
        let reigns: usize = world.nodes.iter().map(|node| node.reigns.len()).sum();
        prop_assert_eq!((world.leader(), reigns), (Some(leader), 1), "must stay, without a gap");
        let asked = world.commands.len();
        // Three renewals a lease; a standby reads after each, and once more at the most.
        prop_assert!(asked <= 20 * (4 + 7 * (clocks.len() - 1)) + 20, "must not ask too often: {asked}");
    }
}
