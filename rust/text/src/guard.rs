//! Panics of the crate as errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::{Error, Result};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of the crate, which panics on some broken files, and turns a panic into an error.
pub(crate) fn guarded<R>(what: &str, work: impl FnOnce() -> tokenizers::Result<R>) -> Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        tokenizers::utils::parallelism::set_parallelism(false);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.with(Cell::get) {
                before(info);
            }
        }));
    });
    let format = |reason: String| Error::Format { what: what.to_owned(), line: 0, reason };
    let before = QUIET.with(|quiet| quiet.replace(true));
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.with(|quiet| quiet.set(before));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format(one_line(&error.to_string()))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format(one_line(text.unwrap_or("a rule that cannot be carried out"))))
        }
    }
}

fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_errors_are_one_line() {
        let message = |work: fn() -> tokenizers::Result<()>| {
            guarded("tokenizer.json", work).unwrap_err().to_string()
        };
        assert_eq!(message(|| panic!("no\n  rule")), "tokenizer.json: no rule");
        assert_eq!(message(|| Err("bad\tfile".into())), "tokenizer.json: bad file");
        assert_eq!(
            message(|| std::panic::panic_any(1)),
            "tokenizer.json: a rule that cannot be carried out"
        );
        assert_eq!(one_line(&"\u{6f22}".repeat(300)), "\u{6f22}".repeat(200));
        assert!(!QUIET.with(Cell::get));
    }
}
