use super::picture::Picture;
use super::*;
use crate::model::ledger::{DaySeen, LedgerCounts, LedgerMetric, RepoDay, StatedTotals};
use crate::model::window::{Day, Timestamp};

fn series(name: &str) -> RepoSeries {
    let day = |at: i32| {
        let mut counts = LedgerCounts::default();
        counts.add(LedgerMetric::Stars, u64::try_from(at).unwrap() * 600);
        let seen = (at > 0).then_some(0.9);
        let minutes_known = if at > 0 { 1_440 } else { 0 };
        RepoDay {
            day: Day(20_454 + at),
            counts,
            seen: DaySeen { seen, minutes_known, ..DaySeen::default() },
        }
    };
    let (days, language) = ((0..3).map(day).collect(), Some("C\"++\"".to_owned()));
    RepoSeries { id: 7, name: name.to_owned(), language, stated: None, seen: None, days }
}

#[test]
fn a_series_has_its_days_sums_and_coverage() {
    let json: serde_json::Value = serde_json::from_str(&written::series(&series("a/b"))).unwrap();
    assert_eq!(json["since"], "2026-01-01");
    assert_eq!(json["until"], "2026-01-03");
    assert_eq!(json["totals"]["stars"], 1_800);
    assert_eq!(json["coverage"]["seen"], 0.9);
    assert_eq!(json["days"][0]["coverage"]["seen"], serde_json::Value::Null);
    assert_eq!(json["days"][2]["counts"]["stars"], 1_200);
    assert!(json["stated"].is_null() && json["seen"].is_null());
    let csv = written::series_csv(&series("a/b"));
    assert_eq!(csv.lines().nth(2), Some("2026-01-02,600,0,0,0,0,0,0,0,0,0.9,1440,0,0"));
}

#[test]
fn pictures_say_their_figure_and_coverage() {
    let series = series("ann/tool");
    let picture = Picture { series: &series, by: RankedBy::Stars };
    for drawn in [picture.chart(), picture.badge()] {
        assert!(drawn.starts_with("<svg xmlns="), "{drawn}");
        assert!(drawn.ends_with("</svg>"), "{drawn}");
        assert!(drawn.contains("1,800") && drawn.contains("90 % of the feed seen"), "{drawn}");
    }
    let chart = picture.chart();
    assert!(chart.contains("ann/tool") && chart.contains("2026-01-03"), "{chart}");
}

#[test]
fn pictures_have_what_github_states_beside_what_was_seen() {
    let stated = StatedTotals { stars: 45_120, forks: 310, at: Timestamp::default() };
    let series = RepoSeries { stated: Some(stated), seen: Some(0.719), ..series("ann/tool") };
    let drawn = |by| Picture { series: &series, by }.chart();
    for (by, total) in [(RankedBy::Stars, "45,120 stars"), (RankedBy::Forks, "310 forks")] {
        let (chart, badge) = (drawn(by), Picture { series: &series, by }.badge());
        assert!(chart.contains(&format!("GitHub states {total}<")), "{chart}");
        assert!(chart.contains("seen 71 % of its growth · 90 % of the feed seen"), "{chart}");
        assert!(badge.contains("· 90 % of the feed seen<"), "{badge}");
        assert!(badge.contains("seen 71 % of its growth · 90 % of the feed seen;"), "{badge}");
    }
    let pushes = drawn(RankedBy::Pushes);
    assert!(!pushes.contains("states") && pushes.contains("90 % of the feed seen"), "{pushes}");
}

#[test]
fn a_long_name_is_cut_before_what_stands_beside_it() {
    let name = format!("{}/{}", "a".repeat(39), "b".repeat(100));
    let stated = StatedTotals { stars: 1_245_120, forks: 310, at: Timestamp::default() };
    let drawn = |stated, name: &str| {
        let series = RepoSeries { stated, ..series(name) };
        Picture { series: &series, by: RankedBy::Stars }.chart()
    };
    let shown = |chart: &str| {
        let (_, text) = chart.split_once("y=\"22\">").unwrap();
        text.split_once('<').unwrap().0.to_owned()
    };
    let (alone, beside) = (drawn(None, &name), drawn(Some(stated), &name));
    for chart in [&alone, &beside] {
        assert!(chart.contains(&format!("<title>{name}: ")), "{chart}");
        assert!(shown(chart).ends_with("b…"), "{chart}");
    }
    assert_eq!(shown(&alone).chars().count(), 68);
    assert_eq!(shown(&beside).chars().count(), 45);
    let fits = "a".repeat(45);
    assert_eq!(shown(&drawn(Some(stated), &fits)), fits);
}

#[test]
fn names_cannot_leave_their_place_in_a_picture() {
    let series = series("a/<script>\"'&\u{7}");
    let picture = Picture { series: &series, by: RankedBy::Pushes };
    for drawn in [picture.chart(), picture.badge()] {
        assert!(!drawn.contains("<script>") && !drawn.contains('\u{7}'), "{drawn}");
        assert!(drawn.contains("a/&lt;script&gt;&quot;&#39;&amp;"), "{drawn}");
    }
}
