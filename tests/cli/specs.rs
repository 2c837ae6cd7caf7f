//! What a spec can get wrong: exit code 1.

use crate::drive::{Sslc, TINY};

#[test]
fn an_empty_file() {
    Sslc::with("a.ssl", "")
        .run(&["check", "a.ssl"])
        .fails(1, &["E0002"]);
}

#[test]
fn a_binary_file() {
    let sslc = Sslc::with("a.ssl", [0u8, 159, 146, 150, 255]);
    sslc.run(&["check", "a.ssl"])
        .fails(3, &["E0655", "not text"]);
    let sslc = Sslc::with("a.ssl", "data\0 = fashion_mini()");
    sslc.run(&["check", "a.ssl"]).fails(1, &["E00"]);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let sslc = Sslc::with("a.ssl", TINY.replace("batch = 8", "bach = 8"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E04", "bach", "batch"]);
}

#[test]
fn a_misspelt_function_names_the_nearest() {
    let sslc = Sslc::with("a.ssl", TINY.replace("negative_cosine", "negativ_cosine"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E01", "negative_cosine"]);
}

#[test]
fn wrong_shapes_show_both() {
    let sslc = Sslc::with("a.ssl", TINY.replace("mlp(4, 4)", "mlp(4, 5)"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E02", "[8, 5]", "[8, 4]"]);
}

#[test]
fn a_missing_loss_two_losses_and_a_loss_that_is_no_scalar() {
    let without: String = TINY
        .lines()
        .filter(|l| !l.starts_with("loss"))
        .map(|l| format!("{l}\n"))
        .collect();
    let sslc = Sslc::with("none.ssl", &without);
    sslc.write("two.ssl", format!("{TINY}\nloss = 0.0 * mean(x1)\n"));
    sslc.write(
        "vector.ssl",
        format!("{without}\nloss = cosine_similarity(f(x1), f(x2))\n"),
    );
    sslc.run(&["check", "none.ssl"]).fails(1, &["loss"]);
    sslc.run(&["check", "two.ssl"]).fails(1, &["loss"]);
    sslc.run(&["check", "vector.ssl"])
        .fails(1, &["loss", "[8]"]);
}

#[test]
fn an_import_outside_of_the_root() {
    let sslc = Sslc::with("spec/a.ssl", format!("import \"../b.ssl\"\n{TINY}"));
    sslc.write("b.ssl", "fn one() = 1\n");
    sslc.run(&["check", "spec/a.ssl"])
        .fails(1, &["E0502", "outside"]);
}

#[cfg(unix)]
#[test]
fn an_import_outside_of_the_root_by_a_link() {
    let sslc = Sslc::with("spec/a.ssl", format!("import \"link.ssl\"\n{TINY}"));
    sslc.write("b.ssl", "fn one() = 1\n");
    std::os::unix::fs::symlink("../b.ssl", sslc.path().join("spec/link.ssl")).unwrap();
    sslc.run(&["check", "spec/a.ssl"])
        .fails(1, &["E0502", "outside"]);
}

#[test]
fn an_import_cycle() {
    let sslc = Sslc::with("a.ssl", format!("import \"b.ssl\"\n{TINY}"));
    sslc.write("b.ssl", "import \"c.ssl\"\nfn two() = 2\n");
    sslc.write("c.ssl", "import \"b.ssl\"\nfn three() = 3\n");
    sslc.run(&["check", "a.ssl"]).fails(1, &["E0503"]);
}

#[test]
fn an_import_that_is_not_there_names_the_nearest() {
    let sslc = Sslc::with("a.ssl", format!("import \"vews.ssl\"\n{TINY}"));
    sslc.write("views.ssl", "fn one() = 1\n");
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E0501", "views.ssl"]);
}

#[test]
fn endless_recursion() {
    let text = format!("{TINY}\nfn down(n) = down(n + 1)\nwatch w = down(0)\n");
    Sslc::with("a.ssl", text)
        .run(&["check", "a.ssl"])
        .fails(1, &["E01", "down"]);
}

#[test]
fn an_override_of_an_unknown_name_or_a_wrong_type() {
    let sslc = Sslc::with(
        "a.ssl",
        format!(
            "param width = 2\n{}",
            TINY.replace("width: 2", "width: width")
        ),
    );
    sslc.run(&["check", "a.ssl", "--set", "widht=3"])
        .fails(1, &["widht", "width"]);
    sslc.run(&["check", "a.ssl", "--set", "width=big"])
        .fails(1, &["width"]);
    sslc.run(&["check", "a.ssl", "--set", "width"])
        .fails(2, &["name=value"]);
    sslc.run(&["check", "a.ssl", "--set", "width=4"]).succeeds();
    sslc.run(&["check", "a.ssl", "--set", "train.seed=4"])
        .succeeds();
}

#[test]
fn errors_as_json_are_one_object_a_line() {
    let sslc = Sslc::with("a.ssl", TINY.replace("negative_cosine", "negativ_cosine"));
    let run = sslc.run(&["check", "a.ssl", "--error-format", "json"]);
    run.fails(1, &[]);
    let lines: Vec<serde_json::Value> = run
        .stderr
        .lines()
        .map(|l| serde_json::from_str(l).expect("every line is JSON"))
        .collect();
    let error = lines
        .iter()
        .find(|l| l["severity"] == "error")
        .expect("an error");
    assert_eq!(error["labels"][0]["file"], "a.ssl");
    assert_eq!(error["labels"][0]["line"], 7);
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("- ", ""),
        ("not ", ""),
        ("2 ^ ", ""),
    ] {
        let text = format!(
            "let x = {}1{}\n{TINY}",
            open.repeat(10_000),
            close.repeat(10_000)
        );
        let run = Sslc::with("a.ssl", text).run(&["check", "a.ssl"]);
        assert!(
            matches!(run.status, Some(0 | 1)),
            "{open}: {:?} {}",
            run.status,
            &run.stderr[..run.stderr.len().min(500)]
        );
    }
    let chain = format!("let x = 1{}\n{TINY}", "+1".repeat(500_000));
    let run = Sslc::with("a.ssl", chain).run(&["check", "a.ssl"]);
    assert!(matches!(run.status, Some(0 | 1)), "{:?}", run.status);
}
