//! How the code is written: sizes, documentation, and no panics.

use syn::visit::{self, Visit};

use super::layers::test_files;
use super::{is_test, nobody, sources};

/// Lines of a file, at the most.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, at the most, from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Words of the documentation of a public item, at the least.
const DOC_WORDS_MIN: usize = 3;
/// What ends the process where an error should be returned.
const PANICKING_METHODS: [&str; 4] = ["unwrap", "expect", "unwrap_err", "expect_err"];
const PANICKING_MACROS: [&str; 5] = ["panic", "todo", "unimplemented", "unreachable", "dbg"];

#[test]
fn files_are_of_a_size_to_be_read() {
    let too_long = |source: &super::Source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    };
    let offenders: Vec<_> = sources(&["src", "tests"]).iter().filter_map(too_long).collect();
    nobody(&format!("a file is longer than {FILE_LINES_MAX} lines"), &offenders);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut offenders = Vec::new();
    for source in sources(&["src", "tests"]) {
        let mut functions = Functions { path: source.path.clone(), offenders: Vec::new() };
        functions.visit_file(&source.syntax);
        offenders.extend(functions.offenders);
    }
    nobody(&format!("a function is longer than {FUNCTION_LINES_MAX} lines"), &offenders);
}

#[test]
fn every_file_says_what_it_is_for() {
    let words = |source: &super::Source| doc_of(&source.syntax.attrs).split_whitespace().count();
    let lacking = |source: &super::Source| !source.text.starts_with("//!") || words(source) < DOC_WORDS_MIN;
    let offenders: Vec<_> = sources(&["src", "tests"]).into_iter().filter(lacking).map(|source| source.path).collect();
    nobody("a file does not begin with //! and what it is for", &offenders);
}

/// That there is documentation is rustc's to see (`missing_docs`); this is about its saying something.
#[test]
fn the_documentation_of_public_items_says_more_than_their_names() {
    let mut offenders = Vec::new();
    let sources = sources(&["src"]);
    let tests = test_files(&sources);
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        let mut docs = Docs { path: &source.path, offenders: Vec::new() };
        docs.visit_file(&source.syntax);
        offenders.extend(docs.offenders);
    }
    nobody("documentation that says nothing", &offenders);
}

#[test]
fn nothing_panics_outside_tests() {
    let mut offenders = Vec::new();
    let sources = sources(&["src"]);
    let tests = test_files(&sources);
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        let mut panics = Panics { path: &source.path, offenders: Vec::new() };
        panics.visit_file(&source.syntax);
        offenders.extend(panics.offenders);
    }
    nobody("code that panics", &offenders);
}

fn doc_of(attributes: &[syn::Attribute]) -> String {
    let line = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

struct Functions {
    path: String,
    offenders: Vec<String>,
}

impl Functions {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line - first + 1;
        if lines > FUNCTION_LINES_MAX {
            self.offenders.push(format!("{}:{first} {}: {lines} lines", self.path, signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

struct Docs<'a> {
    path: &'a str,
    offenders: Vec<String>,
}

impl Docs<'_> {
    fn judge(&mut self, visibility: &syn::Visibility, name: &syn::Ident, attributes: &[syn::Attribute]) {
        if !matches!(visibility, syn::Visibility::Public(_)) {
            return;
        }
        let doc = doc_of(attributes);
        let letters = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        if doc.split_whitespace().count() < DOC_WORDS_MIN || letters(&doc) == letters(&name.to_string()) {
            let line = name.span().start().line;
            self.offenders.push(format!("{}:{line} {name}: {:?}", self.path, doc.trim()));
        }
    }
}

impl<'ast> Visit<'ast> for Docs<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Fn(it) => self.judge(&it.vis, &it.sig.ident, &it.attrs),
            syn::Item::Struct(it) => self.judge(&it.vis, &it.ident, &it.attrs),
            syn::Item::Enum(it) => self.judge(&it.vis, &it.ident, &it.attrs),
            syn::Item::Trait(it) => self.judge(&it.vis, &it.ident, &it.attrs),
            syn::Item::Type(it) => self.judge(&it.vis, &it.ident, &it.attrs),
            syn::Item::Const(it) => self.judge(&it.vis, &it.ident, &it.attrs),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.judge(&function.vis, &function.sig.ident, &function.attrs);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        for function in &item.items {
            if let syn::TraitItem::Fn(function) = function {
                self.judge(&item.vis, &function.sig.ident, &function.attrs);
            }
        }
    }
}

struct Panics<'a> {
    path: &'a str,
    offenders: Vec<String>,
}

impl<'ast> Visit<'ast> for Panics<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if PANICKING_METHODS.iter().any(|method| call.method == method) {
            self.offenders.push(format!("{}:{} .{}()", self.path, call.method.span().start().line, call.method));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        if let Some(name) = mac.path.segments.last()
            && PANICKING_MACROS.iter().any(|panicking| name.ident == panicking)
        {
            self.offenders.push(format!("{}:{} {}!", self.path, name.ident.span().start().line, name.ident));
        }
        visit::visit_macro(self, mac);
    }
}
