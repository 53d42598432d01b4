//! Every call of PROTOCOL 9.

use proptest::prelude::*;

use super::super::SHIPPED;
use super::*;

#[test]
fn buckets_are_ordered_and_know_their_second() {
    let body = r#"
        let seen = "";
        for bucket in window {
            seen += `${bucket.at} ${bucket.age} ${bucket.total} ${bucket.get("Go")} `;
            seen += `${bucket.get("Ada")} ${bucket.names()} ${bucket.to_map().len()};`;
        }
        throw seen"#;
    let reason = merged(body).unwrap_err().reason;
    assert_eq!(reason, r#"91 9 5 1 0 ["C", "Go"] 2;100 0 18 2 0 ["Go", "Rust"] 2;"#);
}

#[test]
fn window_knows_its_ends_and_finds_a_second() {
    let body = "
        #{ from: window.from, to: window.to, at: window.at(100).total, age: window.at(95).age,
           empty: 1 + window.at(95).total, outside: 1 + window.at(85).total,
           no_names: 1 + window.at(95).names().len() }";
    let expected = [
        ("from", 91),
        ("to", 100),
        ("at", 18),
        ("age", 5),
        ("empty", 1),
        ("outside", 1),
        ("no_names", 1),
    ];
    assert_eq!(merged(body).unwrap(), tally(&expected));
}

#[test]
fn the_window_before_is_there_once() {
    let body = "let before = Tally(); before.add(window.previous); before";
    assert_eq!(merged(body).unwrap(), tally(&[("Go", 8)]));
    let body = r#"let p = window.previous;
        #{ from: p.from, to: p.to, count: p.at(85).get("Go"), age: p.at(85).age }"#;
    let expected = tally(&[("from", 81), ("to", 90), ("count", 8), ("age", 15)]);
    assert_eq!(merged(body).unwrap(), expected);
    let reason = merged("window.previous.previous").unwrap_err().reason;
    assert_eq!(reason, "only one window before the current one is kept");
}

#[test]
fn tally_adds_buckets_windows_and_tallies_with_weights() {
    let sums = [
        ("let t = Tally(); t.add(window); t", [("C", 4), ("Go", 3), ("Rust", 16)]),
        ("let t = Tally(); t.add(window, 2); t", [("C", 8), ("Go", 6), ("Rust", 32)]),
        ("let t = Tally(); t.add(window, 0.5); t", [("C", 2), ("Go", 2), ("Rust", 8)]),
        (
            "let t = Tally(); for b in window { t.add(b, b.age + 1) } t",
            [("C", 40), ("Go", 12), ("Rust", 16)],
        ),
        (
            "let t = Tally(); for b in window { t.add(b, 1.5) } t",
            [("C", 6), ("Go", 5), ("Rust", 24)],
        ),
        (
            "let t = Tally(); t.add(window); let u = t; u.add(t); u.add(t, 0.25); u",
            [("C", 9), ("Go", 7), ("Rust", 36)],
        ),
        ("let t = Tally(); t.add(window); t.add(t, 2); t", [("C", 12), ("Go", 9), ("Rust", 48)]),
        (
            r#"let t = Tally(); t.set("Go", 1); t.add(window); t.set("C", 5); t"#,
            [("C", 5), ("Go", 4), ("Rust", 16)],
        ),
    ];
    for (body, expected) in sums {
        assert_eq!(merged(body).unwrap(), tally(&expected), "{body}");
    }
}

#[test]
fn a_tally_is_changed_by_name() {
    let whole = "let t = Tally(); t.add(window);";
    let changes = [
        (r#"t.rename("Go", "Rust");"#, tally(&[("C", 4), ("Rust", 19)])),
        (r#"t.rename("Go", "Golang");"#, tally(&[("C", 4), ("Golang", 3), ("Rust", 16)])),
        (
            r#"t.rename("Ada", "C"); t.rename("C", "C"); t.drop("Go");"#,
            tally(&[("C", 4), ("Rust", 16)]),
        ),
        (r#"t.drop("Rust"); t.drop("Ada");"#, tally(&[("C", 4), ("Go", 3)])),
        (r#"t.keep(["Rust", "Ada", "C", "C"]);"#, tally(&[("C", 4), ("Rust", 16)])),
        ("t.keep([]);", tally(&[])),
        (
            r#"t.set("Go", t.get("Go") * 10); t.set("New", 7);"#,
            tally(&[("C", 4), ("Go", 30), ("New", 7), ("Rust", 16)]),
        ),
        (r#"t.set("Go", 2.5); t.set("C", 0);"#, tally(&[("Go", 3), ("Rust", 16)])),
        ("t.top(2);", tally(&[("C", 4), ("Rust", 16)])),
        ("t.top(0);", tally(&[])),
        (r#"t.set("Go", 4); t.set("B", 4); t.top(2);"#, tally(&[("B", 4), ("Rust", 16)])),
    ];
    for (change, expected) in changes {
        assert_eq!(merged(&format!("{whole} {change} t")).unwrap(), expected, "{change}");
    }
    assert_eq!(merged(&format!("{whole} t.top(1)")).unwrap(), tally(&[("Rust", 16)]));
}

#[test]
fn copied_tally_is_independent() {
    let body = r#"let t = Tally(); t.add(window); let u = t; u.set("Go", 100); u.drop("C"); t"#;
    assert_eq!(merged(body).unwrap(), tally(&[("C", 4), ("Go", 3), ("Rust", 16)]));
}

#[test]
fn a_tally_lists_its_names_as_call_and_as_property() {
    let body = r#"let t = Tally(); t.add(window); t.set("Ada", 1); t.drop("C");
        throw `${t.names()} ${t.names} ${t} ${Tally()} ${window} ${window.at(100)}`"#;
    assert_eq!(
        merged(body).unwrap_err().reason,
        r#"["Ada", "Go", "Rust"] ["Ada", "Go", "Rust"] Tally { Ada: 1, Go: 3, Rust: 16 } Tally { } "#
            .to_owned()
            + "Window { from: 91, to: 100 } Bucket { at: 100, age: 0, total: 18 }"
    );
}

#[test]
fn counts_are_whole_until_a_float_is_put_in() {
    let body = r#"let t = Tally(); t.add(window); let whole = type_of(t.get("Go"));
        t.add(window, 0.5); throw `${whole} ${type_of(t.get("Go"))} ${type_of(t.get("Ada"))}`"#;
    assert_eq!(merged(body).unwrap_err().reason, "i64 f64 f64");
}

#[test]
fn weighted_sums_are_rounded_once_at_the_end() {
    let thirds = "let t = Tally(); for n in 0..3 { t.add(window, 1.0 / 3.0) } t";
    assert_eq!(merged(thirds).unwrap(), tally(&[("C", 4), ("Go", 3), ("Rust", 16)]));
}

#[test]
fn constants_and_functions_of_ones_own_can_be_used() {
    let source = "
        const HALF = 1800;
        fn weight(bucket) { if bucket.age > global::HALF { 0.5 } else { 1.0 } }
        fn merge(window) {
            let t = Tally();
            for bucket in window { t.add(bucket, weight(bucket)) }
            t
        }";
    assert_eq!(run(source, &small()).unwrap(), tally(&[("C", 4), ("Go", 3), ("Rust", 16)]));
}

#[test]
fn a_map_is_a_result_too_and_is_cleaned() {
    let body = r#"#{ A: 1, B: 2.5, C: 0, D: -3, E: 0.4, F: -0.0, "Jupyter Notebook": 0.5 }"#;
    assert_eq!(merged(body).unwrap(), tally(&[("A", 1), ("B", 3), ("Jupyter Notebook", 1)]));
    assert_eq!(merged("#{}").unwrap(), Tally::default());
    assert_eq!(merged("Tally()").unwrap(), Tally::default());
    let body = r#"let t = Tally(); t.set("A", -1); t.set("B", 0.4); t.set("C", 1.5); t"#;
    assert_eq!(merged(body).unwrap(), tally(&[("C", 2)]));
}

#[test]
fn nested_loops_as_in_lua_work() {
    let body = r"
        let map = #{};
        for bucket in window {
            for name in bucket.names() { map[name] = (map[name] ?? 0) + bucket.get(name); }
        }
        map";
    // A key that is not there is a mistake elsewhere; here it is asked for with `in`.
    let body = body.replace("(map[name] ?? 0)", "(if name in map { map[name] } else { 0 })");
    assert_eq!(merged(&body).unwrap(), small().sum());
}

#[test]
fn one_run_leaves_nothing_to_the_next() {
    let source = "let calls = 0; fn merge(window) { let t = Tally(); t.add(window); t }";
    let compiled = Compiled::new(source, "x.rhai", ScriptLimits::default()).unwrap();
    assert_eq!(compiled.run(&small()).unwrap(), compiled.run(&small()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_shipped_script_is_the_native_sum(
        entries in prop::collection::vec((70_i64..110, "[a-h]{1,2}", -50_i64..1_000_000), 0..150),
    ) {
        let entries: Vec<_> =
            entries.iter().map(|(at, name, n)| (*at, name.as_str(), *n)).collect();
        let window = window(&entries);
        prop_assert_eq!(run(SHIPPED, &window).unwrap(), window.sum());
    }
}
