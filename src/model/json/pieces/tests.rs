use proptest::prelude::*;

use super::*;

/// The objects of a text, and what is between them.
fn split(text: &str) -> (Vec<&str>, Vec<PieceError>) {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    let wanted = |object: &str| object.contains("Event\"");
    let taken = pieces(text, wanted, |piece| {
        match piece {
            Ok(object) => whole.push(object),
            Err(BrokenPiece { reason, .. }) => broken.push(reason),
        }
        Ok::<(), ()>(())
    });
    assert_eq!(taken, Ok(()));
    (whole, broken)
}

#[test]
fn objects_are_found_with_any_separators() {
    let text = "\u{feff}[{\"a\":\"}{\"},\n{\"b\":{}}\0\0 {\"c\":1}, ]\r\n";
    let (whole, broken) = split(text);
    assert_eq!(whole, ["{\"a\":\"}{\"}", "{\"b\":{}}", "{\"c\":1}"]);
    assert_eq!(broken, []);
    assert_eq!(split("[1]"), (vec![], vec![PieceError::NoObject]));
    assert_eq!(split("\0\0 \n"), (vec![], vec![]));
}

#[test]
fn next_wanted_object_is_found_after_a_broken_one() {
    for next in [
        r#"{"id":"2","type":"AEvent"}"#,
        r#"{"repo": {"id": 3, "name": "a/b"}, "type": "AEvent", "id": "2"}"#,
        "{ \"type\" : \"AEvent\" }",
    ] {
        for broken in [
            r#"{"id":"1","actor":{"id":7,"url":"https://api."#,
            r#"{"id": "1", "payload": {"comment": {"id": 5, "user": {"id": 6}}, "#,
            "{\"id\":\"1\",\"actor\":{\"id\":7},\"x\":\"a\u{1}b\",\"y\":{\"z\":{}}},",
            "{\"id\":\n\n\"1\",\"x\":",
        ] {
            let text = format!("{broken}{next}");
            let (whole, wrong) = split(&text);
            assert_eq!(whole, [next], "{text}");
            assert!(matches!(wrong[..], [PieceError::BrokenAt(_)]), "{text}: {wrong:?}");
        }
    }
    assert_eq!(split("{\"id\":\"1\",\"x").0, Vec::<&str>::new());
}

#[test]
fn broken_part_is_reported_with_offset_and_text() {
    let text = "{\"id\":\n7x}{\"type\":\"AEvent\"}";
    let mut broken = Vec::new();
    let _ = pieces(
        text,
        |_| true,
        |piece| {
            broken.extend(piece.err());
            Ok::<(), ()>(())
        },
    );
    assert_eq!(broken, [BrokenPiece { reason: PieceError::BrokenAt(9), text: "{\"id\":\n7x}" }]);
}

#[test]
fn unclosed_nested_objects_are_given_up() {
    let open = "{\"id\":\"1\",\"x\":[{\"type\":\"AEvent\"},";
    let three = open.repeat(3);
    let (whole, broken) = split(&three);
    assert_eq!((whole.len(), broken.len()), (3, 3), "few are read through");
    let open = open.repeat(1_000);
    let (whole, broken) = split(&open);
    // Each object that is found has cost the reading of what is open around the next.
    assert!((VAIN / 2..=VAIN).contains(&whole.len()), "{}", whole.len());
    assert_eq!(broken.last(), Some(&PieceError::TooBroken));
}

proptest! {
    #[test]
    fn arbitrary_text_is_split_without_loss(text in "[{}\":,a-zé\\\\\0\n\\[\\]]{0,80}") {
        let (mut objects, mut broken) = (0, 0);
        let taken = pieces(&text, |_| true, |piece| {
            match piece {
                Ok(object) => objects += object.len(),
                Err(part) => broken += part.text.len(),
            }
            Ok::<(), ()>(())
        });
        prop_assert_eq!(taken, Ok(()));
        let between = text.chars().filter(|c| "\0,[]\n".contains(*c)).count();
        prop_assert!(objects + broken + between >= text.len());
    }
}
