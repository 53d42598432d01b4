use super::*;

const START: i64 = 1_800_000_000;
/// Seconds within which a problem must be reported.
const SOON: i64 = 120;

/// A feed split by position, as GitHub splits it, read once a second in simulated time.
struct World {
    rng: fastrand::Rng,
    feed: [VecDeque<PageSighting>; 2],
    ids: [u64; 2],
    second: i64,
    rate: f64,
    owed: f64,
    frozen: bool,
    /// Short parts are filled from the other, as GitHub does.
    fills: bool,
    /// The feeds of the previous seconds, oldest first.
    past: VecDeque<[VecDeque<PageSighting>; 2]>,
    completeness: Completeness,
    report: Option<Report>,
    quarantined: Vec<TokenSlotId>,
}

/// What a page shows instead of its events.
#[derive(Clone, Copy, PartialEq)]
enum Odd {
    Nothing,
    Empty,
    Failing,
    LikePageOne,
    WithoutPullRequests,
}

impl World {
    fn new(seed: u64, rate: f64) -> Self {
        let start = Timestamp::from_seconds(START);
        let mut world = Self {
            rng: fastrand::Rng::with_seed(seed),
            feed: Default::default(),
            ids: [18_000_000_000, 13_000_000_000],
            second: 0,
            rate,
            owed: 300.0,
            frozen: false,
            fills: false,
            past: VecDeque::new(),
            completeness: Completeness::new(3, start),
            report: None,
            quarantined: Vec::new(),
        };
        world.emit();
        world
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(START + self.second)
    }

    fn emit(&mut self) {
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            let kind = match self.rng.u8(0..10) {
                0..=3 => 0,
                4..=6 => 1,
                7 => 2,
                8 => 4,
                _ => 6,
            };
            let sequence = usize::from(!matches!(kind, 0 | 2));
            self.ids[sequence] += self.rng.u64(1..9);
            let id = self.ids[sequence];
            let created_at = Some(self.now().minus(Duration::from_secs(self.rng.u64(5..30))));
            let hash = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ sequence as u64;
            let sighting = PageSighting { hash, id: Some(id), kind, created_at };
            self.feed[sequence].push_front(sighting);
            self.feed[sequence].truncate(400);
        }
    }

    fn page(feed: &[VecDeque<PageSighting>; 2], page: usize) -> Vec<PageSighting> {
        match page {
            0 => feed[0].iter().take(100).copied().collect(),
            _ => feed[1].iter().skip((page - 1) * 100).take(100).copied().collect(),
        }
    }

    /// Like `page`, for a feed whose parts are filled from each other while they are short.
    fn filled_page(feed: &[VecDeque<PageSighting>; 2], page: usize) -> Vec<PageSighting> {
        let pushes = feed[0].len().min(100);
        let positions = feed[0].iter().take(pushes).chain(&feed[1]);
        let rest = feed[0].iter().skip(pushes);
        positions.take(300).chain(rest).skip(page * 100).take(100).copied().collect()
    }

    /// Simulates one second and one round: the token for each page, and the `age` of the feed that
    /// it is shown.
    fn round(&mut self, slot_id: impl Fn(usize) -> (u64, usize), odd: (usize, Odd)) {
        self.second += 1;
        self.owed += if self.frozen { 0.0 } else { self.rate };
        self.emit();
        self.past.push_back(self.feed.clone());
        if self.past.len() > 40 {
            self.past.pop_front();
        }
        let now = self.now();
        for at in 0..3 {
            let (slot_id, age) = slot_id(at);
            let feed = &self.past[self.past.len().saturating_sub(1 + age)];
            let mut shown =
                if self.fills { Self::filled_page(feed, at) } else { Self::page(feed, at) };
            if odd.0 == at {
                match odd.1 {
                    Odd::Nothing => {}
                    Odd::Empty => shown.clear(),
                    Odd::Failing => {
                        self.completeness.failed(at, now);
                        continue;
                    }
                    Odd::LikePageOne => shown = Self::page(feed, 0),
                    Odd::WithoutPullRequests => shown.retain(|sighting| sighting.kind != 1),
                }
            }
            self.completeness.read(at, TokenSlotId(slot_id), &shown, now);
        }
        let number = |slot_id: TokenSlotId| usize::try_from(slot_id.0).ok();
        let (report, quarantined) = self.completeness.assess(now, number);
        self.quarantined.extend(quarantined);
        self.report = Some(report);
    }

    fn well(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.round(|at| (at as u64 % 3 + 1, 0), (0, Odd::Nothing));
            let troubles = &self.report.as_ref().unwrap().troubles;
            assert!(troubles.is_empty(), "second {}: {troubles:?}", self.second);
        }
    }

    /// Whether the figures of each page are known.
    fn known(&self) -> Vec<bool> {
        let report = self.report.as_ref().unwrap();
        report.pages.iter().map(|page| page.figures.missed.is_some()).collect()
    }

    fn troubles(&self) -> &[Trouble] {
        self.report.as_ref().map_or(&[], |report| &report.troubles)
    }

    /// Runs rounds until a problem is reported; fails when that takes too long.
    fn told(&mut self, mut round: impl FnMut(&mut Self)) -> Trouble {
        let begin = self.second;
        while self.troubles().is_empty() {
            round(self);
            assert!(self.second - begin <= SOON, "nothing is reported within {SOON} s");
        }
        assert_eq!(self.troubles().len(), 1, "{:?}", self.troubles());
        self.troubles()[0].clone()
    }
}

#[test]
fn a_feed_that_is_well_has_figures_and_no_troubles() {
    for (seed, rate) in [(1, 0.3), (2, 3.0), (3, 50.0), (4, 400.0)] {
        let mut world = World::new(seed, rate);
        world.well(900);
        let report = world.report.unwrap();
        let wanted = rate * 60.0;
        if rate < 100.0 {
            let minute = report.all.events_a_minute.unwrap();
            assert!((0.5 * wanted - 12.0..2.0 * wanted).contains(&minute), "{minute} at {rate}");
            let missed = report.all.missed.expect("it is known");
            assert!(missed.high <= 0.0, "{missed:?}");
        } else {
            // Of 200 pushes a second, 100 are shown.
            let [low, share, high] = report.pages[0].figures.missed_share.unwrap();
            assert!(low > 0.4 && (0.45..0.55).contains(&share) && high < 0.6, "{low} {high}");
        }
        let lag = report.all.lag_seconds.unwrap();
        assert!(lag.p50 >= 5.0 && lag.p50 <= lag.p90 && lag.p90 <= lag.max && lag.max <= 31.0);
        assert_eq!(report.tokens.len(), 3);
        let pulls = report.pages[1].figures.types["PullRequestEvent"];
        assert!(pulls.usual.is_some(), "{pulls:?}");
    }
}

#[test]
fn frozen_feed_and_its_end_are_reported_within_two_minutes() {
    for history in [0, 600] {
        let mut world = World::new(7, 20.0);
        world.well(history + 2);
        let moved_at = world.now();
        world.frozen = true;
        let trouble = world.told(|world| world.round(|_| (1, 0), (0, Odd::Nothing)));
        assert_eq!((trouble.kind, trouble.of), (TroubleKind::FrozenFeed, 0), "{trouble:?}");
        assert_eq!(trouble.since, moved_at, "since it last moved, not since it was noticed");
        for _ in 0..1_200 {
            world.round(|_| (1, 0), (0, Odd::Nothing));
        }
        assert_eq!((world.troubles().len(), world.troubles()[0].since), (1, trouble.since));
        world.frozen = false;
        for _ in 0..60 {
            world.round(|_| (1, 0), (0, Odd::Nothing));
        }
        assert!(world.troubles().is_empty(), "{:?}", world.troubles());
    }
}

#[test]
fn a_feed_that_hardly_moves_is_frozen_too() {
    let mut world = World::new(8, 30.0);
    world.well(600);
    world.rate = 0.2;
    let trouble = world.told(|world| world.round(|_| (1, 0), (0, Odd::Nothing)));
    assert_eq!(trouble.kind, TroubleKind::FrozenFeed);
    assert!(trouble.text.contains("% of the usual"), "{}", trouble.text);
    let changed_at = START + 600;
    let since = trouble.since.micros() / 1_000_000;
    assert!((changed_at - 10..=changed_at + 10).contains(&since), "{} s late", since - changed_at);
}

#[test]
fn figures_are_unknown_from_the_first_odd_answer_on() {
    // Two responses show that a feed stands still.
    let mut world = World::new(21, 20.0);
    world.well(100);
    assert_eq!(world.known(), [true; 3]);
    world.frozen = true;
    for round in 1..=120 {
        world.round(|_| (1, 0), (0, Odd::Nothing));
        assert!(round < 3 || world.known() == [false; 3], "after {round} s");
    }
    world.frozen = false;
    for _ in 0..90 {
        world.round(|_| (1, 0), (0, Odd::Nothing));
    }
    assert_eq!(world.known(), [true; 3]);
    // One response shows that something is missing on a page.
    for odd in [Odd::Empty, Odd::Failing, Odd::LikePageOne, Odd::WithoutPullRequests] {
        let mut world = World::new(22, 40.0);
        world.well(100);
        let began = world.now();
        let trouble = world.told(|world| {
            world.round(|_| (1, 0), (1, odd));
            assert_eq!(world.known(), [true, false, true], "{:?}", world.now());
            assert!(world.report.as_ref().unwrap().all.missed.is_none());
        });
        let since = trouble.since.since(began);
        assert!(since <= Duration::from_secs(1), "{} is {since:?} late", trouble.text);
    }
}

#[test]
fn figures_are_known_soon_after_a_feed_has_filled_up() {
    // Pushes leave the last page between two reads while the parts of the feed fill up.
    for rate in [20.0, 60.0, 100.0, 120.0, 150.0, 250.0] {
        let mut world = World::new(23, rate);
        world.fills = true;
        world.feed.iter_mut().for_each(|part| part.truncate(50));
        for _ in 0..90 {
            world.round(|_| (1, 0), (0, Odd::Nothing));
        }
        assert_eq!(world.known(), [true; 3], "{rate} events a second");
    }
}

#[test]
fn unchanged_responses_are_reported_as_frozen() {
    let mut world = World::new(9, 20.0);
    world.well(60);
    let trouble = world.told(|world| {
        world.second += 5;
        let now = world.now();
        for page in 0..3 {
            world.completeness.unchanged(page, TokenSlotId(1), now);
        }
        world.report = Some(world.completeness.assess(now, |_| Some(1)).0);
    });
    assert_eq!(trouble.kind, TroubleKind::FrozenFeed);
}

#[test]
fn token_with_old_pages_is_reported_and_quarantined() {
    let mut world = World::new(10, 40.0);
    let freshness = |stale: usize| {
        move |turn: i64| {
            move |at: usize| {
                let slot_id = (usize::try_from(turn).unwrap() + at) % 3;
                (slot_id as u64 + 1, if slot_id == 1 { stale } else { 0 })
            }
        }
    };
    for turn in 0..200 {
        world.round(freshness(0)(turn), (0, Odd::Nothing));
    }
    assert!(world.troubles().is_empty());
    let began = world.now();
    let trouble = world.told(|world| {
        let turn = world.second;
        world.round(freshness(12)(turn), (0, Odd::Nothing));
    });
    assert_eq!((trouble.kind, trouble.of), (TroubleKind::StaleToken, 2), "{trouble:?}");
    assert!(trouble.since.since(began) <= Duration::from_secs(10), "{trouble:?}");
    assert!(trouble.text.contains("token 2"));
    assert_eq!(world.quarantined, [TokenSlotId(2)]);
    // The token is not used; its recovery is reported too.
    for turn in 0..100 {
        world.round(|at| (if (turn + at) % 2 == 0 { 1 } else { 3 }, 0), (0, Odd::Nothing));
    }
    assert_eq!(world.troubles().len(), 1);
    for turn in 0..100 {
        world.round(freshness(0)(turn), (0, Odd::Nothing));
    }
    assert!(world.troubles().is_empty());
    assert_eq!(world.quarantined.len(), 1);
}

#[test]
fn when_every_token_is_shown_the_same_no_token_is_to_blame() {
    let mut world = World::new(11, 40.0);
    world.well(100);
    for _ in 0..300 {
        world.round(|at| (at as u64 + 1, 30), (0, Odd::Nothing));
    }
    assert!(world.quarantined.is_empty() && world.troubles().is_empty(), "{:?}", world.troubles());
}

#[test]
fn missing_page_is_reported_by_number() {
    for odd in [Odd::Empty, Odd::Failing, Odd::LikePageOne, Odd::WithoutPullRequests] {
        let mut world = World::new(12, 40.0);
        world.well(300);
        let trouble = world.told(|world| world.round(|_| (1, 0), (1, odd)));
        assert_eq!((trouble.kind, trouble.of), (TroubleKind::PageMissing, 2), "{trouble:?}");
        for _ in 0..60 {
            world.round(|_| (1, 0), (1, odd));
        }
        let text = &world.troubles()[0].text;
        assert!(text.contains("page 2") && text.contains("PullRequestEvent"), "{text}");
        // However long it lasts.
        for _ in 0..3_000 {
            world.round(|_| (1, 0), (1, odd));
        }
        assert_eq!(world.troubles().len(), 1);
        assert_eq!(world.troubles()[0].since, trouble.since);
        for _ in 0..120 {
            world.round(|_| (1, 0), (1, Odd::Nothing));
        }
        assert!(world.troubles().is_empty(), "{:?}", world.troubles());
    }
}

#[test]
fn page_that_never_existed_is_reported() {
    for odd in [Odd::Empty, Odd::Failing, Odd::LikePageOne] {
        let mut world = World::new(13, 40.0);
        let trouble = world.told(|world| world.round(|_| (1, 0), (2, odd)));
        assert_eq!((trouble.kind, trouble.of), (TroubleKind::PageMissing, 3), "{trouble:?}");
    }
}

#[test]
fn a_quiet_feed_that_fills_its_pages_has_no_troubles() {
    // Long enough for more than 500 events.
    for (rate, seconds) in [(0.2, 2_500), (1.0, 1_200), (3.0, 900)] {
        let mut world = World::new(15, rate);
        world.feed = Default::default();
        world.fills = true;
        world.well(seconds);
    }
}

#[test]
fn events_a_minute_are_those_of_the_time_that_has_passed() {
    let mut world = World::new(16, 20.0);
    world.well(12);
    for _ in 0..120 {
        world.well(1);
        let minute = world.report.as_ref().unwrap().all.events_a_minute.unwrap();
        assert!((minute - 1_200.0).abs() < 60.0, "{minute} in second {}", world.second);
    }
}

#[test]
fn unknown_figures_are_not_zero() {
    let unknown = |world: &World, pages: &[usize]| {
        let report = world.report.as_ref().unwrap();
        for (at, page) in report.pages.iter().enumerate() {
            let figures = &page.figures;
            let known = figures.missed.is_some();
            assert_eq!(known, figures.missed_share.is_some() && figures.lag_seconds.is_some());
            assert_eq!(known, !pages.contains(&at), "page {} of {pages:?}", at + 1);
        }
        assert!(report.all.missed.is_none() && report.all.events_a_minute.is_none());
    };
    // After one read, and while the feed stands still.
    let mut world = World::new(17, 20.0);
    world.well(1);
    unknown(&world, &[0, 1, 2]);
    world.well(60);
    assert!(world.report.as_ref().unwrap().all.missed.is_some());
    world.frozen = true;
    world.told(|world| world.round(|_| (1, 0), (0, Odd::Nothing)));
    unknown(&world, &[0, 1, 2]);
    // A page is missing.
    let mut world = World::new(18, 20.0);
    world.well(60);
    world.told(|world| world.round(|_| (1, 0), (1, Odd::Empty)));
    unknown(&world, &[1]);
    // No more responses arrive.
    let mut world = World::new(19, 20.0);
    world.well(60);
    world.second += 40;
    world.report = Some(world.completeness.assess(world.now(), |_| Some(1)).0);
    unknown(&world, &[0, 1, 2]);
    let report = world.report.clone().unwrap();
    let aged = report.shown_at(world.now().plus(Duration::from_secs(61)));
    assert!(aged.all.missed.is_none());
}

#[test]
fn pause_of_polling_raises_no_trouble() {
    let mut world = World::new(20, 20.0);
    world.well(60);
    // One page is odd for a moment, and the last responses show nothing new.
    world.round(|_| (1, 0), (1, Odd::LikePageOne));
    world.round(|_| (1, 0), (2, Odd::Failing));
    let now = world.now();
    for page in [0, 1, 0, 1] {
        world.completeness.unchanged(page, TokenSlotId(1), now);
    }
    for second in 0..600 {
        let later = now.plus(Duration::from_secs(second));
        let (report, _) = world.completeness.assess(later, |_| Some(1));
        assert!(report.troubles.is_empty(), "after {second} s: {:?}", report.troubles);
        assert!(second < 60 || report.all.missed.is_none());
    }
}

#[test]
fn remembered_ids_and_lags_are_limited() {
    let mut world = World::new(14, 300.0);
    for round in 0..1_500_u64 {
        world.round(|_| (round, 0), (0, Odd::Nothing));
    }
    assert_eq!(world.completeness.known.len(), RECENT);
    assert_eq!(world.completeness.order.len(), RECENT);
    assert_eq!(world.completeness.lags.len(), LAGS.0);
    assert!(world.report.unwrap().tokens.len() <= 1_025);
}
