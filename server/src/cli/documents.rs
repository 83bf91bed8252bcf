//! Shell completions and man pages, made of the command line itself: for who packages it.

use std::io;
use std::path::PathBuf;

use clap::{Command, Subcommand};
use clap_complete::Shell;

use super::show;
use crate::router;

#[derive(Debug, Subcommand)]
pub enum Document {
    /// Print what makes a shell complete our commands.
    Completions { shell: Shell },
    /// Print the API's OpenAPI document.
    Openapi,
    /// Write a man page for each command into a folder.
    Man {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

pub fn write(mut command: Command, document: &Document) -> io::Result<()> {
    match document {
        Document::Completions { shell } => {
            let name = command.get_name().to_owned();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, name, &mut script);
            show::print(&String::from_utf8_lossy(&script))
        }
        Document::Openapi => show::print(&router::document_text()),
        Document::Man { folder } => {
            fs_err::create_dir_all(folder)?;
            clap_mangen::generate_to(command, folder)
        }
    }
}
