//! The program with a check after each term that makes a value larger than those it is made of.
//!
//! Everything is rewritten: the expression, and the part of the standard library that is written in jq itself. What a
//! term means is not changed, its paths neither ([`CHECK`] hands through whatever it is given).

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

use super::budget::{CHECK, TIMES};

/// The variable of [`updated`]; no program can write it.
const OPERAND: &str = "$checked operand";

/// Filters of the library, with their number of arguments, whose text or list may be larger than what they are given.
const GROWING: [(&str, usize); 12] = [
    ("encode_base64", 0),
    ("encode_uri", 0),
    ("escape_html", 0),
    ("escape_sh", 0),
    ("explode", 0),
    ("implode", 0),
    ("matches", 2),
    ("split_", 2),
    ("split_matches", 2),
    ("tobytes", 0),
    ("tojson", 0),
    ("transpose", 0),
];

/// A definition, checked.
pub(super) fn definition(def: Def<&str>) -> Def<&str> {
    Def { body: term(def.body), ..def }
}

/// A term, checked.
pub(super) fn term<'s>(given: Term<&'s str>) -> Term<&'s str> {
    let boxed = |inner: Box<Term<&'s str>>| Box::new(term(*inner));
    match given {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => given,
        Term::Str(format, parts) => text(format, parts),
        Term::Arr(items) => checked(Term::Arr(items.map(boxed))),
        Term::Obj(entries) => {
            let entry = |(key, value): (Term<_>, Option<Term<_>>)| match value {
                Some(value) => (term(key), Some(term(value))),
                // `{name}`: what it means depends on how it is written.
                None => (key, None),
            };
            checked(Term::Obj(entries.into_iter().map(entry).collect()))
        }
        Term::Neg(inner) => Term::Neg(boxed(inner)),
        Term::BinOp(left, operator, right) => operation(term(*left), operator, term(*right)),
        Term::Label(name, inner) => Term::Label(name, boxed(inner)),
        Term::Fold(name, items, pattern_of_item, terms) => {
            Term::Fold(name, boxed(items), pattern(pattern_of_item), terms.into_iter().map(term).collect())
        }
        Term::TryCatch(inner, catch) => Term::TryCatch(boxed(inner), catch.map(boxed)),
        Term::IfThenElse(cases, otherwise) => {
            let case = |(condition, then)| (term(condition), term(then));
            Term::IfThenElse(cases.into_iter().map(case).collect(), otherwise.map(boxed))
        }
        Term::Def(definitions, inner) => Term::Def(definitions.into_iter().map(definition).collect(), boxed(inner)),
        Term::Call(name, arguments) => {
            let is_growing = GROWING.contains(&(name, arguments.len()));
            let call = Term::Call(name, arguments.into_iter().map(term).collect());
            if is_growing { checked(call) } else { call }
        }
        Term::Path(inner, Path(parts)) => {
            let part = |(part, is_optional)| match part {
                Part::Index(index) => (Part::Index(term(index)), is_optional),
                Part::Range(from, to) => (Part::Range(from.map(term), to.map(term)), is_optional),
            };
            Term::Path(boxed(inner), Path(parts.into_iter().map(part).collect()))
        }
    }
}

/// `term | check`.
fn checked(term: Term<&str>) -> Term<&str> {
    piped(term, None, Term::Call(CHECK, Vec::new()))
}

fn piped<'s>(left: Term<&'s str>, pattern: Option<Pattern<&'s str>>, right: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(pattern), Box::new(right))
}

/// A text: one with values in it may grow.
fn text<'s>(format: Option<&'s str>, parts: Vec<StrPart<&'s str, Term<&'s str>>>) -> Term<&'s str> {
    let is_constant = parts.iter().all(|part| !matches!(part, StrPart::Term(_)));
    if is_constant {
        return Term::Str(format, parts);
    }
    let part = |part| match part {
        StrPart::Term(inner) => StrPart::Term(term(inner)),
        constant => constant,
    };
    checked(Term::Str(format, parts.into_iter().map(part).collect()))
}

fn pattern(given: Pattern<&str>) -> Pattern<&str> {
    match given {
        Pattern::Var(_) => given,
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(pattern).collect()),
        Pattern::Obj(entries) => {
            Pattern::Obj(entries.into_iter().map(|(key, inner)| (term(key), pattern(inner))).collect())
        }
    }
}

/// An operation whose sides are checked already.
fn operation<'s>(left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    match operator {
        BinaryOp::Pipe(by) => piped(left, by.map(pattern), right),
        // Here one step can make gigabytes, so it is checked before.
        BinaryOp::Math(Math::Mul) => Term::Call(TIMES, vec![left, right]),
        BinaryOp::UpdateMath(operator) => updated(left, operator, right),
        BinaryOp::Math(_) | BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateAlt => {
            checked(Term::BinOp(Box::new(left), operator, Box::new(right)))
        }
        BinaryOp::Comma | BinaryOp::Alt | BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_) => {
            Term::BinOp(Box::new(left), operator, Box::new(right))
        }
    }
}

/// `path += value` as what it stands for, `value as $x | path |= . + $x`: each sum is checked, not only the last.
fn updated<'s>(path: Term<&'s str>, operator: Math, value: Term<&'s str>) -> Term<&'s str> {
    let each = operation(Term::Id, BinaryOp::Math(operator), Term::Var(OPERAND));
    let update = operation(path, BinaryOp::Update, each);
    piped(value, Some(Pattern::Var(OPERAND)), update)
}
