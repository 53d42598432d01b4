//! No function of rhai's packages makes much more than it was given.

use std::time::Duration;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};

use super::super::text::DIAGNOSTIC_BYTES;
use super::*;
use crate::clock::CpuStopwatch;

/// `s` has 65,000 bytes; `m` and `a` hold it many times without taking memory for it.
const LARGE: &str = "let s = \"x\"; s.pad(65000, 'x');
    let m = #{}; for n in 0..9000 { m[`k${n}`] = s; }
    let a = []; a.pad(9000, 0); for n in 0..9000 { a[n] = s; }\n";

/// Bodies, and what is said of them. Without measures each makes half a gigabyte or more, or never
/// ends.
const CASES: &[(&str, &str)] = &[
    // MoreString
    ("let t = s; s.replace(\"x\", t);", "length of string"),
    ("let t = s; s.replace('x', t);", "length of string"),
    ("s.replace(\"\", s);", "length of string"),
    ("s + m", "length of string"),
    ("m + s", "length of string"),
    ("\"\" + m", "length of string"),
    ("a + \"\"", "length of string"),
    ("let t = \"\"; t += m;", "length of string"),
    ("let t = \"\"; t.append(a);", "length of string"),
    ("s.pad(100, \"\"); let t = \"\"; t.pad(100, \"\");", "pad takes a text that is not empty"),
    ("s.pad(9223372036854775807, \"xy\");", "length of string"),
    ("s.pad(65536, \"\u{1f600}\u{1f600}\");", "length of string"),
    ("s.split(\"\")", "size of array"),
    ("s.split('x')", "size of array"),
    ("s.split(\"x\", 60000)", "size of array"),
    ("s.split_rev(\"\")", "size of array"),
    ("s.split_rev('x', 60000)", "size of array"),
    ("s.to_chars()", "size of array"),
    ("s.replace(\"x\", \" x\"); s.split()", "length of string"),
    // BasicString
    ("print(m)", "length of string"),
    ("print(a)", "length of string"),
    ("debug(m)", "length of string"),
    ("a.to_string()", "length of string"),
    ("m.to_string()", "length of string"),
    ("a.to_debug()", "length of string"),
    ("m.to_debug()", "length of string"),
    ("`${m}`", "length of string"),
    ("`${[a, 1]}`", "length of string"),
    // BasicMap, BasicArray
    ("m.to_json()", "length of string"),
    ("#{ deep: [m] }.to_json()", "length of string"),
    ("let b = []; b.pad(10001, 0);", "size of array"),
    ("let b = [a]; b.pad(9000, a);", "length of string"),
    ("let b = [[1, 2]]; b.pad(9000, [1, 2]);", "size of array"),
];

#[test]
fn results_of_calls_are_bounded_by_their_arguments() {
    for (body, needle) in CASES {
        let source = format!("fn merge(window) {{ {LARGE} {body}; Tally() }}");
        let watch = CpuStopwatch::start();
        let told = run(&source, &small()).expect_err(body).reason.to_lowercase();
        assert!(told.contains(needle), "{body}: {told}");
        assert!(!watch.has_reached(Duration::from_secs(10)), "{body}");
    }
}

#[test]
fn comparisons_check_the_deadline() {
    let few = ScriptLimits {
        native_work: 20_000,
        deadline: Duration::from_secs(60),
        ..ScriptLimits::default()
    };
    let rows = "let a = [1]; a.pad(3000, 1); let b = a;";
    for body in ["a == b", "a != b", "#{ a: a } == #{ a: b }", "#{ a: a } != #{ a: b }"] {
        let source = format!("fn merge(window) {{ {rows} loop {{ {body}; }} }}");
        let told = run_within(&source, &small(), few).unwrap_err().reason;
        assert_eq!(told, "more than 20000 steps inside native calls", "{body}");
    }
}

#[test]
fn a_diagnostic_has_a_limit_wherever_it_is_from() {
    let bodies = [
        "throw m",
        "throw a",
        "throw s",
        "m[s]",
        "let t = Tally(); t.keep([m]);",
        "let t = Tally(); t.set(s, 1);",
        "let t = Tally(); t.sum(s);",
    ];
    for body in bodies {
        let told = run(&format!("fn merge(window) {{ {LARGE} {body}; }}"), &small()).unwrap_err();
        assert!(told.reason.len() <= DIAGNOSTIC_BYTES + 3, "{body}: {}", told.reason.len());
    }
    let long = "x".repeat(200_000);
    for source in [long.clone(), format!("fn merge(w) {{ {long} }}"), format!("fn {long}(w) {{}}")]
    {
        assert!(run(&source, &small()).unwrap_err().reason.len() <= DIAGNOSTIC_BYTES + 3);
    }
}

#[test]
fn memory_that_grows_ends_the_run() {
    let limits = ScriptLimits {
        memory: 64 << 20,
        deadline: Duration::from_secs(20),
        ..ScriptLimits::default()
    };
    let bodies = [
        // A text more in a map with each step; and copies of a container that is large by then.
        "let m = #{}; for n in 0..1000000 { m[`k${n}`] = s + \"x\"; }",
        "let b = []; b.pad(9000, 1); let m = #{}; for n in 0..1000000 { m[`k${n}`] = b; }",
    ];
    for body in bodies {
        let source = format!("fn merge(window) {{ let s = \"x\"; s.pad(65000, 'x'); {body} }}");
        let told = run_within(&source, &small(), limits).unwrap_err().reason;
        assert_eq!(told, "memory grew by more than 64 MiB while it ran", "{body}");
    }
}

#[test]
fn replaced_functions_answer_as_before() {
    let cases = [
        (r#"let t = "abcabc"; t.replace("bc", "-"); t.replace('a', "xy"); t"#, "xy-xy-"),
        (r#"let t = "ab"; t.replace("", "-"); t"#, "-a-b-"),
        (r#"let t = "ab"; t.pad(7, "xyz"); t.pad(9, '!'); t.pad(3, "q"); t"#, "abxyzxy!!"),
        (r#""a,b,,c".split(",")"#, r#"["a", "b", "", "c"]"#),
        (r#""a,b,c".split(',', 2)"#, r#"["a", "b,c"]"#),
        (r#""a,b,c".split_rev(",", 2)"#, r#"["c", "a,b"]"#),
        (r#""a b".split()"#, r#"["a", "b"]"#),
        (r#""abc".split(1)"#, r#"["a", "bc"]"#),
        (r#""".split(",")"#, r#"[""]"#),
        (r#""ab".to_chars()"#, "[a, b]"),
        (r#""n: " + 1 + 'x' + [1, "a"] + #{ k: () } + true"#, r#"n: 1x[1, "a"]#{"k": ()}true"#),
        (r#"1 + "x""#, "1x"),
        (r#"let t = "a"; t += 1.5; t.append([()]); t"#, "a1.5[()]"),
        (
            r#"`${[1, [2.0, 'c']]} ${#{ a: "x" }} ${Tally()}`"#,
            r#"[1, [2.0, c]] #{"a": "x"} Tally { }"#,
        ),
        (
            "[Tally(), window.at(100)].to_string()",
            "[Tally { }, Bucket { at: 100, age: 0, total: 18 }]",
        ),
        (r#"#{ a: [1, "x"], b: () }.to_json()"#, r#"{"a":[1,"x"],"b":null}"#),
        (
            r#"`${[1, "a"] == [1, "a"]} ${[1] == ["1"]} ${[[1], 2] != [[1], 3]} ${#{ a: 1 } == #{ a: 1 }}`"#,
            "true false true true",
        ),
    ];
    for (body, expected) in cases {
        let told = merged(&format!("throw `${{{{ {body} }}}}`")).unwrap_err().reason;
        assert_eq!(told, expected, "{body}");
    }
}

/// Should a new version of rhai bring more functions, somebody has to look whether they measure.
#[test]
fn packages_have_the_functions_that_were_looked_at() {
    fn functions(package: &impl Package) -> usize {
        package.as_shared_module().count().1
    }
    let counts = [
        functions(&ArithmeticPackage::new()),
        functions(&BasicArrayPackage::new()),
        functions(&BasicFnPackage::new()),
        functions(&BasicIteratorPackage::new()),
        functions(&BasicMapPackage::new()),
        functions(&BasicMathPackage::new()),
        functions(&BasicStringPackage::new()),
        functions(&LogicPackage::new()),
        functions(&MoreStringPackage::new()),
    ];
    assert_eq!(counts, [208, 79, 4, 66, 20, 67, 71, 109, 79], "see the table in `metered`");
}
