use proptest::prelude::*;

use super::*;

fn range(low: f64, estimate: f64, high: f64) -> MissedRange {
    MissedRange { low, estimate, high }
}

#[test]
fn instants_have_their_slot() {
    let at = Timestamp::from_seconds(7_259);
    assert_eq!((Span::Minute.locate(at), Span::Hour.locate(at)), ((120, 5), (2, 0)));
    let before = Timestamp::from_seconds(-1);
    assert_eq!((Span::Minute.locate(before), Span::Hour.locate(before)), ((-1, 5), (-1, 5)));
}

#[test]
fn bytes_once_assigned_never_change() {
    let mut activity = Activity::default();
    activity.0[0][0] = 300;
    activity.0[5][16] = 1;
    let bytes = [1, 1, 0xac, 2, 0, 0, 0, 0, 0x80, 0x80, 4, 1];
    assert_eq!(activity.encode(), bytes);
    assert_eq!(Activity::decode(&bytes), Some(activity));
    let coverage = Coverage { watched: 60, known: 2, lag: None, ..Coverage::default() };
    assert_eq!(coverage.encode()[..9], [1, 0, 60, 0, 2, 255, 255, 255, 255]);
    assert_eq!(coverage.encode().len(), 9 + 2 * 32);
}

#[test]
fn hour_adds_known_minutes_only() {
    let mut received = Activity::default();
    received.0[0][0] = 10;
    received.0[1][6] = 4;
    let minute = Coverage {
        watched: 1,
        known: 1,
        missed: [range(1.0, 2.0, 3.0), range(0.0, 1.0, 2.0)],
        lag: Some(2_000),
        ..Coverage::default()
    };
    let mut hour = Coverage::default();
    hour.add_minute(&minute, &received);
    hour.add_minute(&Coverage { lag: Some(4_000), ..minute }, &received);
    hour.add_minute(&Coverage { lag: Some(9_000), ..minute }, &received);
    hour.add_minute(&Coverage { watched: 1, ..Coverage::default() }, &received);
    assert_eq!((hour.watched, hour.known, hour.lag), (4, 3, Some(5_000)));
    assert_eq!(hour.seen, [30, 12]);
    assert_eq!(hour.missed(), Some(range(3.0, 9.0, 15.0)));
    assert_eq!(Coverage::default().missed(), None);
}

#[test]
fn type_has_its_share_of_its_id_sequence() {
    let mut counts = [0; COLUMNS];
    (counts[0], counts[2], counts[6]) = (30, 10, 5);
    let missed = [range(4.0, 8.0, 12.0), range(1.0, 1.0, 1.0)];
    let coverage = Coverage { known: 60, missed, ..Coverage::default() };
    let hour = HourCompleteness { hour: Hour(1), counts, coverage };
    assert_eq!(hour.missed_of(0), Some(range(3.0, 6.0, 9.0)));
    assert_eq!(hour.missed_of(6), Some(range(1.0, 1.0, 1.0)));
    assert_eq!(hour.missed_of(7), Some(range(0.0, 0.0, 0.0)));
    let unknown = HourCompleteness { coverage: Coverage::default(), ..hour };
    assert_eq!(unknown.missed_of(0), None);
}

#[test]
fn shares_are_between_none_and_all() {
    let percent = |range: MissedRange, seen| range.shares(seen).map(|share| format!("{share:.2}"));
    assert_eq!(percent(range(0.0, 5.0, 15.0), 5), ["0.00", "0.50", "0.75"]);
    assert_eq!(percent(MissedRange::default(), 0), ["0.00"; 3]);
}

proptest! {
    #[test]
    fn rows_come_back_and_any_bytes_decode(
        counts in prop::collection::vec(prop_oneof![Just(0), any::<u32>()], SLOTS * COLUMNS),
        (watched, known, seen) in any::<(u16, u16, [u64; 2])>(),
        lag in prop::option::of(0..u32::MAX),
        bytes in any::<Vec<u8>>(),
    ) {
        let mut activity = Activity::default();
        activity.0.iter_mut().flatten().zip(counts).for_each(|(to, count)| *to = count);
        prop_assert_eq!(Activity::decode(&activity.encode()), Some(activity));
        let missed = [range(0.0, 1.5, 3.0); 2];
        let coverage = Coverage { watched, known, seen, missed, lag };
        prop_assert_eq!(Coverage::decode(&coverage.encode()), Some(coverage));
        let _ = (Activity::decode(&bytes), Coverage::decode(&bytes));
    }
}
