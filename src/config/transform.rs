//! From expressions to a [`Transform`], compiled before anything is connected to.

use std::sync::Arc;

use crate::cli::TransformArgs;
use crate::error::{Error, Kind, Result};
use crate::record::With;
use crate::transform::Transform;

/// What `--where` and `--map` ask for; `None` where neither is given.
///
/// # Errors
/// [`Kind::Config`], with the line of the expression and a caret under the mistake.
pub fn transform(args: &TransformArgs, with: &With) -> Result<Option<Arc<Transform>>> {
    compile(args.where_.as_deref(), args.map.as_deref(), with)
}

/// What `--where` asks for.
///
/// # Errors
/// As [`transform`].
pub fn filter(where_: Option<&str>, with: &With) -> Result<Option<Arc<Transform>>> {
    compile(where_, None, with)
}

fn compile(where_: Option<&str>, map: Option<&str>, with: &With) -> Result<Option<Arc<Transform>>> {
    let compiled = Transform::compile(where_, map, with.clone());
    compiled.map(|transform| transform.map(Arc::new)).map_err(|(flag, mistake)| {
        Error::new(Kind::Config, format!("bad value of {flag}: {mistake}"))
            .hint("try it on a few users with 'userpipe fetch --source synthetic -c 3' and the same options")
    })
}
