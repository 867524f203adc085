use super::parse::parse_with;
use super::{ConfError, Kind, MAX_DEPTH, Value, parse_file, parse_str};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

fn to_json(value: &Value) -> Json {
    match &value.kind {
        Kind::Map(map) => {
            map.iter().map(|e| (e.key.clone(), to_json(&e.value))).collect::<serde_json::Map<_, _>>().into()
        }
        Kind::Array(items) => items.iter().map(to_json).collect(),
        Kind::String(text) => json!(text),
        Kind::Integer(number) => json!(number),
        Kind::Float(number) => json!(number),
        Kind::Bool(value) => json!(value),
        Kind::DateTime(time) => json!(format!("date {}", time.unix_timestamp())),
    }
}

#[track_caller]
fn reads(text: &str, expected: Json) {
    match parse_str(text) {
        Ok(value) => assert_eq!(to_json(&value), expected, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The error, with line and column in front.
#[track_caller]
fn refused(text: &str) -> String {
    let ConfError { place, message } = parse_str(text).expect_err(text);
    format!("{}:{} {message}", place.line, place.column)
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Json, ConfError> {
    let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    parse_with(text, &find).map(|value| to_json(&value))
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("creates");
        std::fs::write(path, text).expect("writes");
    }
    let main = dir.path().join(files[0].0);
    (dir, main)
}

#[test]
fn the_three_ways_to_separate_and_to_end() {
    let expected = json!({"a": 1, "b": 2, "c": "x", "d": true});
    reads("a=1; b: 2, c x\nd = on", expected.clone());
    reads("a 1 // one\nb\n2 # two\n\n\"c\": 'x' ; 'd'\tYES\r\n", expected.clone());
    reads("{\"a\":1,\"b\":2,\n\"c\":\"x\"\n\"d\":true}", expected.clone());
    reads("{ a = 1; { b = 2 } # inner\n c = x\n d = True }\n# after\n", expected.clone());
    reads("a=1\nb=2\nc=x\nd=yes\n}\n", expected);
    reads("a = 1\na = 2", json!({"a": 2}));
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in ["", "\n\n  ", "# only this", " // or this\n", "{}", "{\n}\n", "{ # inside\n}"] {
        reads(text, json!({}));
    }
}

#[test]
fn maps_and_arrays_nest() {
    reads(
        "site {\n  host { ip = '10.0.0.1', port = 4242 }\n  peers = [ \"a.b\", c.d\n e.f ] # three\n}\n",
        json!({"site": {"host": {"ip": "10.0.0.1", "port": 4242}, "peers": ["a.b", "c.d", "e.f"]}}),
    );
    reads(
        "list [\n {k: 1}\n // between\n {k: word},\n [1, 2,3]\n]",
        json!({"list": [{"k": 1}, {"k": "word"}, [1, 2, 3]]}),
    );
    reads("m { a\n = \n 1\n b\n:\n2 }", json!({"m": {"a": 1, "b": 2}}));
    reads("m={a:1,b:{},c:[]};n=2", json!({"m": {"a": 1, "b": {}, "c": []}, "n": 2}));
    reads("routes = [\n nats-route://u:p@h.example:4245\n nats-route://h2:4246\n]", {
        json!({"routes": ["nats-route://u:p@h.example:4245", "nats-route://h2:4246"]})
    });
}

#[test]
fn numbers_and_their_units() {
    let units = "a=8k\nb=4kb\nc=3Ki\nd=4KiB\ne=1m\nf=2MB\ng=2g\nh=22GiB\ni=3t\nj=1TB\nk=1p\nl=1PiB\nm=1e\nn=1eb\n";
    reads(
        units,
        json!({"a": 8000, "b": 4096, "c": 3072, "d": 4096, "e": 1_000_000, "f": 2 << 20, "g": 2_000_000_000u64,
               "h": 22u64 << 30, "i": 3_000_000_000_000u64, "j": 1u64 << 40, "k": 1_000_000_000_000_000u64,
               "l": 1u64 << 50, "m": 1_000_000_000_000_000_000u64, "n": 1u64 << 60}),
    );
    reads("a = -12\nb = -2k; c = -1.5, d = 2.25\ne = 0", json!({"a": -12, "b": -2000, "c": -1.5, "d": 2.25, "e": 0}));
    assert_eq!(refused("a = 99999999999999999999"), "1:5 the integer '99999999999999999999' is out of range");
    assert!(refused("a = 9223372036854775807k").contains("out of range"));
    assert!(refused("a = 1kbb").contains("unknown unit 'kbb'"));
    assert_eq!(refused("a = .5"), "1:5 a number must start with a digit, not with '.'");
    assert!(refused("a = 1.x").starts_with("1:7 expected a digit after the '.'"));
    assert!(refused("a = -x").starts_with("1:6 expected a digit"));
    assert!(refused("a = 1k5").contains("after its unit"));
}

#[test]
fn dates_and_addresses() {
    reads("t = 2016-05-04T18:53:41Z", json!({"t": "date 1462388021"}));
    assert!(refused("t = 2016-13-04T18:53:41Z").contains("is no date"));
    assert!(refused("t = 2016-05-04").contains("expected a date and time"));
    assert!(refused("t = 20-20").contains("expected a date and time"));
    reads("listen: 127.0.0.1:4222", json!({"listen": "127.0.0.1:4222"}));
    reads("a = 0.0.0.0, b = 10.1.2.3-4", json!({"a": "0.0.0.0", "b": "10.1.2.3-4"}));
    reads("listen = localhost:4222\nhost = ::1", json!({"listen": "localhost:4222", "host": "::1"}));
}

#[test]
fn strings_of_all_kinds() {
    reads("a = 3xyz\nb = 3Gyz\nc = /var/lib\nd = a#b", json!({"a": "3xyz", "b": "3Gyz", "c": "/var/lib", "d": "a#b"}));
    reads("a = '(x == \"y\")'\nb = 'two\nlines'", json!({"a": "(x == \"y\")", "b": "two\nlines"}));
    reads(r#"a = "\t\n\r\"\\\x41ü" "#, json!({"a": "\t\n\r\"\\Aü"}));
    reads(r"a = raw\x20with\\escape, b = \x74rue", json!({"a": "raw with\\escape", "b": "true"}));
    reads("a = 'true', b = \"12\"", json!({"a": "true", "b": "12"}));
    reads("a = >, b = foo.*.>\nc = *", json!({"a": ">", "b": "foo.*.>", "c": "*"}));
    reads("a (\n one (two)\n  )\n)\nb = 1", json!({"a": "\n one (two)\n  )\n", "b": 1}));
    reads("a (\n x\n)", json!({"a": "\n x\n"}));
    assert_eq!(refused("a = 1\nb = (\n x\n"), "2:5 this block has no end: a line with nothing but ')'");
    assert_eq!(refused("a = \"x\n\n"), "1:5 this quoted text has no end");
    assert!(refused("a = \"\\q\"").contains("one of the escapes"));
    assert!(refused("a = \"\\xg0\"").contains("two hexadecimal digits"));
    assert!(refused("a = \"\\xff\"").contains("UTF-8"));
    assert!(refused("a = \"x\0\"").contains("NUL"));
}

#[test]
fn variables_are_looked_up_from_the_inside_out() {
    reads("i = 22\nx = $i", json!({"i": 22, "x": 22}));
    reads("i=1\nn { i=2\n x=$i\n deep { y=$i } }\nz=$i", json!({"i":1,"n":{"i":2,"x":2,"deep":{"y":2}},"z":1}));
    reads(
        "u = [{user: a}]\nacc { A { users = $u } }",
        json!({"u": [{"user": "a"}], "acc": {"A": {"users": [{"user": "a"}]}}}),
    );
    reads("list = [1\n2]\nall = [$list, {x: $list}]", json!({"list": [1, 2], "all": [[1, 2], {"x": [1, 2]}]}));
    reads("p: $2a$11$abc./XY", json!({"p": "$2a$11$abc./XY"}));
    assert_eq!(
        refused("a = 1\nb = $none_such_variable"),
        "2:5 the variable $none_such_variable is neither a key nor in the environment"
    );
    assert!(refused("b = { x = $later }\nlater = 1").starts_with("1:11 "));
}

#[test]
fn a_key_that_a_variable_uses_is_marked() {
    let value = parse_str("mine = 1\nport = $mine\nother = 2").expect("reads");
    let Kind::Map(map) = &value.kind else { panic!("a map") };
    let used = |key| map.get(key).expect("is there").used;
    assert!(used("mine") && !used("port") && !used("other"));
}

#[test]
fn the_environment_is_read_as_values_are() {
    let variables =
        [("N", "22"), ("S", "xyz"), ("Q", "'3x yz'"), ("L", "[1, $N]"), ("C", "$D"), ("D", "[$C]"), ("E", "")];
    let read = |text| with_environment(text, &variables);
    assert_eq!(read("a=$N,b=$S,c=$Q,d=$L"), Ok(json!({"a": 22, "b": "xyz", "c": "3x yz", "d": [1, 22]})));
    assert_eq!(read("N=1\na=$N"), Ok(json!({"N": 1, "a": 1})));
    assert!(read("a=$C").expect_err("a cycle").message.contains("refers to itself"));
    assert!(read("a=$E").is_err() && read("a=$").is_err());
}

#[test]
fn included_keys_belong_where_the_include_stands() {
    let (_dir, main) = folder(&[
        (
            "main.conf",
            "listen: 1.2.3.4:5\nauth {\n  include ./inc/pass.conf\n  users=[{p: $PASS}] }\ninclude 'inc/top.conf'; z=1",
        ),
        ("inc/pass.conf", "# secret\nPASS: $2a$10$UHR6./x\n"),
        ("inc/top.conf", "include \"below.json\"\n"),
        ("inc/below.json", "{ \"y\": [1, 2] }"),
    ]);
    let value = parse_file(&main).expect("reads");
    assert_eq!(
        to_json(&value),
        json!({"listen": "1.2.3.4:5", "auth": {"PASS": "$2a$10$UHR6./x", "users": [{"p": "$2a$10$UHR6./x"}]}, "y": [1, 2], "z": 1})
    );
    let Kind::Map(map) = &value.kind else { panic!("a map") };
    let at = &map.get("y").expect("is there").at;
    assert!(at.file.ends_with("inc/below.json") && (at.line, at.column) == (1, 3), "{at}");
    let Kind::Map(auth) = &map.get("auth").expect("is there").value.kind else { panic!("a map") };
    let pass = auth.get("PASS").expect("is there");
    assert!(pass.used && pass.at.to_string().ends_with("inc/pass.conf:2:1"), "{}", pass.at);
}

#[test]
fn includes_that_fail_are_named() {
    let error = |files: &[(&str, &str)]| {
        let (_dir, main) = folder(files);
        parse_file(&main).expect_err("refused").to_string()
    };
    let text = error(&[("a.conf", "x=1\n  include no.conf")]);
    assert!(text.contains("a.conf:2:3: ") && text.contains("no.conf cannot be read"), "{text}");
    let text = error(&[("a.conf", "include b.conf"), ("b.conf", "m { include ./a.conf }")]);
    assert!(text.contains("b.conf:1:5: ") && text.contains("includes itself"), "{text}");
    let text = error(&[("a.conf", "m { include b.conf }"), ("b.conf", "\n????")]);
    assert!(text.contains("b.conf:2:1: '????' has no value"), "{text}");
    let text = parse_file(std::path::Path::new("/dev/zero")).expect_err("refused").to_string();
    assert!(text.contains("is larger than"), "{text}");
    assert!(refused("include [x]").contains("the path of the file"));
    assert!(parse_file(std::path::Path::new("/no/such.conf")).is_err());
}

#[test]
fn a_file_in_another_encoding_is_read_unless_a_value_is() {
    let (dir, main) = folder(&[("a.conf", "")]);
    std::fs::write(&main, b"# f\xfcr\nx = 1\n").expect("writes");
    assert_eq!(to_json(&parse_file(&main).expect("reads")), json!({"x": 1}));
    std::fs::write(&main, b"x = 1\npassword = f\xfcr\n").expect("writes");
    let error = parse_file(&main).expect_err("refused").to_string();
    assert!(error.ends_with("a.conf:2:12: this is not UTF-8"), "{error}");
    drop(dir);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("aaaa", "1:1 'aaaa' has no value"),
        ("\n   # c\n   aaaa   \n", "3:4 'aaaa' has no value"),
        ("m { a: }", "1:5 'a' has no value"),
        ("a = 1 b = 2", "1:7 expected a new line, ';' or a comment after a value, but got 'b'"),
        ("a =\n1", "1:4 expected a value, but the line ends"),
        ("= 1", "1:1 expected a key, but got '='"),
        ("m { a = 1", "1:10 expected ',', ';', a new line or '}' after a value, but the file ends"),
        ("m {\n", "2:1 expected a key or '}', but the file ends"),
        ("l = [1, ,2]", "1:9 expected a value or ']', but got ','"),
        ("l = [1", "1:7 expected ',', a new line or ']' after a value, but the file ends"),
        ("m { ] }", "1:5 expected a key or '}', but got ']'"),
        ("a = 1\n}\nb = 2", "3:1 there is more after the closing '}' of the configuration"),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
    for text in ["A@@Føøøø?˛ø:{øøøø˙˙", "include \"9/\u{fffd}", "a,a,a,a,a"] {
        refused(text);
    }
}

#[test]
fn nesting_and_repetition_are_bounded() {
    let nested = |n: usize| format!("a = {}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse_str(&nested(MAX_DEPTH)).is_ok());
    assert!(refused(&nested(MAX_DEPTH + 1)).contains("nested more than"));
    assert!(refused(&"{".repeat(100_000)).contains("nested more than"));
    assert!(refused(&format!("a {}", "{x ".repeat(100_000))).contains("nested more than"));
    let mut deeper = String::from("x0 = 1\n");
    let mut doubling = deeper.clone();
    for n in 1..100 {
        deeper += &format!("x{n} = [$x{}]\n", n - 1);
        doubling += &format!("x{n} = [$x{m}, $x{m}]\n", m = n - 1);
    }
    assert!(refused(&deeper).contains("nested more than"));
    assert!(refused(&doubling).contains("more than"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        let _ = with_environment(&text, &[]);
    }

    #[test]
    fn any_text_of_the_language_is_read_or_refused(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "b ", "=", ":", " ", "\n", ";", ",", "{", "}", "[", "]", "(", ")", "\n)\n", "'", "\"", "\\", "\\x4",
            "#", "//", "/", "$a", "$b", "$2a$x", "1", "-", ".", "2k", "kb", "2016-05-04T18:53:41Z", "true", "include ", "\0", "ü",
        ]), 0..40)
    ) {
        let text = parts.concat();
        if let Err(error) = with_environment(&text, &[("b", "[$a, 1]")]) {
            prop_assert!(error.place.line as usize <= text.matches('\n').count() + 1, "{error}");
        }
    }

    #[test]
    fn json_is_understood(keys in prop::collection::btree_map("[a-z]{1,8}", -1_000_000i64..1_000_000, 0..8), text in "[ -!#-\\[\\]-~]{0,20}") {
        let mut map: serde_json::Map<String, Json> = keys.into_iter().map(|(k, v)| (k, json!([v, {"n": v, "t": text}]))).collect();
        map.insert("last".into(), json!(text));
        let json = Json::Object(map);
        let value = parse_str(&json.to_string()).expect("reads");
        prop_assert_eq!(to_json(&value), json);
    }
}
