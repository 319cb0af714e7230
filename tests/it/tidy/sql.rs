//! Statements are written, not built from data: what goes into the text of one is a constant, a quoted identifier, or
//! in the table below with its reason. Values are bound.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::layers::test_files;
use super::{Source, is_test, nobody, sources};

/// What there is in a statement or a piece of one.
const VERBS: [&str; 16] = [
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "CREATE ",
    "ALTER ",
    "DROP ",
    "TRUNCATE ",
    "GRANT ",
    "WITH ",
    "USE ",
    "PRAGMA ",
    "ON CONFLICT ",
    "WHERE ",
    "VALUES ",
    "JOIN ",
];

/// Calls whose result may be in a statement.
const QUOTING: [&str; 5] = ["quoted", "quoted_table", "column_list", "on_conflict", "create_keyspace"];

/// What else is put into statements: the file, the expression, and why it may.
const REVIEWED: &[(&str, &str, &str)] = &[
    ("src/inspect/check/sink.rs", "lacking", "words for a person, which nothing executes"),
    ("src/inspect/check/sink.rs", "table . table", "words for a person, which nothing executes"),
    ("src/inspect/verify/notes.rs", "only", "one of two constants"),
    ("src/inspect/verify/notes.rs", "which", "one of two constants"),
    ("src/ledger/postgres/archive.rs", "table", "one of two constants"),
    ("src/sink/cassandra/lookup.rs", "time", "one of two constants"),
    ("src/sink/cassandra/lookup.rs", "link :: quoted_table (config)", "quoted"),
    ("src/sink/cassandra/statements.rs", "columns . join (\", \")", "names of record.rs"),
    ("src/sink/cassandra/statements.rs", "marks", "question marks"),
    ("src/sink/cassandra/statements.rs", "table", "quoted"),
    ("src/sink/schema.rs", "add", "one of three constants"),
    ("src/sink/schema.rs", "column . name", "a name of record.rs"),
    ("src/sink/schema.rs", "columns . join (\",\\n\")", "names and types of record.rs"),
    ("src/sink/schema.rs", "dialect . type_name (column . kind)", "one of the constants of a dialect"),
    ("src/sink/schema.rs", "options", "numbers, and names in quotes"),
    ("src/sink/schema.rs", "table", "quoted"),
    ("src/sink/sql/mod.rs", "newest", "the quoted table and a constant"),
    ("src/sink/sql/mod.rs", "table", "quoted"),
    ("src/sink/sql/mod.rs", "updates . join (\", \")", "names of record.rs"),
    ("src/sink/sql/postgres.rs", "arrays . join (\", \")", "numbers and types of record.rs"),
    ("src/sink/sql/postgres.rs", "list", "names of record.rs"),
    ("src/sink/sql/postgres.rs", "table", "quoted"),
    ("src/sink/sql/postgres.rs", "time", "one of two constants"),
    ("src/sink/sql/sqlite.rs", "name", "quoted"),
    ("src/sink/sql/sqlite.rs", "table", "quoted"),
    ("src/sink/sql/sqlite.rs", "time", "one of two constants"),
    ("src/sql/sqlite.rs", "table", "in quotes; the configuration lets no quote pass"),
];

#[test]
fn no_statement_is_built_from_data() {
    let sources = sources(&["src"]);
    let tests = test_files(&sources);
    let mut found = BTreeSet::new();
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        let mut statements = Statements { path: &source.path, found: BTreeSet::new() };
        statements.visit_file(&source.syntax);
        found.extend(statements.found);
    }
    let reviewed: BTreeSet<_> =
        REVIEWED.iter().map(|(file, expression, _)| ((*file).to_owned(), (*expression).to_owned())).collect();
    let shown = |(file, expression): &(String, String)| format!("{file}: {{{expression}}}");
    let unseen: Vec<_> = found.difference(&reviewed).map(shown).collect();
    nobody("put into a statement, and not in REVIEWED with a reason", &unseen);
    let gone: Vec<_> = reviewed.difference(&found).map(shown).collect();
    nobody("in REVIEWED, and not in any statement any more", &gone);
}

/// Nothing but the modules that hold statements says that one is safe.
#[test]
fn statements_are_made_in_few_places() {
    let may = ["src/inspect/verify/notes.rs", "src/ledger/", "src/sink/sql/", "src/sql/"];
    let makes =
        |source: &&Source| source.text.contains("AssertSqlSafe") && !may.iter().any(|at| source.path.starts_with(at));
    let offenders: Vec<_> = sources(&["src"]).iter().filter(makes).map(|source| source.path.clone()).collect();
    nobody("AssertSqlSafe where no statements should be", &offenders);
}

/// What is put into the statements of one file, outside its tests.
struct Statements<'a> {
    path: &'a str,
    found: BTreeSet<(String, String)>,
}

impl Statements<'_> {
    fn note(&mut self, expression: &str) {
        let is_constant = expression.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit());
        let is_quoted = QUOTING.iter().any(|call| expression.starts_with(&format!("{call} (")))
            || expression.starts_with("schema :: quoted (");
        if !is_constant && !is_quoted {
            self.found.insert((self.path.to_owned(), expression.to_owned()));
        }
    }
}

impl<'ast> Visit<'ast> for Statements<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        visit::visit_macro(self, mac);
        let Some(name) = mac.path.segments.last().map(|segment| segment.ident.to_string()) else { return };
        if !matches!(name.as_str(), "format" | "write" | "writeln" | "concat") {
            return;
        }
        let parser = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        let Ok(arguments) = mac.parse_body_with(parser) else { return };
        let mut arguments = arguments.iter().skip_while(|argument| text(argument).is_none());
        let Some(text) = arguments.next().and_then(text) else { return };
        if !VERBS.iter().any(|verb| text.contains(verb)) {
            return;
        }
        // `{name}` within the text, and the expressions after it; `{{` and `{}` name nothing.
        for piece in text.replace("{{", "").replace("}}", "").split('{').skip(1) {
            let name = piece.split(['}', ':']).next().unwrap_or_default();
            if !name.is_empty() {
                self.note(name);
            }
        }
        for argument in arguments {
            let tokens = quote(argument);
            self.note(&tokens);
        }
    }
}

fn text(argument: &syn::Expr) -> Option<String> {
    match argument {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The expression as tokens, one blank between them.
fn quote(expression: &syn::Expr) -> String {
    let mut names = Tokens(String::new());
    names.visit_expr(expression);
    names.0
}

/// Writes an expression of paths, calls, methods and literals; of others only that they are there.
struct Tokens(String);

impl<'ast> Visit<'ast> for Tokens {
    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        match expression {
            syn::Expr::Path(path) => {
                let names: Vec<_> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                self.0.push_str(&names.join(" :: "));
            }
            syn::Expr::Reference(reference) => self.visit_expr(&reference.expr),
            syn::Expr::Field(field) => {
                self.visit_expr(&field.base);
                if let syn::Member::Named(name) = &field.member {
                    self.push(format!(" . {name}"));
                }
            }
            syn::Expr::Call(call) => {
                self.visit_expr(&call.func);
                self.list(&call.args);
            }
            syn::Expr::MethodCall(call) => {
                self.visit_expr(&call.receiver);
                self.push(format!(" . {}", call.method));
                self.list(&call.args);
            }
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                self.push(format!("{:?}", text.value()));
            }
            _ => self.0.push('…'),
        }
    }
}

impl Tokens {
    fn push(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
    }

    fn list(&mut self, arguments: &syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>) {
        self.0.push_str(" (");
        for (index, argument) in arguments.iter().enumerate() {
            if index > 0 {
                self.0.push_str(", ");
            }
            self.visit_expr(argument);
        }
        self.0.push(')');
    }
}
