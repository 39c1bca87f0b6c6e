//! The one error type of the kernels. Every message names the operation, the argument, what was
//! expected and what was given.

use std::path::Path;
use std::{fmt, io};

/// Result of a kernel.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a kernel refused its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An array whose dimensions do not agree with the others.
    Shape {
        /// The extension function.
        op: &'static str,
        /// The argument.
        arg: &'static str,
        /// Dimensions that would have been right.
        expected: Vec<usize>,
        /// Dimensions given.
        got: Vec<usize>,
    },
    /// A value out of its range.
    Value {
        /// The extension function.
        op: &'static str,
        /// The argument.
        arg: &'static str,
        /// What was expected and what was given.
        message: String,
    },
    /// A file that is not what its name says.
    Format {
        /// The file, or the kind of data where there is no file.
        what: String,
        /// One-based line, or zero where lines make no sense.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The system refused this many bytes.
    Memory(usize),
    /// The file system refused.
    Io {
        /// The file.
        path: String,
        /// The number of the error, where it came from the system.
        code: Option<i32>,
        /// What kind of error it is.
        kind: io::ErrorKind,
        /// The error in words.
        reason: String,
    },
    /// The caller asked to stop.
    Interrupted,
}

impl Error {
    /// A value error: `message` says what was expected and what was given.
    pub fn value(op: &'static str, arg: &'static str, message: impl Into<String>) -> Self {
        Self::Value { op, arg, message: message.into() }
    }

    /// The file system's refusal of `path`.
    pub fn io(path: &Path, error: &io::Error) -> Self {
        let text = error.to_string();
        let code = error.raw_os_error();
        let number = code.map(|code| format!(" (os error {code})"));
        let reason = number.and_then(|number| text.strip_suffix(&number).map(str::to_owned));
        let path = path.display().to_string();
        Self::Io { path, code, kind: error.kind(), reason: reason.unwrap_or(text) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { op, arg, expected, got } => {
                write!(f, "[{op}] {arg}: expected shape {expected:?}, got {got:?}")
            }
            Self::Value { op, arg, message } => write!(f, "[{op}] {arg}: {message}"),
            Self::Format { what, line: 0, reason } => write!(f, "{what}: {reason}"),
            Self::Format { what, line, reason } => write!(f, "{what}, line {line}: {reason}"),
            Self::Memory(bytes) => {
                let gigabytes = *bytes as f64 / 1e9;
                write!(f, "cannot allocate {bytes} bytes ({gigabytes:.1} GB) for one array")
            }
            Self::Io { path, reason, .. } => write!(f, "{path}: {reason}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

/// Fails unless `got` equals `expected`.
pub fn check_shape(
    op: &'static str,
    arg: &'static str,
    expected: &[usize],
    got: &[usize],
) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape { op, arg, expected: expected.to_vec(), got: got.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_message_names_everything() {
        let error = check_shape("lstm_forward", "bias", &[8], &[6]).unwrap_err();
        assert_eq!(error.to_string(), "[lstm_forward] bias: expected shape [8], got [6]");
    }
}
