//! What the rules of the grammar are called in a message.

use crate::parse::Rule;

/// What was expected, as words: "`,`, `)` or an operator".
pub(super) fn list(expected: &[Rule]) -> String {
    let has = |rule: Rule| expected.contains(&rule);
    let operand = has(Rule::number) || has(Rule::expr);
    let mut names: Vec<&str> = Vec::new();
    for rule in expected {
        let name = match rule {
            // All that an expression may begin with, or go on with, is one thing.
            Rule::open_paren | Rule::open_bracket | Rule::name | Rule::string if operand => "",
            Rule::kw_let | Rule::pipe | Rule::dot if has(Rule::expr) => "",
            Rule::dot | Rule::open_paren | Rule::open_bracket if has(Rule::pipe) => "an operator",
            Rule::dot if expected.len() > 1 => "",
            Rule::colon if has(Rule::comma) => "",
            Rule::separator if expected.len() > 1 => "",
            Rule::kw_let | Rule::EOI if has(Rule::kw_data) => "",
            rule if has(Rule::expr) && name(*rule) == "an operator" => "",
            rule => name(*rule),
        };
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    // Brackets and commas are the likeliest; they come first.
    names.sort_by_key(|n| !n.starts_with('`'));
    match names.as_slice() {
        [] => "something else".to_string(),
        [one] => (*one).to_string(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

fn name(rule: Rule) -> &'static str {
    match rule {
        Rule::pipe
        | Rule::or
        | Rule::and
        | Rule::compare
        | Rule::range
        | Rule::add
        | Rule::subtract
        | Rule::multiply
        | Rule::divide
        | Rule::matmul
        | Rule::power
        | Rule::infix
        | Rule::postfix
        | Rule::call
        | Rule::index
        | Rule::field => "an operator",
        Rule::expr
        | Rule::operand
        | Rule::primary
        | Rule::prefix
        | Rule::negate
        | Rule::not
        | Rule::number
        | Rule::boolean
        | Rule::list
        | Rule::comprehension
        | Rule::paren
        | Rule::if_expr
        | Rule::kw_if
        | Rule::integer
        | Rule::float
        | Rule::exponent => "an expression",
        Rule::items => "an item",
        Rule::item
        | Rule::import_item
        | Rule::param_item
        | Rule::data_item
        | Rule::views_item
        | Rule::network_item
        | Rule::target_item
        | Rule::module_item
        | Rule::fn_item
        | Rule::let_item
        | Rule::loss_item
        | Rule::watch_item
        | Rule::train_item
        | Rule::eval_item
        | Rule::kw_import
        | Rule::kw_param
        | Rule::kw_data
        | Rule::kw_views
        | Rule::kw_network
        | Rule::kw_target
        | Rule::kw_module
        | Rule::kw_fn
        | Rule::kw_loss
        | Rule::kw_watch
        | Rule::kw_train
        | Rule::kw_eval => "the next item",
        Rule::kw_let | Rule::let_binding => "`let`",
        Rule::name | Rule::names | Rule::word => "a name",
        Rule::string => "a string",
        Rule::argument => "an argument",
        Rule::parameter => "a parameter",
        Rule::parameters | Rule::forward_parameters => "`(`",
        Rule::member | Rule::binding | Rule::forward | Rule::kw_forward => "a binding",
        Rule::entry | Rule::set_entry | Rule::bare_entry | Rule::evaluator => "a setting",
        Rule::block | Rule::open_brace => "`{`",
        Rule::close_brace => "`}`",
        Rule::open_paren => "`(`",
        Rule::close_paren => "`)`",
        Rule::open_bracket => "`[`",
        Rule::close_bracket => "`]`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::dot => "`.`",
        Rule::separator => "`;`",
        Rule::equals => "`=`",
        Rule::alias | Rule::kw_as => "`as`",
        Rule::kw_else => "`else`",
        Rule::kw_for => "`for`",
        Rule::kw_in => "`in`",
        Rule::EOI => "the end of the file",
        Rule::WHITESPACE
        | Rule::COMMENT
        | Rule::newline
        | Rule::ws
        | Rule::line_minus
        | Rule::word_start
        | Rule::word_char
        | Rule::reserved => "",
    }
}
