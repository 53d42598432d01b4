//! What a script cannot do, and that it is said where and why.

use std::time::Duration;

use super::super::{SOURCE_BYTES, ScriptKind, prepare, sample};
use super::*;
use crate::model::tally::NAMES;

#[track_caller]
fn refused(body: &str) -> String {
    merged(body).unwrap_err().reason
}

#[test]
fn a_loop_without_end_is_ended() {
    let limits = ScriptLimits { deadline: Duration::from_secs(60), ..ScriptLimits::default() };
    let source = "fn merge(window) { loop {} }";
    let diagnostic = run_within(source, &small(), limits).unwrap_err();
    // The interpreter forgets where it was when a limit ends it; `fn merge` is named instead.
    assert_eq!(diagnostic.to_string(), "x.rhai:1:1: more than 5000000 operations");
}

#[test]
fn time_of_computing_is_limited() {
    let limits = ScriptLimits { operations: u64::MAX, ..ScriptLimits::default() };
    let diagnostic = run_within("fn merge(window) {\n  loop { }\n}", &small(), limits).unwrap_err();
    assert_eq!((diagnostic.line, &*diagnostic.reason), (Some(1), "ran longer than 200 ms"));
}

#[test]
fn work_inside_native_calls_is_limited_too() {
    let few = ScriptLimits {
        native_work: 1_000,
        deadline: Duration::from_secs(60),
        ..ScriptLimits::default()
    };
    let calls = [
        "t.add(window)",
        "t.add(t)",
        "for b in window { t.add(b, 0.5) }",
        "t.names()",
        "t.top(1)",
        r#"t.keep(["Go"])"#,
        "window.at(100).names()",
        "window.at(100).to_map()",
    ];
    for call in calls {
        let source =
            format!("fn merge(window) {{ let t = Tally(); t.add(window); loop {{ {call}; }} }}");
        let diagnostic = run_within(&source, &small(), few).unwrap_err();
        assert_eq!(diagnostic.reason, "more than 1000 steps inside native calls", "{call}");
        assert!(diagnostic.line.is_some());
    }
}

#[test]
fn native_calls_check_the_deadline() {
    let limits =
        ScriptLimits { native_work: u64::MAX, operations: u64::MAX, ..ScriptLimits::default() };
    let source = "fn merge(window) { let t = Tally(); loop { t.add(window) } }";
    let diagnostic = run_within(source, &sample::window(str::to_owned), limits).unwrap_err();
    assert_eq!(diagnostic.reason, "ran longer than 200 ms");
}

#[test]
fn memory_of_tallies_is_limited() {
    let limits = ScriptLimits { tally_cells: 10_000, ..ScriptLimits::default() };
    let source = "fn merge(window) {
        let all = [];
        for n in 0..9_000 { let t = Tally(); t.add(window); all.push(t); }
        all
    }";
    let diagnostic = run_within(source, &small(), limits).unwrap_err();
    assert_eq!(diagnostic.reason, "tallies hold more than 10000 counts");
}

#[test]
fn a_limit_cannot_be_caught() {
    let limits = ScriptLimits { native_work: 100, ..ScriptLimits::default() };
    let source = "fn merge(window) {
        let t = Tally();
        try { loop { t.add(window) } } catch { }
        t
    }";
    let reason = run_within(source, &small(), limits).unwrap_err().reason;
    assert_eq!(reason, "more than 100 steps inside native calls");
}

#[test]
fn deep_recursion_is_ended() {
    let source = "fn down(n) { down(n + 1) }\nfn merge(window) { down(0) }";
    assert_eq!(diagnostic(source), "x.rhai:2:1: calls are nested too deep");
}

#[test]
fn sizes_are_limited() {
    let text = r#"let s = "x"; loop { s += s }"#;
    assert!(refused(text).contains("length of string"), "{}", refused(text));
    let array = "let a = []; loop { a += [1, 2, 3, 4, 5, 6, 7, 8, 9] + a }";
    assert!(refused(array).contains("size of array"), "{}", refused(array));
    let map = "let a = []; loop { a += [#{ a: 1, b: 2, c: 3 }] }";
    assert!(refused(map).contains("size of object map"), "{}", refused(map));
    let variables = (0..300).map(|n| format!("let v{n} = {n};")).collect::<Vec<_>>().concat();
    assert!(refused(&variables).contains("variables"), "{}", refused(&variables));
}

#[test]
fn data_nested_to_its_limit_ends_the_run_and_nothing_else() {
    let nested = "fn merge(window) { let a = []; loop { let b = []; b.push(a); a = b; } }";
    assert!(run_within(nested, &small(), ScriptLimits::default()).is_err());
    // Deeper than 200 ms allow.
    let deep =
        "fn merge(window) { let a = []; for n in 0..3_000 { let b = []; b.push(a); a = b; } }";
    assert!(run(deep, &small()).is_err());
}

#[test]
fn an_expression_nested_too_deep_does_not_compile() {
    let source = format!("fn merge(window) {{ {}1{} }}", "(".repeat(200), ")".repeat(200));
    assert!(diagnostic(&source).contains("complexity"), "{}", diagnostic(&source));
}

#[test]
fn a_script_too_long_is_refused_before_it_is_read() {
    let reason = diagnostic(&" ".repeat(SOURCE_BYTES + 1));
    assert_eq!(reason, "x.rhai: the script has 262145 bytes, 262144 are allowed");
}

#[test]
fn scripts_have_no_access_to_the_outside() {
    for (body, needle) in [
        (r#"eval("1")"#, "'eval'"),
        (r#"import "x" as y; 1"#, "'import'"),
        ("sleep(1)", "sleep"),
        ("timestamp()", "timestamp"),
        ("exit()", "exit"),
        (r#"open_file("x")"#, "open_file"),
        ("rand()", "rand"),
    ] {
        let reason = refused(body);
        assert!(reason.contains(needle), "{body}: {reason}");
    }
}

#[test]
fn errors_have_line_and_column() {
    let places = [
        ("fn merge(window) {\n    let total = Tally()\n    total\n}", "x.rhai:3:5: "),
        ("fn merge(window) {\n    totl\n}", "x.rhai:2:5: undefined variable: totl"),
        (
            "fn merge(window) {\n  let t = Tally();\n  t.ad(window); t\n}",
            "x.rhai:3:5: function not found",
        ),
        ("fn merge(window) {\n  help(1)\n}\nfn help(x) {\n\n   x / 0\n}", "x.rhai:6:6: "),
        ("fn merge(window) {\n  throw \"no\"\n}", "x.rhai:2:3: no"),
        ("fn merge(window) {\n  window.newest\n}", "x.rhai:2:10: "),
        ("fn merge(window) {\n  let m = #{};\n  m.missing\n}", "x.rhai:3:5: "),
        ("// nothing\n", "x.rhai:1:1: function merge is missing; write fn merge(window) { … }"),
        ("fn fold(window) { }", "x.rhai:1:1: function merge is missing"),
        (
            "// fn merge(x)\n\n fn merge() { }",
            "x.rhai:3:2: merge takes 0 parameters; write fn merge",
        ),
        ("fn merge(a, b) { }", "x.rhai:1:1: merge takes 2 parameters; write"),
        ("private fn merge(a) { }", "x.rhai:1:9: merge takes 1 parameters, and is private; write"),
        ("\"", "x.rhai:1:1: open string is not terminated"),
    ];
    for (source, start) in places {
        let told = diagnostic(source);
        assert!(told.starts_with(start), "{source}\n  {told}\n  {start}");
    }
}

#[test]
fn invalid_result_is_reported_at_merge() {
    let what = "; a Tally or a map of name -> number is accepted";
    let results = [
        ("", "merge returns nothing"),
        ("1", "merge returns a number"),
        ("\"Go\"", "merge returns a text"),
        ("[1]", "merge returns an array"),
        ("true", "merge returns true or false"),
        ("window", "merge returns a window"),
        ("window.at(100)", "merge returns a bucket"),
    ];
    for (body, start) in results {
        let told = diagnostic(&format!("\nfn merge(window) {{ {body} }}"));
        assert_eq!(told, format!("x.rhai:2:1: {start}{what}"));
    }
}

#[test]
fn counts_and_names_that_cannot_be_are_refused() {
    let long = "x".repeat(65);
    let just = "x".repeat(64);
    assert_eq!(merged(&format!("#{{ {just}: 1 }}")).unwrap().len(), 1);
    assert_eq!(merged(&format!(r#"let t = Tally(); t.set("{just}", 1); t"#)).unwrap().len(), 1);
    let results = [
        ("#{ Go: \"1\" }".to_owned(), "the count of \"Go\" is a text; a number is accepted"),
        ("#{ Go: #{} }".to_owned(), "the count of \"Go\" is a map; a number is accepted"),
        ("#{ Go: () }".to_owned(), "the count of \"Go\" is nothing; a number is accepted"),
        (
            "#{ Go: 0.0 / 0.0 }".to_owned(),
            "the count of \"Go\" is NaN; a finite number is accepted",
        ),
        (
            "#{ Go: 1.0 / 0.0 }".to_owned(),
            "the count of \"Go\" is inf; a finite number is accepted",
        ),
        (format!("#{{ {long}: 1 }}"), "has 65 bytes, 64 are allowed"),
        ("#{ \"\": 1 }".to_owned(), "a name must not be empty"),
        (format!(r#"let t = Tally(); t.set("{long}", 1); t"#), "has 65 bytes, 64 are allowed"),
        (format!(r#"let t = Tally(); t.add(window); t.rename("Go", "{long}"); t"#), "has 65 bytes"),
        (r#"let t = Tally(); t.set("Go", 0.0 / 0.0); t"#.to_owned(), "must be a finite number"),
        ("let t = Tally(); t.add(window, 1.0 / 0.0); t".to_owned(), "must be a finite number"),
        (r#"let t = Tally(); t.set("A", 1e308); t.add(t, 9.0); t"#.to_owned(), "is inf"),
        ("let t = Tally(); t.top(-1)".to_owned(), "top takes a whole number from 0 on, not -1"),
        ("let t = Tally(); t.keep([1]); t".to_owned(), "keep takes a list of names"),
    ];
    for (body, needle) in results {
        let told = merged(&body).unwrap_err();
        assert!(told.reason.contains(needle), "{body}: {told}");
        assert!(told.line.is_some() && told.column.is_some());
    }
}

#[test]
fn more_names_than_allowed_are_refused() {
    let fill = |n: usize, put: &str| format!("for n in 0..{n} {{ {put} }}");
    let map = |n| format!("let m = #{{}}; {} m", fill(n, "m[`k${n}`] = 1;"));
    let set = |n| format!("let t = Tally(); {} t", fill(n, "t.set(`k${n}`, 1);"));
    assert_eq!(merged(&set(NAMES)).unwrap().len(), NAMES);
    assert_eq!(refused(&map(NAMES + 1)), "the result has 10001 names, 10000 are allowed");
    assert_eq!(refused(&set(NAMES + 1)), "a tally holds at most 10000 names");
    let beside = format!("let t = Tally(); t.add(window); {} t", fill(NAMES, "t.set(`k${n}`, 1);"));
    assert_eq!(refused(&beside), "the result has 10003 names, 10000 are allowed");
}

#[test]
fn values_that_closures_share_cannot_hang_a_run() {
    let bodies = [
        "let x = [1]; let f = || x.len(); let a = [0]; a.push(x); a += [x]; a",
        "let a = []; let f = || a.len(); a.push(a); a",
        "let a = [1]; let f = || a.len(); let b = [a]; b[0] += b; b",
    ];
    for body in bodies {
        assert!(refused(body).starts_with("merge returns an array"), "{body}");
    }
}

#[test]
fn preparing_tries_the_sample_and_the_live_window() {
    let source = |seconds: i64| {
        format!(
            "fn merge(window) {{\n if window.to - window.from < {seconds} {{ throw \"short\" }}\n #{{}} }}"
        )
    };
    let prepare = |seconds, live: fn() -> Option<WindowSnapshot>| {
        prepare(ScriptKind::Merge, &source(seconds), "x.rhai", |_| live())
    };
    assert!(prepare(0, || Some(small())).is_ok());
    assert!(prepare(100, || None).is_ok());
    let live = prepare(100, || Some(small())).unwrap_err();
    assert_eq!(live.to_string(), "x.rhai:2:37: short");
    let sample = prepare(9_999, || None).unwrap_err();
    assert_eq!(sample.reason, "short");
}
