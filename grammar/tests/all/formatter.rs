//! What the formatter makes of small sources.

fn format(text: &str) -> String {
    match sslc_grammar::format(text) {
        Ok(text) => text,
        Err(errors) => panic!("{text}\n{errors:#?}"),
    }
}

#[test]
fn a_spec_in_good_form_stays() {
    let text = include_str!("byol.ssl");
    assert_eq!(format(text), text);
}

#[test]
fn spaces_are_put_right() {
    insta::assert_snapshot!(format(
        "let a=f( x,y :1 )+ 2*-b ^ 2/c.T[ 0 ]
let  b = [ 1,2 , ] |>g
fn  f( a , b=2 )=not   a==b and  a .. b-1>0
views a,b=c
import   \"x.ssl\"   as  y
train{epochs,batch;seed=0}
module m ( ){forward ( x )=x}"
    ));
}

#[test]
fn empty_lines_at_most_one() {
    insta::assert_snapshot!(format(
        "\n\n\nlet a = 1\n\n\n\nlet b = 2\nlet c = 3\n\ntrain {\n\n    epochs\n\n\n    batch\n\n}\n\n\n"
    ));
}

#[test]
fn pipelines_break_one_stage_a_line() {
    insta::assert_snapshot!(format(
        "fn short() = a() |> b()
fn broken() = a()
  |> b() |> c()
fn long() = random_resized_crop(32, scale: 0.08..1.0) |> horizontal_flip(p: 0.5) |> color_jitter(0.4, 0.4, 0.2, 0.1)
let x = f(random_resized_crop(32, scale: 0.08..1.0) |> horizontal_flip(p: 0.5) |> color_jitter(0.4, 0.4, 0.2, 0.1))
eval { images = resize(256) |> center_crop(224)
 |> normalize(\"imagenet\") }"
    ));
}

#[test]
fn long_arguments_fill_lines_or_stand_one_below_the_other() {
    insta::assert_snapshot!(format(
        "let filled = lars(lr: cosine_schedule(0.2, 0.0, warmup: epochs(10)), momentum: 0.9, weight_decay: 1.5e-6, eta: 0.001, exclude: [bias, norm])
let below = sequential(
  conv2d(64, 3, stride: 2, bias: false), batch_norm(), relu(), max_pool(3, stride: 2, padding: 1), identity(), flatten())
let joined = sequential(
  conv2d(64, 3), batch_norm())"
    ));
}

#[test]
fn long_sums_break_before_operators() {
    insta::assert_snapshot!(format(
        "loss = regress(online(first_view), goal(second_view)) + regress(online(second_view), goal(first_view)) - regularise(first_view) * 2
loss = regress(x1) +
   regress(x2)"
    ));
}

#[test]
fn blocks_stay_on_one_line_if_they_were() {
    insta::assert_snapshot!(format(
        "eval { images = resize(32)   knn(k: 200) }
train { epochs = 1
batch = 2 }
fn f(x) { let a = x; a }
fn g(x) { let a = x
a }
let c = if a { b } else { d }
let d = if a {
  b } else { d }
let e = if first_condition == second_condition { first_value(with, arguments) } else { second_value(with, other, arguments) }"
    ));
}

#[test]
fn columns_are_kept_where_the_author_made_them() {
    insta::assert_snapshot!(format(
        "param epochs = 200
param batch  = 256

encoder   f = a()
projector g = b()
target    f_t, g_t = ema(f, g)

let x   = 1
let long_name = 2

let y     = 1
let z     = 2

train {
    seed      = 0
    optimizer = sgd(lr: 1)
    precision  = \"f32\"
}"
    ));
}

#[test]
fn comments_stay_where_they_are() {
    insta::assert_snapshot!(format(
        "# head

# of the first
let a = f( # behind the bracket
    # before x
    x, # behind x
    y
    # before the end
)
let b = a # first
    # between
    + c # second

fn f(x) =
    # a stage
    g() # one
    # another
    |> h() # two
module m() { # open
    # child
    c = d() # child too

    # last
}"
        .replace("}", "forward(x) = x # end\n    # below\n}\n# foot\n")
        .as_str()
    ));
}

#[test]
fn comments_in_odd_places_go_to_the_end_of_the_line() {
    insta::assert_snapshot!(format(
        "let # one
 a # two
 = # three
 # four
 b.# five
 c
fn f( # six
 x # seven
 ) = # eight
 x"
        .replace("b.# five\n c", "b # five\n .c")
        .as_str()
    ));
}

#[test]
fn line_ends_stay_what_they_are() {
    assert_eq!(format("let a=1\r\nlet b=2"), "let a = 1\r\nlet b = 2\r\n");
    assert_eq!(format("let a=1\nlet b=2\r\n"), "let a = 1\nlet b = 2\n");
}

#[test]
fn a_file_without_items_is_formatted() {
    assert_eq!(format(""), "");
    assert_eq!(format("\n\n"), "");
    assert_eq!(format("\n  # a\n\n\n#b"), "# a\n\n#b\n");
}

#[test]
fn what_must_touch_touches() {
    assert_eq!(format("let a = f # c\n .g"), "let a = f.g # c\n");
    assert_eq!(format("let a = 0.5\n.T"), "let a = 0.5 .T\n");
    assert_eq!(
        format("fn f(x) { let a = x;\n - a }"),
        "fn f(x) {\n    let a = x\n    -a\n}\n"
    );
}

#[test]
fn an_error_is_returned() {
    let errors = sslc_grammar::format("let a =").unwrap_err();
    assert_eq!(errors[0].code.name(), "E0001");
}
