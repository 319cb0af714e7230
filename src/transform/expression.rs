//! One expression of the jq language: compiled once, evaluated for one value after another.

use std::fmt::Write as _;

use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{Arena, File, Lexer, Loader, Parser, lex, parse};
use jaq_core::native::Fun;
use jaq_core::{Compiler, Ctx, Filter, Vars};
use jaq_json::Val;
use jaq_std::ValT as _;

use super::budget::{self, Bounded, Budget, Language};
use super::{Mistake, REASON_CHARS_MAX, charged};

/// A longer expression is a program, and has a better place.
const EXPRESSION_BYTES_MAX: usize = 8 * 1024;
/// The stack for parsing and compiling, which go as deep as the expression does.
const COMPILER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// What would make a record another one each time it comes, or does more than make a value: time and time zone of the
/// machine, its environment, its log, the process itself. Reading further inputs is not in the library at all.
const FILTERS_LEFT_OUT: [&str; 7] = ["debug_empty", "env", "halt", "localtime", "now", "stderr_empty", "strflocaltime"];
/// What of the library is written with those.
const DEFINITIONS_LEFT_OUT: [&str; 4] = ["debug", "halt", "halt_error", "stderr"];
/// What is replaced by our own.
const FILTERS_REPLACED: [&str; 2] = ["fromjson", "range"];
/// The name under which the expression is called.
const MAIN: &str = "main_expression";

/// A compiled expression. Evaluating it does not change it, so that all threads share it.
pub(super) struct Expression(Filter<Language>);

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Its first mistake.
    pub(super) fn compile(text: &str) -> Result<Self, Mistake> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let what = format!("longer than {EXPRESSION_BYTES_MAX} bytes");
            return Err(Mistake::at(text, EXPRESSION_BYTES_MAX, what));
        }
        let broken = |what: &str| Mistake::at(text, 0, what);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(COMPILER_STACK_BYTES);
            let compiling = thread.spawn_scoped(scope, || compile(text));
            let outcome = compiling.map_err(|_| broken("there is no memory to compile it"))?.join();
            outcome.unwrap_or_else(|_| Err(broken("the compiler failed on it; this is a bug"))).map(Self)
        })
    }

    /// The first value that it gives, and whether that is the only one.
    ///
    /// # Errors
    /// Why it fails, or which limit it goes over.
    pub(super) fn first(&self, input: Val) -> Result<(Option<Val>, bool), String> {
        Budget::within(|budget| {
            let context = Ctx::<Language>::new(Bounded { program: &self.0.lut, budget }, Vars::new([]));
            let mut values = self.0.id.run((context, input)).map(|value| {
                value.map_err(|e| match e.get_err() {
                    Ok(error) => shortened(error),
                    Err(_) => "it leaves a label that is not its own".to_owned(),
                })
            });
            let Some(first) = values.next().transpose()? else { return Ok((None, true)) };
            Ok((Some(first), values.next().transpose()?.is_none()))
        })?
    }
}

/// The interpreter's words, which quote values, without writing more of them than is shown.
fn shortened(error: jaq_core::Error<Val>) -> String {
    struct Limited(String);
    impl std::fmt::Write for Limited {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(text);
            // More than is shown is no error of ours: it ends the writing.
            if self.0.len() > 4 * REASON_CHARS_MAX { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut limited = Limited(String::new());
    let _ = write!(limited, "{error}");
    // An error that is a text by itself, as `error("…")` makes them, is written as a JSON string.
    let text = limited.0.starts_with('"').then(|| error.into_val());
    match text.as_ref().and_then(Val::as_bytes) {
        Some(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(4 * REASON_CHARS_MAX)]).into_owned(),
        None => limited.0,
    }
}

fn compile<'s>(text: &'s str) -> Result<Filter<Language>, Mistake> {
    let main = Def { name: MAIN, args: Vec::new(), body: charged::term(parsed(text)?) };
    let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let library = library
        .filter(|def| !DEFINITIONS_LEFT_OUT.contains(&def.name))
        .map(|def| -> Def<&'s str> { charged::definition(def) });
    let arena = Arena::default();
    let program = Loader::new(library.chain([main])).load(&arena, File { code: MAIN, path: () });
    let program = program.map_err(|_| Mistake::at(text, 0, "it cannot be loaded; this is a bug"))?;
    let compiled = Compiler::default().with_funs(filters()).compile(program);
    compiled.map_err(|errors| {
        let first = errors.iter().flat_map(|(_, of_file)| of_file).next();
        match first {
            Some((name, undefined)) => Mistake::of_compiler(text, name, undefined),
            None => Mistake::at(text, 0, "it cannot be compiled; this is a bug"),
        }
    })
}

fn parsed(text: &str) -> Result<Term<&str>, Mistake> {
    let unreadable = || Mistake::at(text, 0, "it cannot be read");
    let tokens = Lexer::new(text).lex().map_err(|errors: Vec<lex::Error<&str>>| {
        errors.first().map_or_else(unreadable, |error| Mistake::of_lexer(text, error))
    })?;
    Parser::new(&tokens).parse(Parser::term).map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(unreadable, |(expected, found)| {
            let found = lex::Token::opt_as_str(found, text);
            let error: parse::Error<&str> = (expected, found);
            Mistake::of_parser(text, &error)
        })
    })
}

/// The library's filters, less what is left out.
fn filters() -> impl Iterator<Item = Fun<Language>> {
    let library = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let is_kept = |fun: &Fun<Language>| !FILTERS_LEFT_OUT.contains(&fun.0) && !FILTERS_REPLACED.contains(&fun.0);
    library.filter(is_kept).chain(budget::filters())
}
