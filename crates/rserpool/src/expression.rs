//! Policies by an expression: new ones without building anything anew.
//!
//! ```
//! use rserpool::expression::Definition;
//! let text = "if failures > 2 { 10.0 } else { load + selections * degradation } + distance / 1000";
//! let definition = Definition::new("near-and-idle", &["load", "degradation"], text)?;
//! let table = rserpool::proto::policy::PolicyTable::builtin().with(definition.kind())?;
//! assert!(table.parameter("near-and-idle", &[("load", 7)]).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The language is that of Rust's expressions, of which there are numbers, names, `+ - * / %`,
//! comparisons, `&& || !`, `if` with `else`, and the functions `min max abs sqrt exp ln pow floor`.
//! All numbers are of 64 bits with a fraction. There are no loops and no calls of one's own, so that
//! an expression takes as long as it is. The lowest value is selected first.
//!
//! | name | value |
//! |---|---|
//! | a word of the element, hyphens written as underscores | as registered; `load`, `degradation` and `load_dpf` as parts of 1 |
//! | `selections` | how often it was selected since it last registered or re-registered |
//! | `failures` | reports of users that could not reach it, halved by every re-registration |
//! | `age` | seconds since it joined the pool here |
//! | `distance` | milliseconds from the registrar there and back; a word that is added where it is used |
//!
//! ```text
//!   text --syn--> tree --compile: names, kinds, depth--> steps --run at registration, selection--> f64
//! ```

use crate::proto::policy::{Create, Key, Measures, PolicyKind, PolicyNumber, PolicyTable, Word};
use std::fmt;
use std::num::NonZeroU32;
use syn::spanned::Spanned;
use syn::{BinOp, Block, Expr, Lit, Stmt, UnOp};

/// Longest text, in bytes.
pub const LONGEST: usize = 1_000;
/// Deepest nesting of brackets, and of anything else.
pub const DEEPEST: usize = 24;
/// Most words of an element, `distance` included where it is used; the fourth is the text's hash.
pub const MOST_WORDS: usize = 3;

/// A policy and the text that defines it.
///
/// Its number is derived from its name, so that all who give it the same name mean the same policy;
/// its last word is a hash of its words and text, so that those who mean another one are told.
#[derive(Clone, Debug)]
pub struct Definition {
    name: String,
    words: Vec<String>,
    program: Program,
    text: NonZeroU32,
}

/// What is wrong with a definition, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDefinition {
    /// Line and column in the text, both from one; `None` if it is not the text.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for InvalidDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for InvalidDefinition {}

impl Definition {
    /// Checks and compiles a definition.
    ///
    /// # Errors
    /// [`InvalidDefinition`]: the first thing that is wrong with it.
    pub fn new(name: &str, words: &[&str], text: &str) -> Result<Self, InvalidDefinition> {
        let plain = |name: &str| {
            (1..=32).contains(&name.len())
                && name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if let Some(wrong) = [name].iter().chain(words).find(|name| !plain(name)) {
            return Err(elsewhere(format!(
                "`{wrong}` is no name: 1 to 32 small letters, digits and hyphens are"
            )));
        }
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        for (place, word) in words.iter().enumerate() {
            let measured = ["selections", "failures", "age", "text"].contains(&word.as_str());
            if measured || words.iter().take(place).any(|other| other == word) {
                return Err(elsewhere(format!("the word {word} is there already")));
            }
        }
        let tree = parse(text, &words)?;
        let mut compiler = Compiler { words: &mut words, steps: Vec::new(), depth: 0, deepest: 0 };
        let kind = compiler.expression(&tree, 0)?;
        expect(Kind::Number, kind, &tree)?;
        if compiler.deepest > STACK {
            return wrong(&tree, NESTED);
        }
        let program = Program { steps: compiler.steps.into() };
        if words.len() > MOST_WORDS {
            return Err(elsewhere(format!("{} words: at most {MOST_WORDS}", words.len())));
        }
        // Blanks do not matter; 0 stands for no text.
        let parts = [words.join(" "), text.split_whitespace().collect()];
        let text = NonZeroU32::new(hash(&parts.join("\n"))).unwrap_or(NonZeroU32::MIN);
        Ok(Self { name: name.into(), words, program, text })
    }

    /// Its number: from 0x80000000 on, which are nobody's (RFC 5356 §7.1).
    pub fn number(&self) -> PolicyNumber {
        PolicyNumber(0x8000_0000 | hash(&self.name))
    }

    /// Hash of its words and text.
    pub fn text(&self) -> NonZeroU32 {
        self.text
    }

    /// The policy, to be added to a [`PolicyTable`].
    ///
    /// It is never freed: policies are defined when a program starts, and live as long as it does.
    pub fn kind(self) -> PolicyKind {
        let (number, text) = (self.number(), Some(self.text));
        let names = self.words.iter().map(|word| leak(word)).chain(["text"]);
        let words: Vec<Word> = names
            .map(|name| {
                match PolicyTable::builtin()
                    .iter()
                    .flat_map(|kind| kind.words)
                    .find(|w| w.name == name)
                {
                    Some(known) => *known,
                    None => Word { name, default: 0, help: "A word of a policy by an expression" },
                }
            })
            .collect();
        let key = Expression {
            program: self.program,
            scales: self.words.iter().map(|word| scale(word)).collect(),
        };
        PolicyKind {
            number,
            name: leak(&self.name),
            summary: "by an expression",
            words: Box::leak(words.into()),
            create: Create::ByKey(Box::leak(Box::new(key))),
            text,
            pick: |_, candidates, _| {
                candidates.enumerate().find(|(_, one)| one.usable).map(|(position, _)| position)
            },
        }
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.into())
}

fn elsewhere(what: String) -> InvalidDefinition {
    InvalidDefinition { at: None, what }
}

/// What a word is multiplied by: shares of 2^32 - 1 are parts of 1.
fn scale(word: &str) -> f64 {
    match word {
        "load" | "degradation" | "load-dpf" => 1.0 / f64::from(u32::MAX),
        _ => 1.0,
    }
}

/// FNV-1a of 64 bits, folded to 31: the same at every registrar, whatever it was built with.
fn hash(text: &str) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    ((hash ^ (hash >> 31)) & 0x7fff_ffff) as u32
}

/// A key by steps.
#[derive(Debug)]
struct Expression {
    program: Program,
    /// By word.
    scales: Box<[f64]>,
}

impl Key for Expression {
    fn key(&self, measures: &Measures<'_>) -> f64 {
        let mut values = [0.0; VALUES];
        values[SELECTIONS] = f64::from(measures.selections);
        values[FAILURES] = f64::from(measures.failures);
        values[AGE] = measures.age.as_secs() as f64;
        let words = measures.words.iter().zip(&self.scales);
        for (value, (word, scale)) in values.iter_mut().skip(WORDS).zip(words) {
            *value = f64::from(*word) * scale;
        }
        self.program.run(&values)
    }
}

const SELECTIONS: usize = 0;
const FAILURES: usize = 1;
const AGE: usize = 2;
const WORDS: usize = 3;
const VALUES: usize = WORDS + MOST_WORDS;

/// Steps over a stack, at the end of which one number is left.
#[derive(Clone, Debug)]
struct Program {
    steps: Box<[Step]>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Puts a number on the stack.
    Number(f64),
    /// Puts a value there.
    Value(u8),
    /// Changes the uppermost one.
    One(fn(f64) -> f64),
    Add,
    Subtract,
    Multiply,
    /// Makes one of the two uppermost ones.
    Two(fn(f64, f64) -> f64),
    /// Of condition, then and else, all of them computed, leaves one.
    Choose,
}

/// Deepest stack: each level of nesting holds two others at most while it waits for its last.
const STACK: usize = 2 * DEEPEST + 4;

impl Program {
    fn run(&self, values: &[f64; VALUES]) -> f64 {
        // The uppermost one has a place of its own.
        let mut stack = [0.0; STACK];
        let (mut top, mut len) = (f64::NAN, 0_usize);
        for step in &self.steps {
            match *step {
                Step::Number(number) => (top, len) = (number, push(&mut stack, len, top)),
                Step::Value(place) => {
                    let value = values.get(usize::from(place)).copied().unwrap_or(f64::NAN);
                    (top, len) = (value, push(&mut stack, len, top));
                }
                Step::One(change) => top = change(top),
                Step::Add => (top, len) = (pop(&stack, len) + top, len.saturating_sub(1)),
                Step::Subtract => (top, len) = (pop(&stack, len) - top, len.saturating_sub(1)),
                Step::Multiply => (top, len) = (pop(&stack, len) * top, len.saturating_sub(1)),
                Step::Two(join) => {
                    (top, len) = (join(pop(&stack, len), top), len.saturating_sub(1))
                }
                Step::Choose => {
                    let then = pop(&stack, len);
                    let condition = pop(&stack, len.saturating_sub(1));
                    top = if condition == 0.0 { top } else { then };
                    len = len.saturating_sub(2);
                }
            }
        }
        top
    }
}

#[inline]
fn push(stack: &mut [f64; STACK], len: usize, value: f64) -> usize {
    if let Some(place) = stack.get_mut(len) {
        *place = value;
    }
    len + 1
}

#[inline]
fn pop(stack: &[f64; STACK], len: usize) -> f64 {
    stack.get(len.wrapping_sub(1)).copied().unwrap_or(f64::NAN)
}

/// What an expression gives: conditions are 0 and 1 when they run, but no numbers when they are
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Condition,
}

fn expect(wanted: Kind, found: Kind, at: &Expr) -> Result<(), InvalidDefinition> {
    match (wanted, found) {
        (Kind::Number, Kind::Condition) => wrong(at, "a condition where a number is wanted"),
        (Kind::Condition, Kind::Number) => wrong(at, "a number where a condition is wanted"),
        _ => Ok(()),
    }
}

fn wrong<T>(at: &impl Spanned, what: impl Into<String>) -> Result<T, InvalidDefinition> {
    Err(at_span(at.span(), what.into()))
}

fn at_span(span: proc_macro2::Span, what: String) -> InvalidDefinition {
    let start = span.start();
    InvalidDefinition { at: Some((start.line, start.column + 1)), what }
}

/// Reads a text. The parser calls itself and knows all of Rust: size, depth, signs and names are
/// looked at first.
fn parse(text: &str, words: &[String]) -> Result<Expr, InvalidDefinition> {
    if text.len() > LONGEST {
        return Err(elsewhere(format!("the text has more than {LONGEST} bytes")));
    }
    for (line, row) in text.lines().enumerate() {
        let mut rest = row;
        while let Some(letter) = rest.chars().next() {
            let at = row.len() - rest.len();
            let column = row.get(..at).map_or(at, |before| before.chars().count());
            let wrong = |what| InvalidDefinition { at: Some((line + 1, column + 1)), what };
            let of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let name = rest.split(|letter| !of_name(letter)).next().unwrap_or_default();
            let length = if name.is_empty() {
                let pairs = ["&&", "||", "==", "!=", "<=", ">="];
                let pair = pairs.into_iter().any(|pair| rest.starts_with(pair));
                if !pair && !"+-*/%<>!()[]{},.".contains(letter) && !letter.is_whitespace() {
                    return Err(wrong(format!("{letter:?} means nothing here")));
                }
                if pair { 2 } else { letter.len_utf8() }
            } else {
                let known = ["if", "else", "selections", "failures", "age", "distance"];
                let is_word = words.iter().any(|word| word.replace('-', "_") == name);
                if !letter.is_ascii_digit()
                    && !is_word
                    && !known.contains(&name)
                    && function(name).is_none()
                {
                    return Err(wrong(format!(
                        "there is no {name}; there are {}, and functions {FUNCTIONS}",
                        names(words)
                    )));
                }
                name.len()
            };
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    if let Some((line, column)) = too_deep(text) {
        return Err(InvalidDefinition { at: Some((line, column)), what: NESTED.into() });
    }
    syn::parse_str(text).map_err(|error| at_span(error.span(), error.to_string()))
}

const NESTED: &str = "nested too deeply";

/// Where brackets, or signs before a value, nest too deeply.
fn too_deep(text: &str) -> Option<(usize, usize)> {
    let (mut open, mut signs) = (0_usize, 0_usize);
    for (line, row) in text.lines().enumerate() {
        for (column, letter) in row.chars().enumerate() {
            match letter {
                '(' | '[' | '{' => open += 1,
                ')' | ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
            signs = match letter {
                '-' | '!' | '&' | '*' | '|' | '<' | '.' => signs + 1,
                letter if letter.is_whitespace() => signs,
                _ => 0,
            };
            if open > DEEPEST || signs > DEEPEST {
                return Some((line + 1, column + 1));
            }
        }
    }
    None
}

/// All names that stand for values.
fn names(words: &[String]) -> String {
    let words = words.iter().map(|word| word.replace('-', "_")).filter(|word| word != "distance");
    let measured = ["selections", "failures", "age", "distance"].map(str::to_owned);
    words.chain(measured).collect::<Vec<_>>().join(", ")
}

struct Compiler<'a> {
    words: &'a mut Vec<String>,
    steps: Vec<Step>,
    /// Numbers on the stack after the steps so far, and most there ever are.
    depth: usize,
    deepest: usize,
}

impl Compiler<'_> {
    /// Appends the steps of an expression.
    fn expression(&mut self, tree: &Expr, nesting: usize) -> Result<Kind, InvalidDefinition> {
        if nesting > 4 * DEEPEST || self.deepest >= STACK {
            return wrong(tree, NESTED);
        }
        let nesting = nesting + 1;
        match tree {
            Expr::Paren(inner) => self.expression(&inner.expr, nesting),
            Expr::Group(inner) => self.expression(&inner.expr, nesting),
            Expr::Lit(literal) => {
                let number = match &literal.lit {
                    Lit::Int(number) if number.suffix().is_empty() => number.base10_parse::<f64>(),
                    Lit::Float(number) if number.suffix().is_empty() => {
                        number.base10_parse::<f64>()
                    }
                    _ => return wrong(tree, "only numbers are known, such as 2 and 0.5"),
                };
                let number = number.map_err(|error| at_span(error.span(), error.to_string()))?;
                self.push(Step::Number(number), 1);
                Ok(Kind::Number)
            }
            Expr::Path(path) => {
                let Some(name) = path.path.get_ident() else {
                    return wrong(tree, "this is no name");
                };
                let place = self.place_of(&name.to_string());
                let Some(place) = place else {
                    return wrong(
                        tree,
                        format!("{name} is no value; values are {}", names(self.words)),
                    );
                };
                self.push(Step::Value(place), 1);
                Ok(Kind::Number)
            }
            Expr::Unary(unary) => {
                let (wanted, step): (_, fn(f64) -> f64) = match unary.op {
                    UnOp::Neg(_) => (Kind::Number, |number| -number),
                    UnOp::Not(_) => (Kind::Condition, |condition| f64::from(condition == 0.0)),
                    _ => return wrong(tree, "only - and ! stand before a value"),
                };
                let found = self.expression(&unary.expr, nesting)?;
                expect(wanted, found, &unary.expr)?;
                self.push(Step::One(step), 0);
                Ok(wanted)
            }
            Expr::Binary(binary) => {
                let Some((wanted, gives, step)) = operator(&binary.op) else {
                    return wrong(&binary.op, "there is no such operator");
                };
                for side in [&binary.left, &binary.right] {
                    let found = self.expression(side, nesting)?;
                    expect(wanted, found, side)?;
                }
                self.push(step, -1);
                Ok(gives)
            }
            Expr::Call(call) => {
                let name = match &*call.func {
                    Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
                    _ => None,
                };
                let Some(function) = name.as_deref().and_then(function) else {
                    return wrong(
                        &call.func,
                        format!("there is no such function; there are {FUNCTIONS}"),
                    );
                };
                let (count, step) = match function {
                    Function::One(apply) => (1, Step::One(apply)),
                    Function::Two(apply) => (2, Step::Two(apply)),
                };
                if call.args.len() != count {
                    return wrong(
                        tree,
                        format!("{count} wanted in brackets, not {}", call.args.len()),
                    );
                }
                for argument in &call.args {
                    let found = self.expression(argument, nesting)?;
                    expect(Kind::Number, found, argument)?;
                }
                self.push(step, 1 - count.cast_signed());
                Ok(Kind::Number)
            }
            Expr::If(choice) => {
                let found = self.expression(&choice.cond, nesting)?;
                expect(Kind::Condition, found, &choice.cond)?;
                let then = only(&choice.then_branch)?;
                let kind = self.expression(then, nesting)?;
                let Some((_, otherwise)) = &choice.else_branch else {
                    return wrong(tree, "an `if` wants an `else`");
                };
                let found = self.expression(otherwise, nesting)?;
                expect(kind, found, otherwise)?;
                self.push(Step::Choose, -2);
                Ok(kind)
            }
            Expr::Block(block) => self.expression(only(&block.block)?, nesting),
            _ => wrong(
                tree,
                "this is not known here: numbers, names, operators, functions and if are",
            ),
        }
    }

    fn push(&mut self, step: Step, more: isize) {
        self.steps.push(step);
        self.depth = self.depth.saturating_add_signed(more);
        self.deepest = self.deepest.max(self.depth);
    }

    fn place_of(&mut self, name: &str) -> Option<u8> {
        let place = match name {
            "selections" => SELECTIONS,
            "failures" => FAILURES,
            "age" => AGE,
            _ => {
                let known = self.words.iter().position(|word| word.replace('-', "_") == name);
                let place = match (known, name) {
                    (Some(place), _) => place,
                    // Nobody has to say how far an element is: its registrar can tell.
                    (None, "distance") => {
                        self.words.push(name.into());
                        self.words.len() - 1
                    }
                    _ => return None,
                };
                WORDS + place
            }
        };
        u8::try_from(place).ok()
    }
}

/// The one expression of a block.
fn only(block: &Block) -> Result<&Expr, InvalidDefinition> {
    match &block.stmts[..] {
        [Stmt::Expr(expression, None)] => Ok(expression),
        _ => wrong(block, "one expression is wanted between the brackets"),
    }
}

/// What an operator takes, what it gives, and its step.
fn operator(operator: &BinOp) -> Option<(Kind, Kind, Step)> {
    use Kind::{Condition, Number};
    let compare = |compare: fn(f64, f64) -> f64| (Number, Condition, Step::Two(compare));
    let join = |join: fn(f64, f64) -> f64| (Condition, Condition, Step::Two(join));
    Some(match operator {
        BinOp::Add(_) => (Number, Number, Step::Add),
        BinOp::Sub(_) => (Number, Number, Step::Subtract),
        BinOp::Mul(_) => (Number, Number, Step::Multiply),
        BinOp::Div(_) => (Number, Number, Step::Two(|a, b| a / b)),
        BinOp::Rem(_) => (Number, Number, Step::Two(|a, b| a % b)),
        BinOp::Lt(_) => compare(|a, b| f64::from(a < b)),
        BinOp::Le(_) => compare(|a, b| f64::from(a <= b)),
        BinOp::Gt(_) => compare(|a, b| f64::from(a > b)),
        BinOp::Ge(_) => compare(|a, b| f64::from(a >= b)),
        BinOp::Eq(_) => compare(|a, b| f64::from(a == b)),
        BinOp::Ne(_) => compare(|a, b| f64::from(a != b)),
        BinOp::And(_) => join(|a, b| a * b),
        BinOp::Or(_) => join(f64::max),
        _ => return None,
    })
}

enum Function {
    One(fn(f64) -> f64),
    Two(fn(f64, f64) -> f64),
}

const FUNCTIONS: &str = "min, max, abs, sqrt, exp, ln, pow, floor";

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "min" => Function::Two(f64::min),
        "max" => Function::Two(f64::max),
        "pow" => Function::Two(f64::powf),
        "abs" => Function::One(f64::abs),
        "sqrt" => Function::One(f64::sqrt),
        "exp" => Function::One(f64::exp),
        "ln" => Function::One(f64::ln),
        "floor" => Function::One(f64::floor),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::policy::{Dice, Seat};
    use std::time::Duration;

    const MEASURES: Measures<'static> = Measures {
        words: &[u32::MAX / 2, 7],
        selections: 3,
        failures: 1,
        age: Duration::from_secs(60),
    };

    fn value(text: &str) -> f64 {
        let definition = Definition::new("x", &["load", "my-word"], text).unwrap();
        let Create::ByKey(key) = definition.kind().create else { panic!() };
        key.key(&MEASURES)
    }

    fn error(text: &str) -> String {
        Definition::new("x", &["load", "my-word"], text).unwrap_err().to_string()
    }

    #[test]
    fn an_expression_has_the_value_that_it_has_in_rust() {
        assert_eq!(value("1 + 2 * 3 - 4 / 8.0"), 6.5);
        assert_eq!(value("(1 + 2) * -3 % 5"), -4.0);
        assert!((value("load") - 0.5).abs() < 1e-9);
        assert_eq!(value("my_word * 100 + selections * 10 + failures"), 731.0);
        assert_eq!(value("if age > 59 && !(my_word == 8) { 1 } else { 2 }"), 1.0);
        assert_eq!(
            value("if age > 60 || my_word != 7 { 1 } else if age <= 60 { 5 } else { 2 }"),
            5.0
        );
        assert_eq!(value("min(3, max(1, 2)) + abs(-1) + sqrt(4) + floor(1.9) + pow(2, 3)"), 14.0);
        assert_eq!(value("exp(0) + ln(1)"), 1.0);
        assert_eq!(value("1 - (2 - (3 - (4 - (5 - 6))))"), -3.0);
        assert_eq!(value("distance"), 0.0);
        assert_eq!(value("1_000 + 1e3"), 2_000.0);
        assert!(value("0 / 0").is_nan());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_column() {
        assert_eq!(
            error("load +\n  lod"),
            "line 2, column 3: there is no lod; there are load, my_word, selections, failures, age, \
             distance, and functions min, max, abs, sqrt, exp, ln, pow, floor"
        );
        assert!(error("load * ").starts_with("line 1, column "), "{}", error("load * "));
        assert!(error("load + * 3").starts_with("line 1, column 8: "), "{}", error("load + * 3"));
        assert_eq!(error("1 + median(2)").split(':').next(), Some("line 1, column 5"));
        assert!(
            error("1 + min").starts_with("line 1, column 5: min is no value"),
            "{}",
            error("1 + min")
        );
        assert!(error("1 + load(2)").starts_with("line 1, column 5: there is no such function"));
        assert_eq!(error("min(1)"), "line 1, column 1: 2 wanted in brackets, not 1");
        assert_eq!(error("1 + (2 > 1)"), "line 1, column 5: a condition where a number is wanted");
        assert_eq!(
            error("if 1 { 2 } else { 3 }"),
            "line 1, column 4: a number where a condition is wanted"
        );
        assert_eq!(error("if 1 > 0 { 2 }"), "line 1, column 1: an `if` wants an `else`");
        assert_eq!(error("{ 1; 2 }"), "line 1, column 4: ';' means nothing here");
        for text in
            ["", "\"a\"", "1u8", "a::b", "|x| x", "loop {}", "load = 3", "1 ^ 2", "&load", "1; 2"]
        {
            assert!(error(text).starts_with("line "), "{text}: {}", error(text));
        }
    }

    #[test]
    fn no_text_is_too_much_for_the_parser() {
        for nested in [
            "(", "-", "!", "{", "[", "&", "*", "|", "||", "- - ", "if 1>0 {", "1+(", "min(1,", "<",
            "<<", "|a|", "return ", "load=", "1..", "..", "else ", "if ", "1 as ", "load.",
            "&mut ", "1<", "1==", "if if ",
        ] {
            let text = nested.repeat(LONGEST / nested.len());
            assert!(Definition::new("x", &[], &text).is_err(), "{nested}");
        }
        let long = format!("1{}", "+1".repeat(LONGEST / 2 - 1));
        assert!(
            value_or_error(&long).is_ok_and(|value| value == 500.0)
                || value_or_error(&long).is_err()
        );
        assert!(
            Definition::new("x", &[], &format!("{long}+1+1+1")).unwrap_err().what.contains("1000")
        );
        let inner = format!("{}1{}", "min(1, 2 + ".repeat(20), ")".repeat(20));
        assert!(value_or_error(&inner).is_ok(), "{:?}", value_or_error(&inner));
    }

    fn value_or_error(text: &str) -> Result<f64, InvalidDefinition> {
        let definition = Definition::new("x", &[], text)?;
        Ok(definition.program.run(&[0.0; VALUES]))
    }

    #[test]
    fn a_name_is_a_number_and_a_text_is_a_hash_at_every_registrar_alike() {
        let definition = |text| Definition::new("near-and-idle", &["load"], text).unwrap();
        let (one, same) = (definition("load + 1"), definition("load\n  +1"));
        assert_eq!(one.number(), PolicyNumber(0x8000_0000 | hash("near-and-idle")));
        assert_eq!(one.text(), same.text());
        assert_ne!(one.text(), definition("load + 2").text());
        // They travel: another build has to come to the same.
        assert_eq!((one.number().0, one.text().get()), (2_762_776_577, 424_715_567));
    }

    #[test]
    fn names_are_names_and_words_are_few() {
        let what = |name: &str, words: &[&str], text: &str| {
            Definition::new(name, words, text).unwrap_err().what
        };
        assert!(what("Big", &[], "1").contains("Big"));
        assert!(what("x", &["a b"], "1").contains("a b"));
        assert!(what("x", &["a", "a"], "1").contains("there already"));
        assert!(what("x", &["selections"], "1").contains("there already"));
        assert!(what("x", &["a", "b", "c", "d"], "1").contains("at most 3"));
        assert!(what("x", &["a", "b", "c"], "distance").contains("at most 3"));
    }

    #[test]
    fn a_pool_is_ordered_by_its_expression() {
        let text = "load + selections * degradation + distance / 100";
        let kind = Definition::new("x", &["load", "degradation"], text).unwrap().kind();
        assert_eq!(kind.distance_word(), Some(2));
        let text = kind.text.unwrap().get();
        let part = |part: f64| (part * f64::from(u32::MAX)) as u32;
        let mut policy = kind.create();
        policy.insert(Seat(0), &[part(0.5), part(0.1), 0, text]);
        policy.insert(Seat(1), &[part(0.1), part(0.3), 15, text]);
        policy.insert(Seat(2), &[0, 0, 0, text ^ 1]);
        let (mut dice, mut firsts) = (Dice::new([0; 32]), Vec::new());
        for _ in 0..4 {
            let mut out = Vec::new();
            policy.select(&mut dice, 1, &mut out);
            firsts.extend(out.into_iter().map(|seat| seat.0));
        }
        assert_eq!(firsts, [1, 0, 1, 0]);
    }
}
